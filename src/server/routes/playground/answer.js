/** One answer on the page: its tokens, the same as Markdown, and what it took. */

import { copyButton } from "./copy.js";
import { button, element } from "./dom.js";
import { rendered } from "./markdown.js";
import { keepingEnd } from "./scroll.js";
import { describe, sourceClass, summary } from "./sources.js";

/** An answer that has not begun yet. */
export const emptyAnswer = () => ({ text: "", tokens: [], stats: null, finish: null });

/** Adds a part of the server's stream. */
export function extend(answer, { delta, tokens, finish_reason, stats }) {
  answer.text += delta.content ?? "";
  for (const { id, text, source, step, logprob } of tokens ?? []) {
    answer.tokens.push({ id, text, source, step, logprob });
  }
  answer.finish = finish_reason ?? answer.finish;
  answer.stats = stats ?? answer.stats;
}

/** The tokens' texts, as far as they are in the answer: a stop text is not. */
function shownTexts({ text, tokens }) {
  let rest = text;
  const texts = tokens.map((token) => {
    let length = 0;
    while (length < token.text.length && token.text[length] === rest[length]) length += 1;
    rest = rest.slice(length);
    return token.text.slice(0, length);
  });
  // What no token has, such as a character of which only the start was generated.
  if (texts.length) texts[texts.length - 1] += rest;
  return texts;
}

export class AnswerView {
  constructor() {
    this.label = element("h3", "label");
    this.tokens = element("div", "text tokens");
    this.tokens.tabIndex = 0;
    this.tokens.setAttribute("role", "group");
    this.tokens.setAttribute("aria-label", "the answer's tokens: arrow keys step through them");
    this.markdown = element("div", "markdown");
    this.sources = element("p", "for-screen-readers");
    this.facts = element("div", "facts", "waiting for the first token");
    this.actions = element("div", "actions");
    this.element = element(
      "article", "answer", this.label, this.tokens, this.markdown, this.sources, this.facts, this.actions,
    );
    this.element.setAttribute("aria-busy", "true");
  }

  /** Shows what has arrived. */
  update(answer) {
    this.answer = answer;
    if (!answer.tokens.length) return;
    this.began ??= { at: performance.now(), tokens: answer.tokens.length };
    this.addTokens(({ text }) => text);
    this.showFacts(this.liveFacts());
    this.drawing ??= requestAnimationFrame(() => keepingEnd(() => this.draw()));
  }

  /** Shows the tokens that are not shown yet. */
  addTokens(textOf) {
    const { tokens } = this.answer;
    for (let index = this.tokens.childElementCount; index < tokens.length; index += 1) {
      const token = tokens[index];
      const span = element("span", `token ${sourceClass(token.source)}`, textOf(token, index));
      span.dataset.source = token.source;
      span.title = describe(token);
      this.tokens.append(span);
    }
  }

  draw() {
    this.drawing = null;
    this.markdown.replaceChildren(rendered(this.answer.text));
  }

  /** Shows the whole answer. */
  finish(answer) {
    this.answer = answer;
    if (this.drawing) cancelAnimationFrame(this.drawing);
    this.tokens.replaceChildren();
    const texts = shownTexts(answer);
    this.addTokens((_, index) => texts[index]);
    // The browser had no room to keep the tokens.
    if (!answer.tokens.length) this.tokens.textContent = answer.text;
    this.draw();
    this.sources.textContent = answer.tokens.length ? summary(answer.tokens) : "";
    this.showFacts(finalFacts(answer));
    this.element.removeAttribute("aria-busy");
  }

  liveFacts() {
    const { tokens } = this.answer;
    const seconds = (performance.now() - this.began.at) / 1000;
    const drafted = tokens.filter((token) => token.source !== "target").length;
    return [
      ...counts(tokens, seconds > 0 ? (tokens.length - this.began.tokens) / seconds : null),
      `${percent(drafted / tokens.length)} from drafts`,
    ];
  }

  showFacts(facts) {
    this.facts.replaceChildren(...facts.map((fact) => element("span", "", fact)));
  }

  /** Says which of several answers this is. */
  setLabel(text) {
    this.label.textContent = text;
  }

  addCopy() {
    this.actions.append(copyButton(() => this.answer.text, "copy this answer"));
  }

  /** Adds a button for what can be done with the answer; it waits for answers that are being written. */
  addAction(text, className, onclick) {
    const made = button(text, onclick);
    made.className = `${className} waits`;
    this.actions.append(made);
    return made;
  }
}

const percent = (share) => `${(100 * share).toFixed(0)} %`;

export const speed = (rate) => `${rate.toFixed(rate < 10 ? 1 : 0)} tokens/s`;

/** Facts that are known at any time. */
function counts(tokens, rate) {
  const speeds = rate ? [speed(rate)] : [];
  if (!tokens.length) return speeds;
  const steps = new Set(tokens.map((token) => token.step)).size;
  const count = `${tokens.length} ${tokens.length === 1 ? "token" : "tokens"}`;
  return [count, ...speeds, `${(tokens.length / steps).toFixed(2)} per step`];
}

const ENDS = { stopped: "stopped", length: "reached the maximum number of tokens", abort: "ended by the server" };

function finalFacts({ text, tokens, stats, finish, error }) {
  const facts = counts(tokens, stats?.tokens_per_second);
  // How much sooner it came, only a comparison tells: the server's estimate follows every other load of the machine.
  if (stats) facts.push(stats.drafted ? `${percent(stats.acceptance_rate)} of drafted tokens accepted` : "no tokens drafted");
  if (error) facts.push(`ended by an error: ${error}`);
  else if (finish in ENDS) facts.push(ENDS[finish]);
  else if (!text) facts.push("an empty answer");
  return facts;
}
