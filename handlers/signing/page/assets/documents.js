// Shows the documents: what is signed, byte for byte, as far as text can.

import { element, marked } from "./dom.js";
import { utf8 } from "./request.js";

const openUpTo = 3; // so many documents are unfolded from the start
const hexShown = 1024; // bytes
const batch = 20;

// showDocuments fills the section; it lets the browser breathe between batches
// and tells onProgress how many are done.
export async function showDocuments(section, request, onProgress) {
  const { documents } = request;
  const list = element("ol", { className: "documents" });
  section.replaceChildren(
    element("h2", { id: "documents-title", tabIndex: -1 },
      documents.length === 1 ? "The document" : `The ${documents.length} documents`),
    element("p", { className: "quiet" },
      "This is exactly what will be signed, shown as text. The digest is the SHA-256 of its bytes."),
    ...(documents.some(isSignedInfo) ? [element("p", { className: "quiet" },
      "A SignedInfo is the digital fingerprint of something that the application holds: its text isn’t in it.")] : []),
    ...(documents.length > openUpTo ? [tools(list)] : []),
    list,
  );
  for (let i = 0; i < documents.length; i++) {
    list.append(await row(documents[i], i, documents.length <= openUpTo, request.single));
    if ((i + 1) % batch === 0) {
      onProgress(i + 1);
      await new Promise((resolve) => setTimeout(resolve));
    }
  }
  onProgress(documents.length);
}

function tools(list) {
  const toggle = (open) => () => {
    for (const details of list.querySelectorAll("details")) {
      details.open = open;
    }
  };
  return element("p", { className: "tools" },
    element("button", { type: "button", className: "plain", onclick: toggle(true) }, "Show all"),
    element("button", { type: "button", className: "plain", onclick: toggle(false) }, "Hide all"),
    element("a", { href: "#panel" }, "Skip to signing"),
  );
}

async function row({ id, bytes, display }, index, open, single) {
  const text = readable(bytes);
  const size = `${bytes.length.toLocaleString("en")} ${bytes.length === 1 ? "byte" : "bytes"}`;
  const label = single ? ["Document"] : [`${index + 1}. `, element("bdi", {}, marked(id))];
  return element("li", {}, element("details", { open },
    element("summary", {},
      element("span", { className: "name" }, ...label),
      element("span", { className: "quiet" }, text === null ? `binary, ${size}` : size)),
    ...(display ? [element("div", { className: "display" },
      element("h3", {}, "Description by the application (not part of what is signed)"),
      element("p", { dir: "auto" }, marked(display)))] : []),
    element("div", {},
      element("h3", {}, text === null ? `Content: binary, ${size}` : "Content"),
      element("pre", { tabIndex: 0, role: "group", ariaLabel: `Content of document ${index + 1}`, className: text === null ? "hex" : "" },
        text === null ? hex(bytes) : marked(text))),
    element("div", {},
      element("h3", {}, "Digest"),
      element("p", {}, element("code", {}, await digest(bytes)))),
  ));
}

function isSignedInfo({ bytes }) {
  return /^\s*<(\w+:)?SignedInfo[\s>]/.test(utf8(bytes.subarray(0, 100)) ?? "");
}

// readable returns the text, or null for what is none.
function readable(bytes) {
  const text = utf8(bytes);
  return text === null || /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/.test(text) ? null : text;
}

function hex(bytes) {
  const lines = [];
  for (let at = 0; at < Math.min(bytes.length, hexShown); at += 16) {
    const part = Array.from(bytes.subarray(at, Math.min(at + 16, hexShown)), (b) => b.toString(16).padStart(2, "0"));
    lines.push(`${at.toString(16).padStart(6, "0")}  ${part.join(" ")}`);
  }
  if (bytes.length > hexShown) {
    lines.push(`… and ${(bytes.length - hexShown).toLocaleString("en")} more bytes`);
  }
  return lines.join("\n");
}

async function digest(bytes) {
  const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(sum, (b) => b.toString(16).padStart(2, "0")).join("");
}
