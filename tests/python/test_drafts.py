"""Draft sources that the caller fills: predictions and tables."""

from pathlib import Path

import pytest
from conftest import PAIR
from specdec_rs import CorruptModel, SpeculativeConfig, SpeculativeDecoder

CONFIG = SpeculativeConfig(temperature=0, max_new_tokens=32, ignore_eos=True)


def test_drafts_from_what_was_learned(tmp_path: Path) -> None:
    decoder = SpeculativeDecoder(PAIR / "target", num_threads=1)
    plain = decoder.generate("You may", CONFIG, draft="none")
    path = tmp_path / "texts.table"
    decoder.learn([*decoder.tokenizer.encode("You may"), *plain.tokens])
    decoder.save_table(path)
    loaded = SpeculativeDecoder(PAIR / "target", table=path, num_threads=1)
    for learned in (decoder, loaded):
        again = learned.generate("You may", CONFIG, draft="table")
        assert again.tokens == plain.tokens
        assert again.stats.steps < plain.stats.steps
        assert {token.source for token in again.details} == {"table", "target"}
    path.write_bytes(b"not a table but a text")
    with pytest.raises(CorruptModel, match=r"texts\.table"):
        SpeculativeDecoder(PAIR / "target", table=path)


def test_a_prediction_is_drafted(decoder: SpeculativeDecoder) -> None:
    plain = decoder.generate("You may", CONFIG, draft="none")
    right = decoder.generate("You may", CONFIG, draft="prediction", prediction=plain.text)
    assert right.tokens == plain.tokens
    assert "prediction" in {token.source for token in right.details}
    assert right.stats.steps < plain.stats.steps
    wrong = decoder.generate("You may", CONFIG, draft="prediction", prediction="another text")
    assert wrong.tokens == plain.tokens


def test_shared_statistics_change_no_text(decoder: SpeculativeDecoder) -> None:
    plain = decoder.generate("The licensee", CONFIG, draft="none")
    for _ in range(3):
        again = decoder.generate("The licensee", CONFIG, draft="auto")
        assert again.tokens == plain.tokens
    recycled = decoder.generate("The licensee", CONFIG, draft="recycling")
    assert recycled.tokens == plain.tokens
    assert recycled.stats.steps < plain.stats.steps
