"""Results: copies, texts for reading, HTML."""

import copy
import pickle
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from conftest import PAIR
from specdec_rs import (
    Audit,
    AuditReport,
    Benchmark,
    Chunk,
    Comparison,
    Generation,
    SpeculativeConfig,
    SpeculativeDecoder,
    Stats,
    Token,
)

GREEDY = SpeculativeConfig(temperature=0, max_new_tokens=20, gamma=4, adaptive=False)


@pytest.fixture(scope="module")
def generation(decoder: SpeculativeDecoder) -> Generation:
    return decoder.generate("You may copy", GREEDY, logprobs=2)


@pytest.fixture(scope="module")
def results(decoder: SpeculativeDecoder, generation: Generation) -> list[Any]:
    chunk = next(decoder.stream("You may copy", GREEDY))
    comparison = Benchmark(decoder).run_comparison([5, 6], GREEDY, num_runs=1)
    report = Audit(decoder).run([[5, 6]], SpeculativeConfig(max_new_tokens=8), samples=2)
    results = [generation, generation.stats, generation.details[0], chunk, comparison, report]
    classes = [Generation, Stats, Token, Chunk, Comparison, AuditReport]
    assert [type(result) for result in results] == classes
    source = report.sources[0]
    return [
        *results,
        comparison.baseline,
        report.rows,
        source,
        source.greedy,
        *source.distributions,
    ]


def test_copies_are_equal(results: list[Any]) -> None:
    for result in results:
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(result, protocol)) == result
        assert copy.copy(result) == result
        assert copy.deepcopy([result]) == [result]
        assert repr(copy.deepcopy(result)) == repr(result)
        assert copy.deepcopy(result).as_dict() == result.as_dict()
        assert result != 5


def test_differing_results_are_unequal(decoder: SpeculativeDecoder, generation: Generation) -> None:
    other = decoder.generate("You may copy", GREEDY, max_new_tokens=3)
    assert other != generation
    assert other.details[0] != generation.details[1]


def test_texts_for_reading_are_short(
    decoder: SpeculativeDecoder, results: list[Any], generation: Generation
) -> None:
    for result in results:
        assert repr(result).startswith(f"{type(result).__name__}(")
        assert not re.search(r"\d{10}", repr(result)), result
    assert re.fullmatch(
        r"Generation\(text=' and.*'\.\.\., new_tokens=20, finish_reason='length'\)",
        repr(generation),
    )
    assert "tokens_per_second=" in repr(generation.stats)
    names = f'target "{PAIR / "target"}", draft "{PAIR / "draft"}"'
    assert repr(decoder).startswith(f"<SpeculativeDecoder: {names}; llama, ")
    assert repr(Audit(decoder)) == f"<Audit: {names}>"
    assert repr(Benchmark(decoder)) == f"<Benchmark: {names}>"
    sequence = decoder.sequence()
    sequence.extend([5, 6])
    assert repr(sequence) == "<Sequence: 2 tokens>"
    stream = decoder.stream([5], max_new_tokens=2, ignore_eos=True)
    assert repr(stream) == "<Stream: running>"
    list(stream)
    assert repr(stream) == "<Stream: ended, 2 tokens, finish_reason='length'>"
    assert repr(decoder.stream_async([5])) == "<AsyncStream: running>"


class Page(HTMLParser):
    """The text and attributes of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.titles: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.titles += [value or "" for name, value in attrs if name == "title"]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_shows_where_tokens_come_from(generation: Generation) -> None:
    html = generation._repr_html_()
    page = Page(html)
    assert page.tags == {"div", "span"}
    assert page.text.strip().startswith(generation.text.strip())
    shown = [title.split(",")[0] for title in page.titles]
    assert shown == [token.source for token in generation.details if token.text]
    assert {"model", "target"} <= set(shown)
    stats = generation.stats
    assert f"accepted {stats.accepted} of {stats.drafted} drafted tokens" in page.text
    # A line marks what a colour does, too, and no colour suits one kind of page alone.
    assert "underline double" in html
    assert "rgba(" in html
    assert "color:#" not in html


def test_html_is_escaped(decoder: SpeculativeDecoder) -> None:
    pattern = r"<script>alert\('\d'\)</script><img src=\"x\">&amp;"
    generation = decoder.generate(
        [5], max_new_tokens=200, response_format={"type": "regex", "regex": pattern}, seed=1
    )
    assert generation.text.startswith("<script>")
    page = Page(generation._repr_html_())
    assert page.tags == {"div", "span"}
    assert generation.text in page.text
