// NHS Credential Management: a port service at one of five ports of localhost
// tells the port of the hub, which speaks classic SignalR 2 (client protocol
// 2.1, long polling), hub signingHub, method requestToSign.

import { Failure } from "./failure.js";
import { localFetch, permission, whyNot } from "./local.js";
import { toBase64 } from "./request.js";

const connectionData = JSON.stringify([{ name: "signinghub" }]);
const protocols = ["1.5", "2.0", "2.1"];

export async function sign({ request, ports, signal, report }) {
  const asks = (await permission()) === "prompt";
  report("Looking for Credential Management…" + (asks ? " If your browser asks, choose Allow." : ""));
  const port = await findHub(ports, signal);

  const connection = await connect(`http://localhost:${port}/signalr`, signal);
  try {
    const count = request.documents.length;
    report(`Enter your PIN in Credential Management’s window. ${count === 1 ? "One document is" : `${count} documents are`} being signed…`);
    return read(await connection.invoke("requestToSign", argument(request)));
  } finally {
    connection.close();
  }
}

// argument is what the library of December 2023 sends.
function argument({ algorithm, documents }) {
  return toBase64(JSON.stringify({
    algorithm,
    requestType: 1,
    version: 1,
    flags: 0,
    payloads: documents.map(({ id, payload }) => ({ id, payload })),
  }));
}

// read makes an answer of hub/1 of a result of requestToSign.
function read(result) {
  const { certificate, signatures, failed_signatures: failed, status_code: status } = result ?? {};
  if (status !== 0) {
    const said = [result?.message, result?.status_string].find((text) => typeof text === "string" && text !== "");
    const detail = said ?? `Credential Management’s code is ${status}.`;
    switch (status) {
      case 0x53494705: // "SIG" 05
        throw new Failure("no_card", { detail });
      case 0x53494703:
        throw new Failure("request_invalid", { detail });
      default:
        throw new Failure("hub_error", { detail });
    }
  }
  // Without one of these the result is no success, whatever its code.
  if (!certificate || !Array.isArray(signatures) || signatures.length === 0) {
    throw new Failure("no_certificate");
  }
  return { signatures, certificate, failed };
}

async function findHub(ports, signal) {
  // Whoever loses the race is hung up on.
  const race = new AbortController();
  const either = AbortSignal.any([signal, race.signal]);
  try {
    return await Promise.any(ports.map((port) => askPort(port, either)));
  } catch (errors) {
    signal.throwIfAborted();
    const fault = errors.errors.find((error) => error instanceof Failure);
    if (fault) {
      throw fault;
    }
    const reasons = await Promise.all(ports.map((port) => whyNot(portService(port), signal)));
    throw reasons.find(({ code }) => code !== "hub_not_running") ?? reasons[0];
  } finally {
    race.abort();
  }
}

function portService(port) {
  return `http://localhost:${port}/PRS/GetPortNumber`;
}

async function askPort(port, signal) {
  const response = await localFetch(portService(port), { credentials: "include", signal });
  const answer = await response.json();
  const number = answer?.portData?.portNumber;
  if (Number.isInteger(number) && number > 0 && number < 65536) {
    return number;
  }
  const fault = answer?.faultException ?? answer?.FaultException;
  const code = fault?.code ?? fault?.Code;
  const message = fault?.message ?? fault?.Message;
  // The port service runs, but no hub for this user.
  throw new Failure("hub_not_running", { detail: [code, message].filter(Boolean).join(": ") });
}

// connect returns {invoke, close} of a started connection.
async function connect(url, signal) {
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);

  async function call(step, { query = {}, form } = {}) {
    const parameters = new URLSearchParams({ clientProtocol: "2.1", connectionData, ...query });
    const target = `${url}/${step}?${parameters}`;
    let response;
    try {
      response = await localFetch(target, {
        credentials: "include",
        signal: either,
        // A form needs no preflight.
        ...(form && { method: "POST", body: new URLSearchParams(form) }),
      });
    } catch {
      either.throwIfAborted();
      throw await whyNot(`${url}/negotiate`, signal);
    }
    try {
      return response.ok ? await response.json() : broken(`${step}: status ${response.status}`);
    } catch (error) {
      either.throwIfAborted();
      throw error instanceof Failure ? error : broken(`${step}: not JSON`);
    }
  }

  const negotiated = await call("negotiate");
  if (!protocols.includes(negotiated?.ProtocolVersion)) {
    broken(`protocol ${negotiated?.ProtocolVersion}`);
  }
  const query = { transport: "longPolling", connectionToken: negotiated.ConnectionToken };
  let cursor = (await call("connect", { query, form: {} }))?.C;
  const started = await call("start", { query });
  if (started?.Response !== "started") {
    broken("not started");
  }

  // poll waits for the result of the invocation; it may come by here instead
  // of in the answer to send.
  async function poll(id) {
    for (;;) {
      const batch = await call("poll", { query, form: { messageId: cursor ?? "" } });
      cursor = batch?.C ?? cursor;
      const found = [batch, ...(Array.isArray(batch?.M) ? batch.M : [])].find((message) => message?.I === id);
      if (found) {
        return found;
      }
      if (batch?.D === 1) {
        broken("disconnected");
      }
    }
  }

  return {
    async invoke(method, ...args) {
      const id = "0";
      const polled = poll(id);
      const data = JSON.stringify({ H: "signinghub", M: method, A: args, I: Number(id) });
      const sent = call("send", { query, form: { data } }).then((answer) => (String(answer?.I) === id ? answer : polled));
      const answer = await Promise.race([sent, polled]);
      polled.catch(() => {}); // ends with the connection
      if (answer.E) {
        throw new Failure("hub_error", { detail: String(answer.E) });
      }
      return answer.R;
    },

    close() {
      stop.abort();
      const parameters = new URLSearchParams({ clientProtocol: "2.1", connectionData, ...query });
      // The hub forgets the connection by itself, only later.
      localFetch(`${url}/abort?${parameters}`, { method: "POST", credentials: "include", keepalive: true }).catch(() => {});
    },
  };
}

function broken(detail) {
  throw new Failure("hub_error", { detail });
}
