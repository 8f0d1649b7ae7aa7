/** Copying texts. */

import { $, button, element } from "./dom.js";

async function copy(text) {
  // Browsers have the clipboard's interface only on pages from this machine, or over HTTPS.
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = element("textarea", "for-screen-readers");
  field.value = text;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  if (!copied) throw new Error("the browser does not allow it");
}

/** A button that copies a text: `text()`, when it is pressed. */
export function copyButton(text, label) {
  const made = button("copy", async () => {
    try {
      await copy(text());
      made.textContent = "copied";
      $("progress").textContent = "copied";
    } catch (error) {
      made.textContent = `not copied: ${error.message}`;
    }
    made.focus();
    setTimeout(() => (made.textContent = "copy"), 2000);
  });
  made.classList.add("copy");
  made.setAttribute("aria-label", label);
  return made;
}
