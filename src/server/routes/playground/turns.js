/** The turns of the conversation on the page: asking, regenerating, comparing. */

import { AnswerView } from "./answer.js";
import { labelOf, otherRequest, verdict } from "./comparison.js";
import { addTurn, allTurns, clearTurns, messages } from "./conversation.js";
import { $, element } from "./dom.js";
import { generate, hideError, isRunning, showError, stop } from "./run.js";
import { keepingEnd, scrollToEnd } from "./scroll.js";
import { requestFields, systemPrompt } from "./settings.js";

/** Shows a question, and the view of its answer. */
function addSection(question, view) {
  const answers = element("div", "answers", view.element);
  const section = element("section", "turn", element("h2", "question", question), answers);
  $("talk").append(section);
  showWelcome();
  return section;
}

function showWelcome() {
  $("welcome").hidden = $("talk").childElementCount > 0;
}

export async function ask(question) {
  if (isRunning() || !question) return;
  hideError();
  const view = new AnswerView();
  let section = null;
  try {
    const turn = { question, system: systemPrompt(), request: requestFields() };
    const request = { ...turn.request, messages: messages(turn.system, question) };
    section = addSection(question, view);
    $("question").value = "";
    scrollToEnd();
    turn.answer = await generate(request, view);
    // Otherwise it was cleared meanwhile.
    if (!section.isConnected) return;
    addTurn(turn);
    keepingEnd(() => offerActions(turn, view, section));
  } catch (error) {
    if (section && !section.isConnected) return;
    section?.remove();
    giveBack(question);
    showWelcome();
    showError(error);
  }
}

/** Puts a question that was not answered back, before what was typed meanwhile. */
function giveBack(question) {
  const typed = $("question").value;
  $("question").value = typed && typed.trim() !== question ? `${question}\n${typed}` : question;
}

/** Adds the buttons of a complete answer. Only the last one can be regenerated: later ones follow from it. */
function offerActions(turn, view, section) {
  for (const older of document.querySelectorAll(".regenerate")) older.remove();
  view.addCopy();
  view.addAction("regenerate", "regenerate", () => regenerate(turn, view, section));
  if (!turn.answer.stats) return;
  const other = labelOf(otherRequest(turn.request));
  const button = view.addAction(`compare with ${other}`, "compare", () => compare(turn, view, section, button));
}

async function regenerate(turn, view, section) {
  hideError();
  const replacement = new AnswerView();
  try {
    const fresh = { ...turn, system: systemPrompt(), request: requestFields() };
    const earlier = messages(fresh.system, turn.question, allTurns().indexOf(turn));
    view.element.hidden = true;
    view.element.after(replacement.element);
    scrollToEnd();
    fresh.answer = await generate({ ...fresh.request, messages: earlier }, replacement);
    if (!section.isConnected) return;
    addTurn(fresh, turn);
    section.querySelector(".answers").replaceChildren(replacement.element);
    section.querySelector(".comparison")?.remove();
    keepingEnd(() => offerActions(fresh, replacement, section));
  } catch (error) {
    replacement.element.remove();
    view.element.hidden = false;
    showError(error);
  }
}

/** Repeats an answer in the other way, beside it. */
async function compare(turn, view, section, button) {
  hideError();
  const request = otherRequest(turn.request);
  const other = new AnswerView();
  view.setLabel(labelOf(turn.request));
  other.setLabel(labelOf(request));
  button.hidden = true;
  keepingEnd(() => section.querySelector(".answers").append(other.element));
  try {
    const repeated = messages(turn.system, turn.question, allTurns().indexOf(turn));
    const answer = await generate({ ...request, messages: repeated }, other);
    if (answer.error) throw new Error(answer.error);
    if (!answer.stats) throw new DOMException("stopped", "AbortError");
    const answers = turn.request.draft === "none" ? [answer, turn.answer] : [turn.answer, answer];
    keepingEnd(() => {
      other.addCopy();
      section.append(verdict(...answers));
    });
  } catch (error) {
    // Half an answer compares with nothing.
    other.element.remove();
    view.setLabel("");
    button.hidden = false;
    if (section.isConnected) showError(error);
  }
}

/** Shows the conversation of the last visit. */
export function restoreTurns() {
  for (const turn of allTurns()) {
    const view = new AnswerView();
    const section = addSection(turn.question, view);
    view.finish(turn.answer);
    offerActions(turn, view, section);
  }
  scrollToEnd();
}

export function clear() {
  stop();
  clearTurns();
  $("talk").replaceChildren();
  hideError();
  showWelcome();
  $("question").focus();
}
