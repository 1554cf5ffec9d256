// Reads the few fields of an X.509 certificate (RFC 5280) by which a person
// tells one from another. It checks nothing: the server does.

import { fromBase64, utf8 } from "./request.js";

const commonName = "85,4,3"; // 2.5.4.3

// readCertificate returns {name, issuer, expires} of a certificate in base64
// DER: texts, empty where unknown, and a Date or null.
export function readCertificate(base64) {
  try {
    const certificate = node(fromBase64(base64), 0);
    const fields = children(children(certificate)[0]);
    if (fields[0].tag === 0xa0) {
      fields.shift(); // version
    }
    const [, , issuer, validity, subject] = fields;
    return { name: nameOf(subject), issuer: nameOf(issuer), expires: dateOf(children(validity)[1]) };
  } catch {
    return { name: "", issuer: "", expires: null };
  }
}

// node is one element of DER with a length of at most four bytes.
function node(bytes, at) {
  const tag = bytes[at];
  let length = bytes[at + 1];
  let start = at + 2;
  if (length & 0x80) {
    const size = length & 0x7f;
    if (size === 0 || size > 4) {
      throw new RangeError("length");
    }
    length = bytes.subarray(start, start + size).reduce((sum, b) => sum * 256 + b, 0);
    start += size;
  }
  if (!(start + length <= bytes.length)) {
    throw new RangeError("truncated");
  }
  return { tag, content: bytes.subarray(start, start + length), size: start + length - at };
}

function children({ content }) {
  const all = [];
  for (let at = 0; at < content.length; at += all.at(-1).size) {
    all.push(node(content, at));
  }
  return all;
}

function nameOf(sequence) {
  const attributes = children(sequence).flatMap(children).map(children);
  const found = attributes.find(([type]) => type.content.join() === commonName) ?? attributes.at(-1);
  return found ? textOf(found[1]) : "";
}

function textOf({ tag, content }) {
  if (tag === 0x1e) { // BMPString
    return new TextDecoder("utf-16be").decode(content);
  }
  return utf8(content) ?? new TextDecoder("latin1").decode(content);
}

function dateOf({ tag, content }) {
  let text = utf8(content);
  if (tag === 0x17) { // UTCTime: two digits of the year
    text = (text < "5" ? "20" : "19") + text;
  }
  const [, year, month, day, hour, minute] = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)/.exec(text);
  return new Date(Date.UTC(year, month - 1, day, hour, minute));
}
