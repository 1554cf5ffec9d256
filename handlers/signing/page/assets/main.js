// The course of signing: ready → opening → documents → signing (→ choosing) →
// sending → done, or failed, from where some steps can be repeated.

import { showDocuments } from "./documents.js";
import { element, marked } from "./dom.js";
import { Failure, asFailure } from "./failure.js";
import { readRequest, upload } from "./request.js";
import { service } from "./server.js";

const main = document.getElementById("main");
const failureBox = document.getElementById("failure");
const documentsBox = document.getElementById("documents");
const panel = document.getElementById("panel");
const choiceBox = document.getElementById("choice");
const statusLine = document.getElementById("status");
const progress = document.getElementById("progress");
const actions = document.getElementById("actions");
const title = document.title;

const { base, token, signer: signerModule, hub, ports } = main.dataset;
const server = service(base, token);
const deadline = main.dataset.remaining && performance.now() + Number(main.dataset.remaining);

let signer; // the module that asks for signatures
let request; // what was downloaded
let signed; // what was signed and is to be sent
let operation = null; // AbortController of what can be cancelled

// enter shows a state: its text, its buttons as [text, action, primary], and
// whether something is going on.
function enter(state, text, buttons = [], { busy = false, heading = "" } = {}) {
  main.dataset.state = state;
  main.setAttribute("aria-busy", String(busy));
  failureBox.hidden = true;
  failureBox.replaceChildren();
  choiceBox.hidden = true;
  choiceBox.replaceChildren();
  panel.hidden = false;
  document.title = heading ? `${heading} – ${title}` : title;
  report(text);
  progress.hidden = !busy;
  progress.removeAttribute("value");
  actions.replaceChildren(...buttons.map(([label, action, primary]) =>
    element("button", { type: "button", className: primary ? "button" : "button second", onclick: action }, label)));
  actions.hidden = buttons.length === 0;
}

function report(text) {
  statusLine.textContent = text;
}

// fail shows what went wrong and what can be done.
function fail(error) {
  const failure = asFailure(error);
  const steps = { open, sign, send, reload: () => location.reload() };
  const again = steps[failure.retry];
  const cancelled = failure.code === "user_cancelled";
  const buttons = again ? [[failure.again, again, true]] : [];
  if (again && request && !cancelled && failure.retry === "sign") {
    buttons.push(["Cancel", cancel]);
  }
  enter("failed", "", buttons, { heading: failure.title });
  main.dataset.failure = failure.code;
  failureBox.className = cancelled ? "" : "bad";
  const heading = element("h2", { tabIndex: -1 }, failure.title);
  failureBox.replaceChildren(
    heading,
    ...failure.text.map((text) => element("p", {}, text)),
    ...(failure.steps.length ? [element("ul", {}, ...failure.steps.map((text) => element("li", {}, text)))] : []),
    ...(failure.detail ? [element("p", { className: "quiet" }, "Details: ", element("bdi", {}, marked(failure.detail)))] : []),
  );
  failureBox.hidden = false;
  heading.focus();
  if (!again) {
    keep(false);
  }
}

// Once opened, the request lives on this page only.
function keep(on) {
  window.onbeforeunload = on ? (event) => event.preventDefault() : null;
}

function expired() {
  return deadline && performance.now() >= deadline;
}

async function open() {
  enter("opening", "Opening the request…", [], { busy: true });
  statusLine.focus();
  try {
    request = readRequest(await server.download());
    keep(true);
    documentsBox.hidden = false;
    progress.max = request.documents.length;
    await showDocuments(documentsBox, request, (done) => {
      progress.value = done;
      report(`Showing ${done} of ${request.documents.length} documents…`);
    });
  } catch (error) {
    fail(error);
    return;
  }
  offer();
  document.getElementById("documents-title").focus();
}

// offer asks for the decision.
function offer() {
  const count = request.documents.length;
  enter("documents", count === 1 ? "Read the document, then sign it." : `Read the ${count} documents, then sign them.`, [
    [signer.test ? "Make a test signature" : "Sign with your smartcard", sign, true],
    ["Cancel", cancel],
  ]);
}

function cancel() {
  if (operation) {
    operation.abort();
  } else {
    fail(new Failure("user_cancelled"));
  }
}

async function sign() {
  if (expired()) {
    fail(new Failure("expired"));
    return;
  }
  enter("signing", "", [["Cancel", cancel]], { busy: true, heading: "Signing…" });
  statusLine.focus();
  const own = new AbortController();
  operation = own;
  try {
    const answer = await signer.sign({
      request, server, hub, report, choose,
      ports: (ports ?? "").split(" "),
      signal: own.signal,
    });
    own.signal.throwIfAborted();
    signed = upload(request, answer);
  } catch (error) {
    fail(own.signal.aborted ? new Failure("user_cancelled") : error);
    return;
  } finally {
    operation = null;
  }
  await send();
}

// choose lets the user choose one of several certificates.
function choose(options, preset) {
  return new Promise((resolve, reject) => {
    const radios = options.map(({ id }, i) =>
      element("input", { type: "radio", name: "certificate", id: `certificate-${i}`, value: id, checked: id === preset }));
    const done = () => {
      const chosen = radios.findIndex((radio) => radio.checked);
      if (chosen < 0) {
        report("Choose one of the certificates first.");
        radios[0].focus();
        return;
      }
      operation.signal.removeEventListener("abort", abort);
      enter("signing", "", [["Cancel", cancel]], { busy: true, heading: "Signing…" });
      statusLine.focus();
      resolve(options[chosen].id);
    };
    const abort = () => reject(operation.signal.reason);
    operation.signal.addEventListener("abort", abort, { once: true });
    enter("choosing", "There are several certificates.", [["Sign with this certificate", done, true], ["Cancel", cancel]],
      { heading: "Choose a certificate" });
    choiceBox.replaceChildren(element("fieldset", {},
      element("legend", { tabIndex: -1 }, "Which certificate do you want to sign with?"),
      ...options.map(({ name, issuer, expires }, i) => element("div", { className: "option" },
        radios[i],
        element("label", { htmlFor: radios[i].id },
          element("bdi", { className: "name" }, marked(name || `Certificate ${i + 1}`)),
          element("span", { className: "quiet" }, ...(issuer ? ["issued by ", element("bdi", {}, marked(issuer))] : []),
            expires ? `${issuer ? ", " : ""}valid until ${expires.toLocaleDateString("en-GB", { dateStyle: "long" })}` : ""))))));
    choiceBox.hidden = false;
    (radios.find((radio) => radio.checked) ?? radios[0]).focus();
  });
}

async function send() {
  enter("sending", "Sending the signature…", [], { busy: true, heading: "Sending…" });
  statusLine.focus();
  let target;
  try {
    target = await server.send(signed);
  } catch (error) {
    fail(error);
    return;
  }
  keep(false);
  signed = undefined;
  enter("done", "Signed. Taking you back to the application…", [], { heading: "Signed" });
  actions.replaceChildren(element("a", { href: target, className: "button" }, "Continue"));
  actions.hidden = false;
  statusLine.focus();
  location.assign(target);
}

// What has the focus must not hide behind the panel at the lower edge.
new ResizeObserver(() => {
  const covered = getComputedStyle(panel).position === "sticky" ? panel.offsetHeight : 0;
  document.documentElement.style.scrollPaddingBottom = `${covered + 16}px`;
}).observe(panel);

// Back from the application, the browser may show this page as it was left.
window.addEventListener("pageshow", (event) => {
  if (event.persisted && main.dataset.state === "done") {
    location.reload();
  }
});

function showDeadline() {
  const time = document.getElementById("deadline");
  if (time) {
    time.textContent = new Date(time.dateTime).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "long" });
  }
  if (deadline) {
    awaitDeadline();
  }
}

// awaitDeadline says that the time is over, unless something else is going on.
function awaitDeadline() {
  if (!expired()) {
    // A timer cuts fractions of a millisecond off, and has a limit.
    setTimeout(awaitDeadline, Math.min(deadline - performance.now() + 1, 2 ** 31 - 1));
  } else if (["ready", "documents"].includes(main.dataset.state)) {
    fail(new Failure("expired"));
  }
}

try {
  signer = await import(`./${signerModule}`);
  enter("ready", "Nothing is signed before you say so.", [["Show the documents", open, true]]);
  showDeadline();
} catch {
  fail(new Failure("unreachable", { retry: "reload" }));
}
