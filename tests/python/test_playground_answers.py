"""The playground at `/`, in a real browser: what becomes of answers, which the tests wrote."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import (
    answer_with,
    ask,
    choose_view,
    find,
    needs_chromium,
    parts,
    playground,
    question,
    refusal,
    requests,
    until,
    wait,
    whole,
)
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from serving import Running, chatting_target, serving

pytestmark = needs_chromium

MARKDOWN = """# Heading

- one
- **two**

```python
print("<b>")
```

| a | b |
|---|---|
| 1 | 2 |
"""

HOSTILE = """<img src=x onerror="document.title='taken'"><script>document.title='taken'</script>
<svg onload="document.title='taken'"></svg>
<iframe srcdoc="<script>parent.document.title='taken'</script>"></iframe>
<a href="javascript:document.title='taken'">raw</a>
<style>body { display: none }</style><form action="https://example.com"><input name=x></form>

[link](javascript:document.title='taken') [data](data:text/html,<script>1</script>)
![image](https://example.com/x.png "x\\" onerror=\\"document.title='taken'")

```html" onclick="document.title='taken'
<script>document.title='taken'</script>
```
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    target = chatting_target(tmp_path_factory.mktemp("playground"))
    with serving(target) as running:
        yield running


@pytest.fixture
def page(server: Running, tmp_path: Path) -> Iterator[webdriver.Chrome]:
    with playground(server.url, tmp_path) as page:
        wait(page, "#examples button")
        yield page


def run(page: webdriver.Chrome, script: str) -> object:
    return page.execute_script(script)


def scrolled(page: webdriver.Chrome) -> tuple[float, float]:
    """Return how many pixels of the conversation are above the window, and how many below."""
    script = """const main = document.querySelector("main");
    return [main.scrollTop, main.scrollHeight - main.scrollTop - main.clientHeight];"""
    above, below = page.execute_script(script)
    return above, below


def answer_texts(page: webdriver.Chrome) -> list[object]:
    return [tokens.get_property("textContent") for tokens in find(page, ".tokens")]


def pasted(page: webdriver.Chrome) -> object:
    """Return what is in the clipboard."""
    question(page).clear()
    question(page).send_keys(Keys.CONTROL, "v")
    return question(page).get_property("value")


@pytest.mark.parametrize("way", ["button", "escape"])
def test_an_answer_can_be_stopped(page: webdriver.Chrome, way: str) -> None:
    answer_with(page, parts("one ", "two "), whole("three"))
    ask(page, "Count")
    wait(page, ".turn .token", 2)
    # What is typed meanwhile is neither sent nor lost.
    question(page).send_keys("next", Keys.ENTER)
    assert len(requests(page)) == 1
    if way == "button":
        page.find_element(By.ID, "stop").click()
    else:
        question(page).send_keys(Keys.ESCAPE)
    wait(page, ".regenerate")
    assert "stopped" in page.find_element(By.CSS_SELECTOR, ".facts").text
    assert question(page).get_property("value") == "next"
    assert page.find_element(By.ID, "send").is_displayed()
    assert not page.find_element(By.ID, "stop").is_displayed()
    # What was written belongs to the conversation.
    question(page).send_keys(Keys.ENTER)
    wait(page, ".compare")
    contents = [message["content"] for message in requests(page)[1]["messages"]]
    assert contents == ["Count", "one two ", "next"]


def test_a_question_that_is_stopped_in_time_is_given_back(page: webdriver.Chrome) -> None:
    answer_with(page, [])
    ask(page, "Count")
    wait(page, ".turn")
    page.find_element(By.ID, "stop").click()
    until(page, lambda: not find(page, ".turn"))
    assert question(page).get_property("value") == "Count"
    assert not page.find_element(By.ID, "error").is_displayed()


def test_clear_ends_an_answer_that_never_enters_the_history(page: webdriver.Chrome) -> None:
    answer_with(page, parts("one ", "two "), whole("three"))
    ask(page, "Count")
    wait(page, ".turn .token", 2)
    page.find_element(By.ID, "clear").click()
    until(page, lambda: page.find_element(By.ID, "send").is_displayed())
    assert not find(page, ".turn")
    assert "Count" not in str(run(page, "return JSON.stringify(localStorage)"))
    ask(page, "Again")
    wait(page, ".compare")
    assert requests(page)[1]["messages"] == [{"role": "user", "content": "Again"}]


@pytest.mark.parametrize("view", ["tokens", "markdown"])
def test_one_can_read_while_an_answer_is_written(page: webdriver.Chrome, view: str) -> None:
    choose_view(page, view)
    answer_with(page, parts(*["word\n"] * 400), pause=5)
    ask(page, "Write")
    until(page, lambda: scrolled(page)[0] > 300)
    assert scrolled(page)[1] < 48
    run(page, "document.querySelector('main').scrollTop = 10")
    count = len(find(page, ".turn .token"))
    wait(page, ".turn .token", count + 20)
    assert scrolled(page)[0] == 10
    # At the end again, the answer is followed again.
    run(page, "document.querySelector('main').scrollTop = 1e6")
    count = len(find(page, ".turn .token"))
    wait(page, ".turn .token", count + 20)
    assert scrolled(page)[1] < 48
    page.find_element(By.ID, "stop").click()


@pytest.mark.parametrize("status", [429, 503])
def test_a_refused_question_is_given_back(page: webdriver.Chrome, status: int) -> None:
    answer_with(page, refusal(status, "too many requests"), whole("yes"))
    ask(page, "Really?")
    (error,) = wait(page, "#error:not([hidden])")
    assert error.text == "too many requests"
    assert question(page).get_property("value") == "Really?"
    assert not find(page, ".turn")
    assert "waiting" not in page.find_element(By.TAG_NAME, "main").text
    question(page).send_keys(Keys.ENTER)
    wait(page, ".compare")
    assert answer_texts(page) == ["yes"]


def test_an_answer_that_breaks_off_says_so(page: webdriver.Chrome) -> None:
    broken = '{"error": {"message": "the deadline has passed"}}'
    answer_with(page, [*parts("half "), broken, "[DONE]"])
    ask(page, "Go")
    wait(page, ".regenerate")
    assert "the deadline has passed" in page.find_element(By.CSS_SELECTOR, ".facts").text
    assert answer_texts(page) == ["half "]


def test_markdown_and_tokens_can_be_chosen(page: webdriver.Chrome) -> None:
    answer_with(page, whole(*MARKDOWN.splitlines(keepends=True)))
    ask(page, "Show")
    wait(page, ".compare")
    assert find(page, ".tokens")[0].is_displayed()
    assert not find(page, ".markdown")[0].is_displayed()
    choose_view(page, "markdown")
    assert not find(page, ".tokens")[0].is_displayed()
    assert find(page, ".markdown h1")[0].text == "Heading"
    assert [item.text for item in find(page, ".markdown li")] == ["one", "two"]
    assert find(page, ".markdown pre code")[0].text == 'print("<b>")'
    assert len(find(page, ".markdown td")) == 2
    page.refresh()
    wait(page, ".markdown h1")
    assert find(page, ".markdown")[0].is_displayed()


def test_markdown_is_shown_while_it_is_written(page: webdriver.Chrome) -> None:
    answer_with(page, parts("**bold** ", "more"))
    choose_view(page, "markdown")
    ask(page, "Show")
    wait(page, ".markdown strong")
    page.find_element(By.ID, "stop").click()


def test_hostile_answers_and_questions_do_nothing(page: webdriver.Chrome) -> None:
    answer_with(page, whole(HOSTILE))
    choose_view(page, "markdown")
    ask(page, "<img src=x onerror=document.title='taken'>")
    wait(page, ".compare")
    assert find(page, ".question")[0].text.startswith("<img")
    page.refresh()
    wait(page, ".markdown pre")
    for link in find(page, ".markdown a"):
        link.click()
    found = run(
        page,
        "return [...document.querySelectorAll('.markdown *')].map((found) => [found.tagName, "
        "...[...found.attributes].map(({ name, value }) => name + value)].join(' '))",
    )
    assert isinstance(found, list)
    elements = "\n".join(found).lower()
    for forbidden in (
        "img",
        "svg",
        "iframe",
        "style",
        "script",
        "form",
        "input",
        "onerror",
        "onclick",
    ):
        assert forbidden not in elements.split("\n"), elements
        assert f" {forbidden}" not in elements, elements
    assert "javascript" not in elements
    assert "data:" not in elements
    # The reader sees what the model wrote.
    assert "<svg onload" in find(page, ".markdown")[0].text
    assert page.title == "specdec playground"
    assert page.find_element(By.TAG_NAME, "body").is_displayed()


@pytest.mark.parametrize("interface", ["clipboard", "no clipboard"])
def test_answers_and_code_can_be_copied(page: webdriver.Chrome, interface: str) -> None:
    if interface == "no clipboard":
        # As on a page that is neither from this machine nor over HTTPS.
        run(page, "Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    answer_with(page, whole(*MARKDOWN.splitlines(keepends=True)))
    choose_view(page, "markdown")
    ask(page, "Show")
    wait(page, ".compare")
    (copy,) = find(page, ".actions .copy")
    copy.click()
    until(page, lambda: copy.text == "copied")
    assert pasted(page) == MARKDOWN
    (copy,) = find(page, ".code .copy")
    copy.click()
    until(page, lambda: copy.text == "copied")
    assert pasted(page) == 'print("<b>")\n'


def test_an_answer_can_be_regenerated(page: webdriver.Chrome) -> None:
    answers = [
        whole("first"),
        whole("second"),
        refusal(429, "too many"),
        whole("third"),
        whole("x"),
    ]
    answer_with(page, *answers)
    ask(page, "One")
    wait(page, ".compare")
    ask(page, "Two")
    wait(page, ".compare", 2)
    (button,) = find(page, ".regenerate")
    button.click()
    wait(page, "#error:not([hidden])")
    # A refusal leaves the answer as it was.
    assert answer_texts(page)[1] == "second"
    button.click()
    until(page, lambda: answer_texts(page) == ["first", "third"])
    wait(page, ".regenerate:enabled")
    assert requests(page)[3]["messages"] == requests(page)[1]["messages"]
    assert requests(page)[3]["seed"] != requests(page)[1]["seed"]
    ask(page, "Three")
    wait(page, ".compare", 3)
    contents = [message["content"] for message in requests(page)[4]["messages"]]
    assert contents == ["One", "first", "Two", "third", "Three"]


def test_no_speedup_is_shown_where_nothing_was_drafted(page: webdriver.Chrome) -> None:
    rejected = whole("b", drafted=4, speedup=1.15)
    answer_with(page, whole("a", speedup=1.3), whole("a"), rejected, whole("c"))
    ask(page, "Draft")
    (compare,) = wait(page, ".compare")
    facts = page.find_element(By.CSS_SELECTOR, ".facts").text
    assert "no tokens drafted" in facts
    assert "plain decoding" not in facts
    compare.click()
    (verdict,) = wait(page, ".verdict")
    assert "nothing was drafted, so there is no speedup" in verdict.text
    assert "as fast" not in verdict.text
    first, second = requests(page)
    assert second == first | {"draft": "none"}
    ask(page, "Draft more")
    wait(page, ".regenerate", 1)
    until(page, lambda: "0 % of drafted tokens accepted" in find(page, ".facts")[2].text)
    assert "plain decoding" not in find(page, ".facts")[2].text


def test_a_comparison_can_be_stopped_and_repeated(page: webdriver.Chrome) -> None:
    answer_with(page, whole("a"), parts("a"), whole("a"))
    ask(page, "Draft")
    wait(page, ".compare")[0].click()
    wait(page, ".turn .token", 2)
    assert not find(page, ".regenerate")[0].is_enabled()
    page.find_element(By.ID, "stop").click()
    until(page, lambda: len(find(page, ".answer")) == 1)
    assert not find(page, ".verdict")
    find(page, ".compare")[0].click()
    wait(page, ".verdict")


def test_a_plain_answer_is_compared_with_speculation(page: webdriver.Chrome) -> None:
    facts = {"drafted": 4, "accepted": 2, "new_tokens": 40, "tokens_per_second": 30}
    answer_with(page, whole("a"), whole("a", source="ngram", **facts))
    page.find_element(By.ID, "speculate").click()
    ask(page, "Draft")
    wait(page, ".compare")[0].click()
    (verdict,) = wait(page, ".verdict")
    expected = "identical text; 30 tokens/s with speculation, 20 tokens/s without: 1.50"
    assert verdict.text.startswith(expected)
    assert [label.text for label in find(page, ".label")] == ["plain decoding", "speculative"]
    first, second = requests(page)
    assert first == second | {"draft": "none"}
    assert "learned" in find(page, ".note")[0].text


def test_a_short_answer_claims_no_speedup(page: webdriver.Chrome) -> None:
    short = whole("a", drafted=4, accepted=2, new_tokens=9, tokens_per_second=30)
    answer_with(page, short, whole("a"))
    ask(page, "Draft")
    wait(page, ".compare")[0].click()
    (verdict,) = wait(page, ".verdict")
    assert verdict.text.endswith("the answer is too short to tell a speedup")
    assert "as fast" not in verdict.text


def test_texts_are_kept_where_tokens_have_no_room(page: webdriver.Chrome) -> None:
    script = """const set = Storage.prototype.setItem;
    Storage.prototype.setItem = function (key, value) {
      if (value.includes("logprob")) throw new Error("no room");
      set.call(this, key, value);
    };"""
    page.execute_script(script)
    answer_with(page, whole("one ", "two"))
    ask(page, "Count")
    wait(page, ".compare")
    page.refresh()
    wait(page, ".regenerate")
    assert answer_texts(page) == ["one two"]


def test_the_empty_page_offers_examples(page: webdriver.Chrome) -> None:
    answer_with(page, whole("yes"))
    until(page, lambda: "is a toy" in page.find_element(By.ID, "toy").text)
    example = find(page, "#examples button")[0]
    text = example.text
    example.click()
    wait(page, ".compare")
    assert requests(page)[0]["messages"] == [{"role": "user", "content": text}]
    assert not page.find_element(By.ID, "welcome").is_displayed()


def test_shift_and_enter_start_a_line(page: webdriver.Chrome) -> None:
    answer_with(page, whole("yes"))
    question(page).send_keys("one", Keys.SHIFT, Keys.ENTER, Keys.NULL, "two")
    assert question(page).get_property("value") == "one\ntwo"
    question(page).send_keys(Keys.ENTER)
    wait(page, ".compare")
    assert requests(page)[0]["messages"][0]["content"] == "one\ntwo"
