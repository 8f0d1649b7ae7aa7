/** Where a token is from. page.css gives each source a colour and an underline of its own. */

import { $, element } from "./dom.js";

const SOURCES = {
  target: ["the model itself", "not drafted"],
  ngram: ["n-gram", "what followed the same words earlier in this conversation"],
  recycling: ["token recycling", "what the model found probable after the same token before, in anyone's answer"],
  corpus: ["corpus", "what followed the same words in the operator's texts"],
  table: ["table", "what followed the same words in texts that the server learned from"],
  model: ["draft model", "a smaller model"],
  prediction: ["prediction", "the predicted output in the settings"],
  grammar: ["grammar", "the response format, where it leaves no choice"],
};

export const sourceName = (source) => (SOURCES[source] ?? [source])[0];

/** The class that marks a source's tokens. */
export const sourceClass = (source) => (source in SOURCES ? source : "other");

/** What there is to know about a token. */
export function describe({ text, source, step, logprob, id }) {
  const probability = logprob === null ? "" : `, probability ${(100 * Math.exp(logprob)).toFixed(1)} %`;
  const from = source === "target" ? "not drafted" : `drafted by ${sourceName(source)}`;
  return `${JSON.stringify(text)}: ${from}, step ${step}${probability}, id ${id}`;
}

export function showLegend() {
  for (const [source, [name, explanation]] of Object.entries(SOURCES)) {
    const sample = element("span", `token ${source}`, name);
    sample.title = `${name}: ${explanation}`;
    $("sources").append(sample);
  }
}

/** How many tokens of an answer each source proposed, as a sentence. */
export function summary(tokens) {
  const counts = new Map();
  for (const { source } of tokens) counts.set(source, (counts.get(source) ?? 0) + 1);
  const parts = [...counts].map(([source, count]) => `${count} by ${sourceName(source)}`);
  return `Tokens proposed: ${parts.join(", ")}.`;
}

/** Shows what is known of the token under the pointer, or chosen by the arrow keys. */
export function pointAtTokens() {
  for (const happens of ["mouseover", "click"]) {
    document.addEventListener(happens, ({ target }) => target.matches(".token") && showToken(target));
  }
  document.addEventListener("keydown", stepThroughTokens);
}

function showToken(token) {
  document.querySelector(".token.current")?.classList.remove("current");
  token.classList.add("current");
  $("token").textContent = token.title;
}

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

function stepThroughTokens(event) {
  if (!(event.key in STEPS) || !event.target.matches(".tokens")) return;
  const tokens = [...event.target.children];
  const current = tokens.findIndex((token) => token.matches(".current"));
  const next = tokens[current < 0 ? 0 : current + STEPS[event.key]];
  if (!next) return;
  event.preventDefault();
  showToken(next);
  next.scrollIntoView({ block: "nearest" });
}
