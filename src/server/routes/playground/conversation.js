/** The conversation, which the browser keeps until it is cleared. */

import { store, stored } from "./dom.js";

const CONVERSATION = "specdec.conversation";

/** Turns: the question, the fields of the request, and the answer. */
let turns = stored(CONVERSATION) ?? [];

export const allTurns = () => turns;

/** Adds a turn, or replaces the one that `replaced` is. */
export function addTurn(turn, replaced = null) {
  if (replaced) turns[turns.indexOf(replaced)] = turn;
  else turns.push(turn);
  save();
}

export function clearTurns() {
  turns = [];
  store(CONVERSATION, null);
}

function save() {
  if (store(CONVERSATION, turns)) return;
  // There is room for the texts, if not for where each token is from.
  const texts = turns.map((turn) => ({ ...turn, answer: { ...turn.answer, tokens: [] } }));
  store(CONVERSATION, texts);
}

/** The messages of a request: the turns before `end`, and a question. */
export function messages(system, question, end = turns.length) {
  const earlier = turns.slice(0, end).filter(({ answer }) => answer.text);
  return [
    ...(system ? [{ role: "system", content: system }] : []),
    ...earlier.flatMap(({ question, answer }) => [
      { role: "user", content: question },
      { role: "assistant", content: answer.text },
    ]),
    { role: "user", content: question },
  ];
}
