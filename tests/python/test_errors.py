"""Errors while loading, one for each kind of mistake."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import specdec_rs
from conftest import PAIR
from specdec_rs import SpeculativeDecoder

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
    [("draft", 5), ("device", 5), ("num_threads", "two"), ("progress", "yes"), ("tokenizer", 5)],
)
def test_wrong_types(keyword: str, value: Any) -> None:
    with pytest.raises(TypeError, match=keyword):
        SpeculativeDecoder(DRAFT, **{keyword: value})
    with pytest.raises(TypeError):
        SpeculativeDecoder(5)  # type: ignore[arg-type]


def test_progress_is_reported() -> None:
    states: list[tuple[str, int, int | None]] = []
    SpeculativeDecoder(DRAFT, progress=lambda *state: states.append(state))
    (label, done, total) = states[-1]
    assert "draft" in label
    assert total is not None
    assert 0 < done <= total


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
