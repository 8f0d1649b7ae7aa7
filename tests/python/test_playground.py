"""The playground at `/`, in a real browser (Chromium from the system's packages)."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait
from serving import Running, chatting_target, serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="no Chromium with its driver: apt-get install chromium chromium-driver",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    target = chatting_target(tmp_path_factory.mktemp("playground"))
    with serving(target, key="secret") as running:
        yield running


@pytest.fixture
def page(server: Running, tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in ("--headless=new", "--disable-gpu", f"--user-data-dir={tmp_path}"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        browser.get(server.url)
        yield browser
        # Only errors of the page count, not requests that the server rejects.
        log = browser.get_log("browser")  # type: ignore[no-untyped-call]
        problems = [entry["message"] for entry in log if entry["level"] == "SEVERE"]
        assert all("401" in problem for problem in problems), problems
    finally:
        browser.quit()


def find(page: webdriver.Chrome, selector: str) -> list[WebElement]:
    return page.find_elements(By.CSS_SELECTOR, selector)


def wait(page: webdriver.Chrome, selector: str, count: int = 1) -> list[WebElement]:
    WebDriverWait(page, 30).until(lambda page: len(find(page, selector)) >= count)
    return find(page, selector)


def ask(page: webdriver.Chrome, question: str) -> None:
    page.find_element(By.ID, "question").send_keys(question, Keys.ENTER)


def give_key(page: webdriver.Chrome) -> None:
    page.find_element(By.ID, "key").send_keys("secret", Keys.TAB)
    WebDriverWait(page, 30).until(
        lambda page: page.find_element(By.ID, "model").text.endswith("target")
    )


def test_a_missing_key_is_reported(page: webdriver.Chrome) -> None:
    ask(page, "Permission is hereby granted")
    (error,) = wait(page, ".error")
    assert "no API key" in error.text


def test_an_answer_is_shown_token_by_token(page: webdriver.Chrome, server: Running) -> None:
    give_key(page)
    tokens = page.find_element(By.ID, "tokens")
    tokens.clear()
    tokens.send_keys("120")
    ask(page, "Permission is hereby granted")
    wait(page, ".compare")
    spans = find(page, ".turn .text span")
    sources = {span.get_attribute("class") for span in spans}
    assert "target" in sources
    assert sources <= {"target", "ngram", "recycling", "table", "grammar"}
    assert len(sources) > 1
    drafted = next(span for span in spans if span.get_attribute("class") != "target")
    assert drafted.value_of_css_property("background-color") != "rgba(0, 0, 0, 0)"
    title = spans[0].get_attribute("title") or ""
    assert "step 0" in title
    assert "probability" in title
    body = {
        "messages": [{"role": "user", "content": "Permission is hereby granted"}],
        "temperature": 0,
        "max_tokens": 120,
    }
    answer = server.json("/v1/chat/completions", body)
    shown = find(page, ".text")[0].get_property("textContent")
    assert shown == answer["choices"][0]["message"]["content"]
    facts = page.find_element(By.CSS_SELECTOR, ".facts").text
    assert f"{len(spans)} tokens" in facts
    assert "tokens/s" in facts
    assert "vs. plain decoding" in facts
    # The same answer again, by plain decoding.
    page.find_element(By.CSS_SELECTOR, ".compare").click()
    (verdict,) = wait(page, ".verdict")
    assert verdict.text.startswith("identical text")
    second = find(page, ".text")[1]
    plain = second.find_elements(By.CSS_SELECTOR, "span")
    assert {span.get_attribute("class") for span in plain} == {"target"}


def test_speculation_off_and_a_conversation_of_two_turns(page: webdriver.Chrome) -> None:
    give_key(page)
    page.find_element(By.ID, "speculate").click()
    ask(page, "Permission")
    wait(page, ".compare")
    assert {span.get_attribute("class") for span in find(page, ".text span")} == {"target"}
    ask(page, "is granted")
    wait(page, ".compare", 2)
    page.find_element(By.ID, "clear").click()
    assert not find(page, ".turn")


def test_markup_is_shown_as_text(page: webdriver.Chrome) -> None:
    give_key(page)
    ask(page, "<img src=x onerror=document.title='taken'>")
    wait(page, ".compare, .error")
    assert find(page, ".question")[0].text.startswith("<img")
    assert page.title == "specdec playground"
