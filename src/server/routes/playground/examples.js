/** What the empty page shows. */

import { $, button, element } from "./dom.js";

/** Questions that small models answer, and whose answers repeat what drafts know: lists, copies, edits. */
const EXAMPLES = [
  "List the months of the year.",
  "Copy this text word for word: The quick brown fox jumps over the lazy dog. The lazy dog sleeps while the quick brown fox runs.",
  "Write a Python function that adds two numbers, with an example.",
];

/** Models with fewer parameters write well-formed text, and know little. */
const TOY = 5e8;

export function showExamples(ask) {
  for (const example of EXAMPLES) $("examples").append(element("li", "", button(example, () => ask(example))));
}

export function showToyNote({ id, meta }) {
  const millions = Math.round(meta.parameters / 1e6);
  $("toy").hidden = meta.parameters >= TOY;
  $("toy").textContent =
    `${id} is a toy: with ${millions} million parameters it is small enough to try this page anywhere, and it is often wrong. ` +
    "specdec serve --target MODEL serves a better one.";
}
