// The page's two calls to the signing service, and the one to its mock.

import { Failure } from "./failure.js";

const timeout = 30_000; // milliseconds

// service returns the calls for one request.
export function service(base, token) {
  return {
    // download can be done once; a try that got no answer may have been it.
    async download() {
      const response = await call(`${base}/signaturerequest/${encodeURIComponent(token)}`, {}, "open");
      return response.text();
    },

    // send returns where to go.
    async send(body) {
      const response = await call(`${base}/signatureresponse/${encodeURIComponent(token)}`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
      }, "send");
      let target;
      try {
        target = new URL((await response.json()).redirectUri);
      } catch {
        throw new Failure("signed"); // it is, but where to go can't be read
      }
      if (target.protocol !== "https:" && target.protocol !== "http:") {
        throw new Failure("signed");
      }
      return target.href;
    },

    // post is for the mock; what it answers is the caller's to read.
    async post(path, signal) {
      const response = await call(`${base}/${path}/${encodeURIComponent(token)}`, { method: "POST", signal }, "sign");
      return response.json();
    },
  };
}

// call throws a Failure unless the answer is a success; retry is what can be
// done when the server could not answer.
async function call(path, options, retry) {
  const limit = AbortSignal.timeout(timeout);
  let response;
  try {
    response = await fetch(path, {
      cache: "no-store",
      credentials: "same-origin",
      redirect: "error",
      referrerPolicy: "no-referrer",
      ...options,
      signal: options.signal ? AbortSignal.any([options.signal, limit]) : limit,
    });
  } catch (error) {
    if (options.signal?.aborted) {
      throw error;
    }
    throw new Failure("unreachable", { retry });
  }
  if (response.ok) {
    return response;
  }
  let detail = "";
  try {
    detail = (await response.json()).message;
  } catch {
    // Something between here and the service answered in its own way.
  }
  throw refusal(response.status, String(detail ?? ""), retry);
}

function refusal(status, detail, retry) {
  switch (true) {
    case status === 404:
      return new Failure("expired");
    case status === 403:
      return new Failure("elsewhere");
    case detail.includes("already been downloaded"):
      return new Failure("used");
    case detail.includes("already been signed"):
      return new Failure("signed");
    case status < 500 && status !== 408 && status !== 429 && retry === "send":
      return new Failure("refused", { detail });
    default:
      return new Failure("server_error", { detail: status < 500 ? detail : "", retry });
  }
}
