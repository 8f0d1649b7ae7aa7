"""Errors while loading, one for each kind of mistake."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import specdec_rs
from conftest import PAIR
from specdec_rs import SpeculativeDecoder, Tokenizer

DRAFT = PAIR / "draft"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Copy the draft model, for tests that corrupt it."""
    return Path(shutil.copytree(DRAFT, tmp_path / "model"))


def edit(model: Path, **changes: Any) -> None:
    file = model / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_model_not_found(tmp_path: Path) -> None:
    with pytest.raises(specdec_rs.ModelNotFound, match="nowhere"):
        SpeculativeDecoder(tmp_path / "nowhere")


def test_unsupported_model(model: Path) -> None:
    edit(model, model_type="t5", architectures=["T5Model"])
    with pytest.raises(specdec_rs.UnsupportedModel, match="t5"):
        SpeculativeDecoder(model)


def test_corrupt_model(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(specdec_rs.CorruptModel, match=r"model\.safetensors"):
        SpeculativeDecoder(model)


def test_device_unavailable() -> None:
    for device in ("cuda:99", "metal"):
        with pytest.raises(specdec_rs.DeviceUnavailable, match=device):
            SpeculativeDecoder(DRAFT, device=device)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("device", "gpu"),
        ("dtype", "f13"),
        ("quantize", "q99"),
        ("num_threads", 0),
        ("num_threads", -1),
        ("num_threads", 10**9),
        ("context_length", 0),
        ("context_length", -5),
        ("context_length", 2**70),
        ("draft", "model"),
    ],
)
def test_invalid_keywords(keyword: str, value: Any) -> None:
    with pytest.raises(specdec_rs.InvalidConfig, match=keyword):
        SpeculativeDecoder(DRAFT, **{keyword: value})


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        *((name, 5) for name in ("draft", "lora", "tokenizer", "chat_template", "table", "corpus")),
        *((name, 5) for name in ("device", "dtype", "quantize", "kv_cache_dtype", "revision")),
        ("kernels", 5),
        ("lora", [5]),
        ("num_threads", "two"),
        ("progress", "yes"),
    ],
)
def test_wrong_types_name_the_argument(keyword: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^{keyword}: "):
        SpeculativeDecoder(DRAFT, **{keyword: value})


def test_wrong_types_of_names() -> None:
    with pytest.raises(TypeError, match=r"^target: expected a string or a path, not 5$"):
        SpeculativeDecoder(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^filename: expected a string, not 5$"):
        SpeculativeDecoder.from_pretrained(DRAFT, 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^model: "):
        Tokenizer(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("keyword", "advice"),
    [
        ("context_lenght", "did you mean context_length"),
        ("n_ctx", "did you mean context_length"),
        ("assistant_model", "did you mean draft"),
        ("temperature", "setting of generate"),
    ],
)
def test_an_unknown_keyword_says_what_was_meant(keyword: str, advice: str) -> None:
    keywords: dict[str, Any] = {keyword: 1}
    for load in (SpeculativeDecoder, SpeculativeDecoder.from_pretrained):
        with pytest.raises(TypeError, match=f'no keyword "{keyword}".*{advice}'):
            load(DRAFT, **keywords)


MESSAGE = {"role": "user", "content": "Hi!"}


@pytest.mark.parametrize(
    ("method", "argument", "advice"),
    [
        ("generate", [MESSAGE], "not messages: chat answers"),
        ("stream", [MESSAGE], "not messages: chat answers"),
        ("generate", ["a", "b"], "generate_batch continues several"),
        ("learn", ["a", "b"], "learn takes one text"),
        ("generate", [[5], [6]], "generate_batch continues several"),
        ("generate", None, "expected a string or a sequence of token ids, not NoneType"),
        ("generate", b"a", "expected a string or a sequence of token ids, not bytes"),
        ("generate_batch", "a", "not a string: generate continues"),
        ("generate_batch", [MESSAGE], "chat answers a conversation, chat_batch several"),
        ("chat", "hi", r"expected a list of messages.*not a string: generate"),
        ("chat", MESSAGE, "expected a list of messages.*not dict"),
        ("stream_chat", "hi", "expected a list of messages.*generate"),
        ("chat_prompt", "hi", "expected a list of messages.*generate"),
        ("chat_batch", [MESSAGE], "list of conversations.*chat answers one"),
        ("chat_batch", "hi", "list of conversations"),
        ("learn", [MESSAGE], "not messages"),
    ],
)
def test_what_another_method_takes_names_it(
    chatting: SpeculativeDecoder, method: str, argument: Any, advice: str
) -> None:
    with pytest.raises(TypeError, match=advice):
        getattr(chatting, method)(argument)


def test_type_errors_name_no_types_of_rust(chatting: SpeculativeDecoder) -> None:
    calls: list[Callable[[], object]] = [
        lambda: chatting.chat([MESSAGE], tools={"a": 1}),  # type: ignore[arg-type]
        lambda: chatting.chat([MESSAGE], tools=["a"]),  # type: ignore[list-item]
        lambda: chatting.chat([MESSAGE], chat_template_kwargs=[1]),  # type: ignore[arg-type]
        lambda: chatting.generate("a", stop=[5]),  # type: ignore[list-item]
        lambda: chatting.generate("a", logit_bias="a"),  # type: ignore[arg-type]
        lambda: chatting.sequence().extend_tree([5], "x"),  # type: ignore[arg-type]
        lambda: chatting.sequence().accept("x"),  # type: ignore[arg-type]
        lambda: chatting.tokenizer.convert_tokens_to_ids(5),  # type: ignore[call-overload]
        lambda: chatting.tokenizer.convert_ids_to_tokens("a"),  # type: ignore[arg-type]
        lambda: specdec_rs.Audit(chatting).run("x"),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="expected ") as raised:
            call()
        assert not re.search("extract|Vec|`|usize", str(raised.value)), raised.value


def test_progress_is_reported() -> None:
    states: list[tuple[str, int, int | None]] = []
    SpeculativeDecoder(DRAFT, progress=lambda *state: states.append(state))
    # A task's first and last call are made whatever the time; those between at most ten a second.
    assert len(states) < 100
    (label, done, total) = states[-1]
    assert "draft" in label
    assert total is not None
    assert 0 < done == total


def test_a_failing_progress_function_does_not_stop_the_loading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(label: str, done: int, total: int | None) -> None:
        raise LookupError(label)

    seen: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda seen_one: seen.append(seen_one.exc_type))
    assert SpeculativeDecoder(DRAFT, progress=fail).info()["vocab_size"] == 512
    assert set(seen) == {LookupError}


def test_decoders_have_thread_counts_of_their_own() -> None:
    counts = [SpeculativeDecoder(DRAFT, num_threads=n).info()["threads"] for n in (1, 3)]
    assert counts == [1, 3]
