/** Markdown to elements. What a model writes can be hostile: nothing of it runs, and nothing is loaded from elsewhere. */

import { Marked } from "./vendor/marked.min.js";
import "./vendor/purify.min.js";
import { copyButton } from "./copy.js";
import { element } from "./dom.js";

const escaped = (text) => new Option(text).innerHTML;

const marked = new Marked({
  breaks: true,
  renderer: {
    // HTML is shown as the text that the model wrote, and an image as its description.
    html: ({ text }) => escaped(text),
    image: ({ text, href }) => escaped(text || href),
  },
});

const ALLOWED = {
  ALLOWED_TAGS: [
    "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre",
    "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
  ],
  ALLOWED_ATTR: ["align", "class", "href", "start", "title"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

/** The elements that show a text in Markdown. */
export function rendered(text) {
  const fragment = globalThis.DOMPurify.sanitize(marked.parse(text), ALLOWED);
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer";
  }
  for (const block of fragment.querySelectorAll("pre")) {
    const box = element("div", "code");
    block.replaceWith(box);
    block.tabIndex = 0;
    box.append(block, copyButton(() => block.textContent, "copy this code"));
  }
  for (const table of fragment.querySelectorAll("table")) {
    const box = element("div", "wide-table");
    table.replaceWith(box);
    box.append(table);
  }
  return fragment;
}
