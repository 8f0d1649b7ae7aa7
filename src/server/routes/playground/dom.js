/** Making elements, and the browser's storage. */

export const $ = (id) => document.getElementById(id);

/** A new element with a class and children: elements or texts. */
export function element(tag, className = "", ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}

export function button(text, onclick) {
  const made = element("button", "", text);
  made.type = "button";
  made.onclick = onclick;
  return made;
}

/** Reads a value from `localStorage`; null where there is none, or where the browser allows no storage. */
export function stored(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

/** Writes a value to `localStorage`, or removes it if it is null; whether the browser had room for it. */
export function store(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}
