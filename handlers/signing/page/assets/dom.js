// Builds elements. Text is only ever text: nothing here parses markup.

export function element(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

// Characters that show nothing, or that change the order in which others are
// shown: with them a text can look like another. A lone carriage return too.
const deceptive =
  /[\u0080-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\u{e0000}-\u{e0fff}]|\r(?!\n)/gu;

// marked returns the text with those characters shown by their code points.
export function marked(text) {
  const fragment = document.createDocumentFragment();
  let end = 0;
  for (const found of text.matchAll(deceptive)) {
    const code = found[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    fragment.append(text.slice(end, found.index), element("span", { className: "mark", title: "Invisible character" }, `U+${code}`));
    end = found.index + found[0].length;
  }
  fragment.append(text.slice(end));
  return fragment;
}
