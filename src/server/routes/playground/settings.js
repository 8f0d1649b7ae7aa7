/** The settings of the next question. */

import { apiKey, setApiKey } from "./api.js";
import { $, store, stored } from "./dom.js";

const SETTINGS = "specdec.settings";

const fields = () => [...$("fields").querySelectorAll("[name]")];

/** A field that has no valid value. */
export class FieldError extends Error {
  constructor(field) {
    super(`${field.labels[0].firstChild.textContent.trim()}: this is not a number`);
    this.field = field;
  }
}

/** Shows the settings of the last visit, and remembers what is changed. */
export function restoreSettings() {
  const { speculate = true, ...values } = stored(SETTINGS) ?? {};
  for (const field of fields()) field.value = values[field.name] ?? field.value;
  $("speculate").checked = speculate;
  $("key").value = apiKey();
  $("key").addEventListener("change", () => setApiKey($("key").value));
  $("fields").addEventListener("change", remember);
  $("fields").addEventListener("reset", () => setTimeout(remember));
  $("fields").onsubmit = (event) => event.preventDefault();
  $("speculate").addEventListener("change", remember);
  $("settings-button").onclick = () => openSettings($("settings").hidden);
}

function remember() {
  const values = Object.fromEntries(fields().map(({ name, value }) => [name, value]));
  store(SETTINGS, { ...values, speculate: $("speculate").checked });
}

export function openSettings(open) {
  $("settings").hidden = !open;
  $("settings-button").setAttribute("aria-expanded", open);
}

export const key = () => $("key").value;

export const systemPrompt = () => $("fields").elements.system.value.trim();

/** The request's fields. An empty field is left out: the server has defaults. */
export function requestFields() {
  const request = {};
  for (const field of fields()) {
    if (field.validity.badInput) throw new FieldError(field);
    if (field.type === "number" && field.value !== "") request[field.name] = Number(field.value);
  }
  const { stop, prediction } = $("fields").elements;
  const stops = stop.value.split("\n").filter((text) => text);
  if (stops.length) request.stop = stops;
  if (prediction.value) request.prediction = { type: "content", content: prediction.value };
  if (!$("speculate").checked) request.draft = "none";
  // Known, so that a comparison can repeat the answer.
  request.seed ??= Math.floor(Math.random() * 2 ** 31);
  return request;
}
