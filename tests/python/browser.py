"""Chromium, for the tests of the playground and its screenshots (from the system's packages)."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")

needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="no Chromium with its driver: apt-get install chromium chromium-driver",
)

# Replaces the server's answers by those of a test, one for each request, the last for all others.
# An answer whose events do not end with [DONE] goes on until the page aborts it.
SCRIPTED = """
const [answers, pause] = arguments;
const ordinary = window.fetch;
window.requests = [];
window.fetch = async (path, options = {}) => {
  if (!path.endsWith("chat/completions")) return ordinary(path, options);
  window.requests.push(JSON.parse(options.body));
  const events = answers[Math.min(window.requests.length, answers.length) - 1];
  if (!Array.isArray(events)) return new Response(events.body, { status: events.status });
  const body = new ReadableStream({
    async start(controller) {
      const abort = () => controller.error(new DOMException("aborted", "AbortError"));
      options.signal.addEventListener("abort", abort);
      for (const event of events) {
        await new Promise((done) => setTimeout(done, pause));
        if (options.signal.aborted) return;
        controller.enqueue(new TextEncoder().encode(`data: ${event}\\n\\n`));
      }
      if (events.at(-1) === "[DONE]") controller.close();
    },
  });
  return new Response(body);
};
"""


def answer_with(page: webdriver.Chrome, *answers: object, pause: int = 0) -> None:
    """Let the page receive these answers, with a pause of milliseconds before each event."""
    page.execute_script(SCRIPTED, answers, pause)


def requests(page: webdriver.Chrome) -> list[dict[str, Any]]:
    """Return the requests that were answered with an answer of the test."""
    return list(page.execute_script("return window.requests"))


def refusal(status: int, message: str) -> dict[str, object]:
    """Return an answer that is an error."""
    return {"status": status, "body": json.dumps({"error": {"message": message}})}


def parts(*texts: str, source: str = "target") -> list[str]:
    """Return the events of an answer that is not finished, a token each."""
    events = []
    for step, text in enumerate(texts):
        token = {"id": step, "text": text, "source": source, "step": step, "logprob": -0.1}
        choice = {"delta": {"content": text}, "finish_reason": None, "tokens": [token]}
        events.append(json.dumps({"choices": [choice]}))
    return events


def whole(*texts: str, source: str = "target", **stats: object) -> list[str]:
    """Return the events of a whole answer, with statistics."""
    known = {"drafted": 0, "accepted": 0, "acceptance_rate": 0, "tokens_per_second": 20}
    choice = {"delta": {}, "finish_reason": "stop", "stats": known | {"speedup": None} | stats}
    return [*parts(*texts, source=source), json.dumps({"choices": [choice]}), "[DONE]"]


@contextmanager
def chromium(profile: Path, width: int = 1100, height: int = 800) -> Iterator[webdriver.Chrome]:
    """Start a browser with a window of this size."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in ("--headless=new", "--disable-gpu", f"--user-data-dir={profile}"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        resize(browser, width, height)
        yield browser
    finally:
        browser.quit()


@contextmanager
def playground(url: str, profile: Path) -> Iterator[webdriver.Chrome]:
    """Open the playground for the block; nothing may go wrong there but what the server rejects."""
    with chromium(profile) as page:
        page.get(url)
        yield page
        log = page.get_log("browser")  # type: ignore[no-untyped-call]
        problems = [entry["message"] for entry in log if entry["level"] == "SEVERE"]
        assert all("status of 40" in problem for problem in problems), problems


def command(page: webdriver.Chrome, name: str, arguments: dict[str, object]) -> None:
    """Run a command of Chromium's debugging protocol."""
    page.execute_cdp_cmd(name, arguments)


def resize(page: webdriver.Chrome, width: int, height: int) -> None:
    """Give the page a size; Chromium's windows have a minimum width."""
    size: dict[str, object] = {
        "width": width,
        "height": height,
        "deviceScaleFactor": 1,
        "mobile": False,
    }
    command(page, "Emulation.setDeviceMetricsOverride", size)


def prefer(page: webdriver.Chrome, scheme: str) -> None:
    """Choose the colour scheme, "light" or "dark"."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    command(page, "Emulation.setEmulatedMedia", {"features": [feature]})


def find(page: webdriver.Chrome, selector: str) -> list[WebElement]:
    """Return the elements that a selector matches."""
    return page.find_elements(By.CSS_SELECTOR, selector)


def until(page: webdriver.Chrome, condition: Callable[[], object]) -> None:
    """Wait until a condition holds; what the page has replaced meanwhile is looked up anew."""
    patient = WebDriverWait(page, 30, ignored_exceptions=[StaleElementReferenceException])
    patient.until(lambda _: condition())


def wait(page: webdriver.Chrome, selector: str, count: int = 1) -> list[WebElement]:
    """Wait until so many elements match a selector, and return them."""
    until(page, lambda: len(find(page, selector)) >= count)
    return find(page, selector)


def question(page: webdriver.Chrome) -> WebElement:
    """Return the field of the question."""
    return page.find_element(By.ID, "question")


def ask(page: webdriver.Chrome, text: str) -> None:
    """Ask a question."""
    question(page).send_keys(text, Keys.ENTER)


def open_settings(page: webdriver.Chrome) -> None:
    """Open the settings, if they are closed."""
    button = page.find_element(By.ID, "settings-button")
    if button.get_attribute("aria-expanded") == "false":
        button.click()


def set_field(page: webdriver.Chrome, name: str, value: str) -> None:
    """Give a setting a value."""
    open_settings(page)
    field = page.find_element(By.NAME, name)
    field.clear()
    field.send_keys(value, Keys.TAB)


def choose_view(page: webdriver.Chrome, view: str) -> None:
    """Show answers as "tokens" or as "markdown"."""
    page.find_element(By.CSS_SELECTOR, f"input[value={view}]").click()
