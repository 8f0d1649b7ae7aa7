/** Two answers to the same request, with speculation and without. */

import { element } from "./dom.js";
import { speed } from "./answer.js";

const NOTE =
  "These two runs are what was measured: other work on the machine changes both speeds. A question that was asked before " +
  "also drafts from what the server learned from its earlier answers, so it is faster than a new one.";

/** The other of the two ways to decode. */
export function otherRequest({ draft, ...request }) {
  return draft === "none" ? request : { ...request, draft: "none" };
}

/** The fewest tokens whose speed says something. */
const MIN_TOKENS = 32;

export const labelOf = (request) => (request.draft === "none" ? "plain decoding" : "speculative");

/** What two whole answers show. */
export function verdict(speculative, plain) {
  const ids = ({ tokens }) => tokens.map((token) => token.id).join();
  const text = ids(speculative) === ids(plain) ? "identical text" : "DIFFERENT text";
  return element("div", "comparison", element("p", "verdict", `${text}; ${measured(speculative.stats, plain.stats)}`),
    element("p", "note", NOTE));
}

function measured(speculative, plain) {
  const [fast, slow] = [speculative.tokens_per_second, plain.tokens_per_second];
  if (!fast || !slow) return "too short to measure a speed";
  const speeds = `${speed(fast)} with speculation, ${speed(slow)} without`;
  if (!speculative.drafted) return `${speeds}; nothing was drafted, so there is no speedup`;
  if (speculative.new_tokens < MIN_TOKENS) return `${speeds}; the answer is too short to tell a speedup`;
  return `${speeds}: ${(fast / slow).toFixed(2)}× as fast`;
}
