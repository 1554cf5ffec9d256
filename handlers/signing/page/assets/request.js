// Reads a signature request, and checks a hub's answer to it.

import { Failure } from "./failure.js";

export function fromBase64(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

export function toBase64(text) {
  return btoa(Array.from(new TextEncoder().encode(text), (b) => String.fromCharCode(b)).join(""));
}

// utf8 returns the text of the bytes, or null when they aren't UTF-8.
export function utf8(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

// readRequest returns {jwt, single, algorithm, documents} of the client's JWT;
// a document is {id, payload, bytes, display}. The signature is not checked
// here: the server has checked it, and the hub does again.
export function readRequest(jwt) {
  try {
    const part = jwt.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const claims = JSON.parse(utf8(fromBase64(part)));
    const single = typeof claims.payload === "string";
    const payloads = single ? [{ id: "1", payload: claims.payload, display: claims.display }] : claims.payloads;
    const documents = payloads.map(({ id, payload, display }) => ({
      id,
      payload,
      bytes: fromBase64(payload),
      display: typeof display === "string" ? display : "",
    }));
    if (documents.length === 0 || documents.some((d) => typeof d.id !== "string" || d.bytes.length === 0)) {
      throw new Error("no documents");
    }
    return { jwt, single, algorithm: String(claims.algorithm), subject: String(claims.sub), documents };
  } catch {
    throw new Failure("unreadable");
  }
}

// upload returns what is sent to the server for a hub's answer to the request,
// in the request's own shape.
export function upload(request, answer) {
  const { signatures, certificate, chain, failed } = answer ?? {};
  if (Array.isArray(failed) && failed.length > 0) {
    const some = failed.slice(0, 5).map((f) => `${f?.id}: ${f?.error ?? f?.message ?? "failed"}`);
    const more = failed.length > some.length ? `, and ${failed.length - some.length} more` : "";
    throw new Failure("partial", { detail: some.join(", ") + more });
  }
  if (!Array.isArray(signatures) || typeof certificate !== "string" || certificate === "") {
    throw new Failure("hub_error", { detail: "The answer has no signatures or no certificate." });
  }
  if (signatures.some((s) => typeof s?.signature !== "string" || s.signature === "")) {
    throw new Failure("hub_error", { detail: "The answer has an empty signature." });
  }
  // The certificates between the user's and the authority, which the server may
  // need to find the way; it takes no more than eight.
  const links = (Array.isArray(chain) ? chain : []).filter((c) => typeof c === "string" && c !== "").slice(0, 8);
  const proof = links.length > 0 ? { certificate, chain: links } : { certificate };
  if (request.single && signatures.length === 1) {
    return { signature: signatures[0].signature, ...proof };
  }
  const byId = new Map(signatures.map((s) => [s.id, s.signature]));
  if (signatures.length !== request.documents.length || !request.documents.every((d) => byId.has(d.id))) {
    throw new Failure("partial", {
      detail: `${request.documents.filter((d) => byId.has(d.id)).length} of ${request.documents.length} documents were signed.`,
    });
  }
  return { signatures: request.documents.map(({ id }) => ({ id, signature: byId.get(id) })), ...proof };
}
