/** Connects the page's controls. */

import { servedModel } from "./api.js";
import { $, store, stored } from "./dom.js";
import { showExamples, showToyNote } from "./examples.js";
import { stop } from "./run.js";
import { keepingEnd } from "./scroll.js";
import { key, openSettings, restoreSettings } from "./settings.js";
import { pointAtTokens, showLegend } from "./sources.js";
import { ask, clear, restoreTurns } from "./turns.js";

const VIEW = "specdec.view";

/** Answers are shown as tokens or as Markdown. */
function connectViews() {
  const choices = [...document.querySelectorAll("input[name=view]")];
  document.body.dataset.view = stored(VIEW) ?? "tokens";
  for (const choice of choices) {
    choice.checked = choice.value === document.body.dataset.view;
    choice.onchange = () => {
      keepingEnd(() => (document.body.dataset.view = choice.value));
      store(VIEW, choice.value);
    };
  }
}

function connectQuestion() {
  $("ask").onsubmit = (event) => {
    event.preventDefault();
    ask($("question").value.trim());
  };
  $("question").onkeydown = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    $("ask").requestSubmit();
  };
  $("stop").onclick = () => {
    stop();
    $("question").focus();
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") stop();
  });
}

async function showModel() {
  try {
    const model = await servedModel(key());
    $("model").textContent = model.id;
    showToyNote(model);
  } catch (error) {
    $("model").textContent = error.message;
    if (error.status !== 401) return;
    if (!key()) $("model").textContent = "this server needs an API key";
    openSettings(true);
  }
}

showLegend();
pointAtTokens();
restoreSettings();
connectViews();
connectQuestion();
$("clear").onclick = clear;
$("key").addEventListener("change", showModel);
showExamples(ask);
restoreTurns();
showModel();
