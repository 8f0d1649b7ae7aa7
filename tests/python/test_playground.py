"""The playground at `/`, in a real browser: questions, settings and what the page keeps."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import (
    answer_with,
    ask,
    choose_view,
    find,
    needs_chromium,
    open_settings,
    playground,
    prefer,
    question,
    requests,
    resize,
    set_field,
    until,
    wait,
    whole,
)
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from serving import Running, chatting_target, serving

pytestmark = needs_chromium

SOURCES = {"target", "ngram", "recycling", "table", "grammar"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    target = chatting_target(tmp_path_factory.mktemp("playground"))
    with serving(target, key="secret") as running:
        yield running


@pytest.fixture
def page(server: Running, tmp_path: Path) -> Iterator[webdriver.Chrome]:
    with playground(server.url, tmp_path) as page:
        yield page


def give_key(page: webdriver.Chrome) -> None:
    # The page opens the settings itself, since the server wants a key.
    wait(page, "#settings:not([hidden])")
    page.find_element(By.ID, "key").send_keys("secret", Keys.TAB)
    until(page, lambda: page.find_element(By.ID, "model").text.endswith("target"))


def sources(page: webdriver.Chrome) -> set[str | None]:
    return {token.get_attribute("data-source") for token in find(page, ".turn .token")}


def text(page: webdriver.Chrome, selector: str) -> str:
    return page.find_element(By.CSS_SELECTOR, selector).text


def fits(page: webdriver.Chrome) -> bool:
    script = "return document.documentElement.scrollWidth <= window.innerWidth"
    return bool(page.execute_script(script))


def test_a_missing_key_is_reported(page: webdriver.Chrome) -> None:
    wait(page, "#settings:not([hidden])")
    assert "API key" in text(page, "#model")
    ask(page, "Permission is hereby granted")
    (error,) = wait(page, "#error:not([hidden])")
    assert "no API key" in error.text
    # Nothing of the question is lost, and nothing waits.
    assert question(page).get_property("value") == "Permission is hereby granted"
    assert not find(page, ".turn")
    give_key(page)
    question(page).send_keys(Keys.ENTER)
    wait(page, ".compare")
    assert not page.find_element(By.ID, "error").is_displayed()


def test_the_key_is_kept_in_the_tab(page: webdriver.Chrome) -> None:
    give_key(page)
    page.refresh()
    until(page, lambda: page.find_element(By.ID, "model").text.endswith("target"))
    assert page.find_element(By.ID, "key").get_property("value") == "secret"
    stored = page.execute_script("return JSON.stringify(localStorage)")
    assert "secret" not in stored


def test_an_answer_is_shown_token_by_token(page: webdriver.Chrome, server: Running) -> None:
    give_key(page)
    set_field(page, "temperature", "0")
    set_field(page, "max_tokens", "120")
    ask(page, "Permission is hereby granted")
    wait(page, ".compare")
    tokens = find(page, ".turn .token")
    assert "target" in sources(page)
    assert sources(page) <= SOURCES
    assert len(sources(page)) > 1
    title = tokens[0].get_attribute("title") or ""
    assert "step 0" in title
    assert "probability" in title
    body = {
        "messages": [{"role": "user", "content": "Permission is hereby granted"}],
        "temperature": 0,
        "max_tokens": 120,
    }
    answer = server.json("/v1/chat/completions", body)
    shown = find(page, ".tokens")[0].get_property("textContent")
    assert shown == answer["choices"][0]["message"]["content"]
    facts = text(page, ".facts")
    assert f"{len(tokens)} tokens" in facts
    assert "tokens/s" in facts
    assert "of drafted tokens accepted" in facts
    assert "reached the maximum number of tokens" in facts


def test_a_comparison_is_labelled(page: webdriver.Chrome) -> None:
    give_key(page)
    set_field(page, "max_tokens", "120")
    ask(page, "Permission is hereby granted")
    wait(page, ".compare")[0].click()
    (verdict,) = wait(page, ".verdict")
    assert verdict.text.startswith("identical text")
    assert "tokens/s without" in verdict.text
    assert [label.text for label in find(page, ".label")] == ["speculative", "plain decoding"]
    first, second = find(page, ".tokens")
    assert first.text == second.text
    plain = second.find_elements(By.CSS_SELECTOR, ".token")
    assert {token.get_attribute("data-source") for token in plain} == {"target"}
    assert "no tokens drafted" in find(page, ".facts")[1].text
    assert "learned" in text(page, ".note")


def test_sources_differ_by_more_than_colour(page: webdriver.Chrome) -> None:
    marks, colours = set(), set()
    samples = find(page, "#sources .token")
    for sample in samples:
        line, style, colour = (
            sample.value_of_css_property(name)
            for name in ("text-decoration-line", "text-decoration-style", "background-color")
        )
        marks.add((line, style))
        colours.add(colour)
        assert sample.get_attribute("title")
    assert len(samples) == len(marks) == len(colours) == 8
    assert "you get the same text sooner" in text(page, "#legend")


def test_tokens_are_explained_by_keyboard_and_to_screen_readers(page: webdriver.Chrome) -> None:
    give_key(page)
    set_field(page, "max_tokens", "200")
    ask(page, "Permission is hereby granted")
    wait(page, ".compare")
    tokens = page.find_element(By.CSS_SELECTOR, ".tokens")
    page.execute_script("arguments[0].focus()", tokens)
    tokens.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    second = find(page, ".turn .token")[1]
    assert "current" in (second.get_attribute("class") or "")
    assert text(page, "#token") == second.get_attribute("title")
    assert page.find_element(By.ID, "token").get_attribute("role") == "status"
    summary = page.find_element(By.CSS_SELECTOR, ".answer .for-screen-readers")
    assert "by the model itself" in str(summary.get_property("textContent"))
    # The legend stays where it is while the answer is scrolled.
    page.execute_script("document.querySelector('main').scrollTop = 0")
    top = page.find_element(By.ID, "legend").rect["y"]
    page.execute_script("document.querySelector('main').scrollTop = 1e6")
    assert page.find_element(By.ID, "legend").rect["y"] == top
    assert page.find_element(By.ID, "legend").is_displayed()


def test_a_conversation_survives_a_reload_until_it_is_cleared(page: webdriver.Chrome) -> None:
    give_key(page)
    page.find_element(By.ID, "speculate").click()
    set_field(page, "max_tokens", "20")
    ask(page, "Permission")
    wait(page, ".compare")
    assert sources(page) == {"target"}
    ask(page, "is granted")
    wait(page, ".compare", 2)
    before = [turn.text for turn in find(page, ".turn")]
    page.refresh()
    wait(page, ".compare", 2)
    assert [turn.text for turn in find(page, ".turn")] == before
    assert sources(page) == {"target"}
    # So do the settings.
    assert not page.find_element(By.ID, "speculate").is_selected()
    assert page.find_element(By.NAME, "max_tokens").get_property("value") == "20"
    page.find_element(By.ID, "clear").click()
    assert not find(page, ".turn")
    page.refresh()
    wait(page, "#examples button")
    assert not find(page, ".turn")
    stored = page.execute_script("return JSON.stringify(localStorage)")
    assert "granted" not in stored


def test_a_refused_number_keeps_the_question(page: webdriver.Chrome) -> None:
    give_key(page)
    set_field(page, "temperature", "9")
    ask(page, "Permission")
    (error,) = wait(page, "#error:not([hidden])")
    assert "temperature" in error.text
    assert question(page).get_property("value") == "Permission"
    assert not find(page, ".turn")
    # What is no number at all is named, and not sent.
    set_field(page, "temperature", "-")
    question(page).send_keys(Keys.ENTER)
    until(page, lambda: "not a number" in text(page, "#error"))
    assert page.switch_to.active_element.get_attribute("name") == "temperature"
    assert question(page).get_property("value") == "Permission"
    set_field(page, "temperature", "")
    question(page).send_keys(Keys.ENTER)
    wait(page, ".compare")


def test_only_fields_with_a_value_are_sent(page: webdriver.Chrome) -> None:
    answer_with(page, whole("yes"))
    ask(page, "First")
    wait(page, ".compare")
    always = {"messages", "max_tokens", "seed", "stream", "return_tokens", "logprobs"}
    assert set(requests(page)[0]) == always
    values = {
        "temperature": "0.5",
        "top_k": "40",
        "top_p": "0.9",
        "min_p": "0.05",
        "repetition_penalty": "1.1",
        "seed": "7",
        "max_tokens": "9",
    }
    for name, value in values.items():
        set_field(page, name, value)
    set_field(page, "stop", "END\n\nSTOP")
    set_field(page, "system", "Be brief.")
    set_field(page, "prediction", "yes")
    ask(page, "Second")
    wait(page, ".compare", 2)
    request = requests(page)[1]
    assert {name: request[name] for name in values} == {
        name: float(value) for name, value in values.items()
    }
    assert request["stop"] == ["END", "STOP"]
    assert request["prediction"] == {"type": "content", "content": "yes"}
    assert request["messages"][0] == {"role": "system", "content": "Be brief."}
    # A reset leaves them to the server again.
    page.find_element(By.CSS_SELECTOR, "#fields [type=reset]").click()
    ask(page, "Third")
    wait(page, ".compare", 3)
    assert set(requests(page)[2]) == always
    assert requests(page)[2]["messages"][0] == {"role": "user", "content": "First"}


def test_stop_ends_an_answer_on_the_server_too(page: webdriver.Chrome, server: Running) -> None:
    give_key(page)
    set_field(page, "max_tokens", "900")
    # The test's model is fast: the page presses the button itself.
    script = """new MutationObserver((_, observer) => {
      if (!document.querySelector(".turn .token")) return;
      observer.disconnect();
      document.getElementById("stop").click();
    }).observe(document.getElementById("talk"), { childList: true, subtree: true });"""
    page.execute_script(script)
    ask(page, "Permission is hereby granted")
    wait(page, ".regenerate")
    assert "stopped" in text(page, ".facts")
    assert len(find(page, ".turn .token")) < 900
    assert page.find_element(By.ID, "send").is_displayed()
    server.wait_until_idle()


def test_a_stop_text_is_not_shown(page: webdriver.Chrome, server: Running) -> None:
    give_key(page)
    set_field(page, "temperature", "0")
    set_field(page, "max_tokens", "60")
    body = {
        "messages": [{"role": "user", "content": "Permission"}],
        "temperature": 0,
        "max_tokens": 60,
    }
    answer = server.json("/v1/chat/completions", body)["choices"][0]["message"]["content"]
    stop = answer.split()[5]
    set_field(page, "stop", stop)
    ask(page, "Permission")
    wait(page, ".compare")
    shown = str(find(page, ".tokens")[0].get_property("textContent"))
    assert shown == answer[: answer.index(stop)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone(page: webdriver.Chrome, scheme: str) -> None:
    resize(page, 380, 700)
    prefer(page, scheme)
    give_key(page)
    assert fits(page)
    set_field(page, "max_tokens", "60")
    page.find_element(By.ID, "settings-button").click()
    ask(page, "Permission " + "x" * 80)
    wait(page, ".compare")[0].click()
    wait(page, ".verdict")
    for view in ("tokens", "markdown"):
        choose_view(page, view)
        assert fits(page)
    for control in ("#send", "#clear", "#settings-button", "#question", ".copy"):
        box = find(page, control)[0].rect
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 380
    background = page.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
    light = "253" in background
    assert light == (scheme == "light")


def test_every_control_has_a_name(page: webdriver.Chrome) -> None:
    open_settings(page)
    controls = find(page, "button, input, textarea")
    assert len(controls) > 15
    for control in controls:
        if control.is_displayed():
            assert control.accessible_name, control.get_attribute("outerHTML")
    talk = page.find_element(By.ID, "talk")
    assert talk.get_attribute("aria-live") == "polite"
    assert page.find_element(By.ID, "error").get_attribute("role") == "alert"


def test_the_page_loads_nothing_from_elsewhere(page: webdriver.Chrome, server: Running) -> None:
    wait(page, "#examples button")
    script = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    loaded = page.execute_script(script)
    assert len(loaded) > 10
    assert all(name.startswith(server.url) for name in loaded)
    for path in ("/", "/playground/main.js"):
        status, headers, _ = server.request(path)
        assert status == 200
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
    assert server.request("/playground/nothing.js")[0] == 404
