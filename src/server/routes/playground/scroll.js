/** Following an answer that is being written. */

const scroller = document.querySelector("main");

export function scrollToEnd() {
  scroller.scrollTop = scroller.scrollHeight;
}

/** Changes the page; a reader who is at its end stays there. */
export function keepingEnd(change) {
  const atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 48;
  change();
  if (atEnd) scrollToEnd();
}
