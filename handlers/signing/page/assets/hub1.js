// The signing hub that speaks hub/1: JSON over loopback. It checks the client's
// JWT itself, asks for consent and PIN in its own window, and never gets either
// from this page.

import { readCertificate } from "./certificate.js";
import { Failure } from "./failure.js";
import { localFetch, permission, whyNot } from "./local.js";

export async function sign({ request, hub, signal, report, choose }) {
  const asks = (await permission()) === "prompt";
  report("Looking for the signing hub…" + (asks ? " If your browser asks, choose Allow." : ""));
  const info = await call(hub, "info", undefined, signal);
  if (info.card === "absent") {
    throw new Failure("no_card");
  }
  needAlgorithm(info.algorithms, request.algorithm);

  report("Choose or confirm the certificate in the signing hub’s window.");
  const certificateId = await pick(request, hub, signal, choose);

  const count = request.documents.length;
  report(`Confirm in the signing hub’s window and enter your PIN there. ${count === 1 ? "One document is" : `${count} documents are`} being signed…`);
  return call(hub, "sign", { request: request.jwt, ...(certificateId !== undefined && { certificateId }) }, signal);
}

// pick returns the id of the certificate to sign with, or undefined to leave it
// to a hub that doesn't list them.
async function pick(request, hub, signal, choose) {
  const { certificates } = await call(hub, "certificates", {}, signal, { optional: true });
  if (certificates === undefined) {
    return undefined;
  }
  if (!Array.isArray(certificates) || certificates.length === 0) {
    throw new Failure("no_certificate");
  }
  const able = certificates.filter((c) => !Array.isArray(c?.algorithms) || c.algorithms.includes(request.algorithm));
  if (able.length === 0) {
    throw new Failure("unsupported_algorithm", { detail: request.algorithm });
  }
  if (able.length === 1) {
    return able[0].id;
  }
  const options = able.map(({ id, certificate }) => ({ id, ...readCertificate(certificate) }));
  // The server accepts the certificate of the person it was made for, whose
  // number stands before the name.
  const own = options.find(({ name }) => name.split("_")[0] === request.subject);
  return choose(options, own?.id);
}

function needAlgorithm(algorithms, algorithm) {
  if (Array.isArray(algorithms) && !algorithms.includes(algorithm)) {
    throw new Failure("unsupported_algorithm", { detail: algorithm });
  }
}

async function call(hub, operation, body, signal, { optional = false } = {}) {
  const url = `${hub}/hub/v1/${operation}`;
  let response, answer;
  try {
    response = await localFetch(url, {
      signal,
      ...(body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }),
    });
  } catch {
    signal.throwIfAborted();
    throw await whyNot(`${hub}/hub/v1/info`, signal, operation !== "info");
  }
  if (optional && (response.status === 404 || response.status === 405 || response.status === 501)) {
    return {};
  }
  try {
    answer = await response.json();
  } catch {
    signal.throwIfAborted();
    throw new Failure("hub_error", { detail: `The hub’s answer (${response.status}) can’t be read.` });
  }
  if (!response.ok) {
    throw new Failure(String(answer?.error), { detail: answer?.message, retriesLeft: answer?.retriesLeft });
  }
  if (answer === null || typeof answer !== "object") {
    throw new Failure("hub_error", { detail: "The hub’s answer can’t be read." });
  }
  return answer;
}
