/** The answer that is being written, and what the page shows meanwhile. */

import { chat } from "./api.js";
import { emptyAnswer, extend } from "./answer.js";
import { $ } from "./dom.js";
import { keepingEnd, scrollToEnd } from "./scroll.js";
import { FieldError, key, openSettings } from "./settings.js";

/** What aborts the answer that is being written; null while there is none. */
let running = null;

export const isRunning = () => running !== null;

export const stop = () => running?.abort();

function setRunning(controller) {
  running = controller;
  $("send").hidden = Boolean(controller);
  $("stop").hidden = !controller;
  for (const waiting of document.querySelectorAll(".waits")) waiting.disabled = Boolean(controller);
}

export function hideError() {
  $("error").hidden = true;
}

/** Shows what went wrong, and where to mend it. An answer that was stopped is no error. */
export function showError(error) {
  if (error.name === "AbortError") return;
  $("error").textContent = error.message;
  $("error").hidden = false;
  if (error instanceof FieldError || error.status === 401) openSettings(true);
  if (error instanceof FieldError) error.field.focus();
  scrollToEnd();
}

/** Writes an answer into a view. One of which nothing came is thrown as the error, or as the abort, that ended it. */
export async function generate(request, view) {
  const answer = emptyAnswer();
  const controller = new AbortController();
  setRunning(controller);
  $("progress").textContent = "writing";
  try {
    for await (const part of chat(request, key(), controller.signal)) {
      extend(answer, part);
      keepingEnd(() => view.update(answer));
    }
  } catch (error) {
    if (!answer.tokens.length) throw error;
    if (error.name === "AbortError") answer.finish = "stopped";
    else answer.error = error.message;
  } finally {
    setRunning(null);
    $("progress").textContent = answer.finish ?? "";
  }
  keepingEnd(() => view.finish(answer));
  return answer;
}
