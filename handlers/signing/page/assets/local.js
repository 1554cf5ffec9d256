// Reaches a program on this computer, and finds out why it can't be reached.

import { Failure } from "./failure.js";

// Chromium's Local Network Access wants to know beforehand that the target is
// this computer; an unknown value of the option throws, an unknown option is
// ignored.
const addressSpace = ["loopback", "local"].find((targetAddressSpace) => {
  try {
    return new Request("http://127.0.0.1/", { targetAddressSpace });
  } catch {
    return false;
  }
});

// permission is "granted", "denied", "prompt", or "" where there is no such
// permission. Chromium 145 renamed it.
export async function permission() {
  for (const name of ["loopback-network", "local-network-access"]) {
    try {
      return (await navigator.permissions.query({ name })).state;
    } catch {
      // not a permission of this browser
    }
  }
  return "";
}

export function localFetch(url, options) {
  return fetch(url, {
    cache: "no-store",
    credentials: "omit",
    redirect: "error",
    referrerPolicy: "no-referrer",
    ...(addressSpace && { targetAddressSpace: addressSpace }),
    ...options,
  });
}

// whyNot returns the Failure for a fetch that a browser refused or that found
// nobody: to a page both look the same. A request without CORS tells them
// apart: its answer can't be read, but is one. `known` tells that this page has
// been answered before, so that it is no matter of origins.
export async function whyNot(url, signal, known = false) {
  if ((await permission()) === "denied") {
    return new Failure("permission_denied");
  }
  try {
    // Such a request has to follow redirects; the page's policy limits where to.
    await localFetch(url, { mode: "no-cors", redirect: "follow", signal });
    return known ? new Failure("hub_error", { detail: "The connection broke." }) : new Failure("origin_not_allowed");
  } catch {
    signal?.throwIfAborted();
  }
  // A question that was closed without an answer leaves the permission at
  // "prompt", and so does a program that isn't there.
  const state = await permission();
  return state === "denied" ? new Failure("permission_denied") : new Failure("hub_not_running", { unasked: state === "prompt" });
}
