/** What the empty page shows. */

import { $, button, element } from "./dom.js";

/** Questions that small models answer: lists, copies and edits, whose answers repeat what is known already. */
const EXAMPLES = [
  "Repeat this text word for word: The old cat sat on the red mat by the wall. The young dog sat on the brown log by the " +
    "river. The small bird sat on the thin wire by the road. The big cow sat on the green grass by the barn.",
  "List the months of the year.",
  "Summarize: The Amazon is a river in South America. It is the largest river in the world by water volume. It flows " +
    "through Brazil, Peru and Colombia.",
  "Make this text shorter: I am writing to let you know that I will not be able to come to the meeting tomorrow.",
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
