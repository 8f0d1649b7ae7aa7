"""LoRA adapters."""

from pathlib import Path

import pytest
import specdec_rs
from specdec_rs import SpeculativeDecoder

ROOT = Path(__file__).parents[2]
BASE = ROOT / "tests" / "data" / "hf" / "llama"
ADAPTERS = ROOT / "tests" / "data" / "adapters"


def tokens(decoder: SpeculativeDecoder) -> list[int]:
    return decoder.generate("free software", temperature=0, max_new_tokens=12).tokens


def test_adapters_by_name_path_and_list(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = ADAPTERS / "plain"
    base = tokens(SpeculativeDecoder(BASE, num_threads=1))
    adapted = tokens(SpeculativeDecoder(BASE, lora=adapter, num_threads=1))
    assert adapted != base
    for lora in (str(adapter), [adapter], (str(adapter),)):
        assert tokens(SpeculativeDecoder(BASE, lora=lora, num_threads=1)) == adapted
    assert tokens(SpeculativeDecoder(BASE, lora=[], num_threads=1)) == base
    two = SpeculativeDecoder(BASE, lora=[adapter, ADAPTERS / "saved"], num_threads=1)
    assert tokens(two) not in (base, adapted)
    # Its base is named by a relative path.
    monkeypatch.chdir(ROOT)
    assert tokens(SpeculativeDecoder(adapter, num_threads=1)) == adapted


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(specdec_rs.UnsupportedModel, match="it is no adapter"):
        SpeculativeDecoder(BASE, lora=BASE)
    with pytest.raises(specdec_rs.CorruptModel, match="the base model has no tensor"):
        SpeculativeDecoder(BASE.parent / "gpt2", lora=ADAPTERS / "plain")
    file = ROOT / "tests" / "data" / "gguf" / "olmo2-BF16.gguf"
    with pytest.raises(specdec_rs.UnsupportedModel, match="convert_lora_to_gguf"):
        SpeculativeDecoder(file, lora=ADAPTERS / "olmo2")
    with pytest.raises(TypeError, match=r"^lora: expected"):
        SpeculativeDecoder(BASE, lora=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="did you mean lora"):
        SpeculativeDecoder(BASE, adapter="x")  # type: ignore[call-arg]
