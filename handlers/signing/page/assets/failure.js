// What can go wrong, in the words of the person who signs. `retry` is what the
// main button does then: "open" asks for the request again, "sign" has the
// documents signed again, "send" sends the signatures that are there; without
// it nothing can be done on this page. `again` is that button's text.

const startAgain = "Go back to the application that sent you here and start signing again.";
const notSigned = "Nothing has been signed.";

const failures = {
  // Reaching the hub.
  hub_not_running: {
    title: "The signing program isn’t running",
    text: ["This page could not reach the signing hub on this computer."],
    steps: [
      "Start the signing hub, or install it if you don’t have it.",
      "Use Chrome, Edge or Firefox: Safari doesn’t let secure pages reach programs on your computer.",
    ],
    retry: "sign",
  },
  permission_denied: {
    title: "Your browser blocked this page",
    text: ["The browser doesn’t let this site reach programs on this computer, so it can’t reach the signing hub."],
    steps: [
      "Open the site settings: the button at the left end of the address bar.",
      "Set “Apps on device” or “Local network access” to Allow. If you can’t change it, your organisation may have set it: ask your IT support.",
      "Come back to this tab, without loading the page again, and try again.",
    ],
    retry: "sign",
  },
  origin_not_allowed: {
    title: "The signing program doesn’t accept this site",
    text: ["The signing hub is running, but this site isn’t in its list of allowed sites, or another program answers in its place."],
    steps: [`Ask your IT support to add ${location.origin} to the hub’s allowed sites.`],
    retry: "sign",
  },

  // The card.
  no_card: {
    title: "No smartcard found",
    text: ["The signing hub can’t see a card."],
    steps: ["Insert your smartcard and check that the reader is plugged in.", "Wait until the reader’s light is steady, then try again."],
    retry: "sign",
  },
  no_certificate: {
    title: "No signing certificate on the card",
    text: ["The card has no certificate that may be used for signatures."],
    steps: ["Check that it is the right card.", "If it is, ask whoever issued the card for a signing certificate."],
    retry: "sign",
  },
  pin_incorrect: {
    title: "The PIN was wrong",
    text: [notSigned],
    retry: "sign",
  },
  pin_blocked: {
    title: "The card is blocked",
    text: ["A wrong PIN was entered too often. " + notSigned],
    steps: ["Ask whoever issued the card to unblock it.", "You can try again with another card."],
    retry: "sign",
  },
  unsupported_algorithm: {
    title: "The card can’t sign in this way",
    text: ["The application asks for a kind of signature that this card or the signing hub doesn’t make."],
    steps: ["Update the signing hub, or use a newer card."],
    retry: "sign",
  },

  // The hub's other answers.
  busy: {
    title: "The signing program is busy",
    text: ["Something else is being signed, perhaps in another tab or window."],
    steps: ["Finish or cancel it there, then try again."],
    retry: "sign",
  },
  user_cancelled: {
    title: "You cancelled signing",
    text: [notSigned + " You can sign now, or close this page."],
    retry: "sign",
    again: "Sign after all",
  },
  request_invalid: {
    title: "The signing program refused the request",
    text: [notSigned],
    steps: ["The hub may not know this signing service, or this computer’s clock may be wrong: ask your IT support."],
    retry: "sign",
  },
  partial: {
    title: "Not all documents could be signed",
    text: ["The signatures that were made have not been sent."],
    retry: "sign",
  },
  hub_error: {
    title: "The signing program reported a problem",
    text: [notSigned],
    retry: "sign",
  },

  // The signing service.
  expired: {
    title: "This request has expired",
    text: ["It was not signed in time. Nothing was sent to the application.", startAgain],
  },
  used: {
    title: "This request has already been opened",
    text: [
      "A request can be opened only once, and this one has been: in another tab or window, or the connection broke while it was opening here.",
      "If it is still open elsewhere, go on there. Otherwise go back to the application that sent you here and start signing again.",
    ],
  },
  signed: {
    title: "This request has already been signed",
    text: ["The signature is with the signing service.", "Go back to the application that sent you here."],
  },
  elsewhere: {
    title: "This request belongs to another browser",
    text: ["It was opened in another browser, or this browser keeps no cookies for this site. " + notSigned, startAgain],
  },
  unreadable: {
    title: "The documents can’t be shown",
    text: ["The request is not in a form that this page understands, so it offers nothing to sign.", startAgain],
  },
  refused: {
    title: "The signature was not accepted",
    text: ["The signing service checked the signature and refused it. The documents can be signed again."],
    steps: ["Check that you used your own card, and that it is still valid."],
    retry: "sign",
  },
  unreachable: {
    title: "The signing service can’t be reached",
    text: ["Check your internet connection, then try again."],
  },
  server_error: {
    title: "The signing service can’t answer right now",
    text: ["Wait a moment, then try again."],
  },
  page_error: {
    title: "Something went wrong on this page",
    text: [notSigned],
    retry: "sign",
  },
};

// Failure is what a step ends with when it can't go on. `detail` is what the
// other side said, `retriesLeft` belongs to a wrong PIN, `unasked` tells that the
// browser has no answer yet to whether the page may reach this computer, and
// `retry` replaces what the table says.
export class Failure extends Error {
  constructor(code, { detail, retriesLeft, unasked = false, retry } = {}) {
    super(code);
    this.code = Object.hasOwn(failures, code) ? code : "hub_error";
    this.detail = typeof detail === "string" ? detail.slice(0, 1000) : "";
    this.retriesLeft = Number.isSafeInteger(retriesLeft) && retriesLeft >= 0 ? retriesLeft : undefined;
    this.unasked = unasked;
    this.retry = retry ?? failures[this.code].retry;
  }

  get title() {
    return failures[this.code].title;
  }

  get text() {
    const text = [...failures[this.code].text];
    if (this.retriesLeft === 1) {
      text.push("One try is left before the card is blocked.");
    } else if (this.retriesLeft === 0) {
      text.push("No try is left.");
    } else if (this.retriesLeft !== undefined) {
      text.push(`${this.retriesLeft} tries are left before the card is blocked.`);
    }
    if (this.unasked) {
      text.push("Or your browser asked whether this site may reach programs on this computer, and got no answer: then try again and choose Allow.");
    }
    if (this.retry === "send") {
      text.push("Your signature is kept on this page: you don’t have to sign again.");
    }
    return text;
  }

  get steps() {
    return failures[this.code].steps ?? [];
  }

  get again() {
    return failures[this.code].again ?? (this.retry === "send" ? "Send again" : "Try again");
  }
}

// asFailure makes a Failure of whatever was thrown.
export function asFailure(error) {
  if (error instanceof Failure) {
    return error;
  }
  if (error?.name === "AbortError") {
    return new Failure("user_cancelled");
  }
  return new Failure("page_error", { detail: String(error) });
}
