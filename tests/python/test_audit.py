"""Audit: is speculation lossless here?"""

import numpy as np
import numpy.typing as npt
import pytest
from specdec_rs import Audit, InvalidConfig, SpeculativeConfig, SpeculativeDecoder
from toy import Bigrams, successor


def test_the_pair_is_lossless(decoder: SpeculativeDecoder) -> None:
    # The controller may find that a target this cheap needs no drafts.
    config = SpeculativeConfig(temperature=0.9, top_p=0.95, max_new_tokens=24, adaptive=False)
    report = Audit(decoder).run(["the free software", "You may"], config, samples=8)
    assert report.lossless
    assert (report.greedy, report.seeded, report.distribution) == (True, True, True)
    assert report.verdict.startswith("lossless: ")
    assert "would have been noticed" in report.verdict
    assert report.rows.identical
    assert report.rows.largest_difference == 0
    names = ["ngram", "recycling", "model", "auto"]
    assert [source.draft for source in report.sources] == names
    for source in report.sources:
        assert source.greedy.texts == 6
        assert source.greedy.divergences == []
        assert source.seeded is not None
        assert (source.seeded.texts, source.seeded.divergences) == (8, [])
        assert [test.verification for test in source.distributions] == [
            "coupled",
            "rejection",
            "block",
        ]
        assert all(test.holds and test.tokens > 50 for test in source.distributions)
        for test in source.distributions:
            assert test.detectable is not None
            assert 0.1 < test.detectable < 0.5
            assert test.drafted > 0
        assert source.drafted_per_position[0] >= source.accepted_per_position[0] > 0


def test_greedy_settings_have_nothing_to_sample(decoder: SpeculativeDecoder) -> None:
    config = SpeculativeConfig(temperature=0, max_new_tokens=8, draft="ngram")
    report = Audit(decoder).run([[5, 6, 7]], config)
    (source,) = report.sources
    assert source.seeded is None
    assert source.distributions == source.laws == []
    assert (report.seeded, report.distribution) == (None, None)
    assert "seeded: not tested: nothing was sampled" in report.verdict


def test_what_was_not_tested_is_none(decoder: SpeculativeDecoder) -> None:
    config = SpeculativeConfig(
        temperature=1, top_k=0, top_p=1, min_p=0, max_new_tokens=8, draft="model", adaptive=False
    )
    report = Audit(decoder).run(["You may"], config, samples=2)
    assert report.lossless
    assert (report.greedy, report.seeded, report.distribution) == (True, True, None)
    assert "distribution: not tested: 16 tokens are too few" in report.verdict
    for test in report.sources[0].distributions:
        assert (test.degrees, test.holds, test.detectable) == (0, None, None)


def test_texts_without_drafts_test_nothing(decoder: SpeculativeDecoder) -> None:
    config = SpeculativeConfig(max_new_tokens=1, draft="ngram")
    report = Audit(decoder).run(["You may"], config, samples=2)
    assert (report.greedy, report.lossless) == (None, False)
    assert report.sources[0].greedy.drafted == 0
    assert report.verdict.startswith("NOT TESTED: greedy: not tested: nothing was drafted")


class Distracted(Bigrams):
    """A model whose logits depend on how many rows are computed at once."""

    def __init__(self, sway: float) -> None:
        super().__init__()
        self.sway = sway

    def extend(
        self, sequence: int, tokens: npt.NDArray[np.uint32], rows: int
    ) -> npt.NDArray[np.float32]:
        logits = super().extend(sequence, tokens, rows).copy()
        logits[:, 9] += self.sway * (rows > 1)
        return logits


def test_a_broken_promise_is_found(decoder: SpeculativeDecoder) -> None:
    broken = SpeculativeDecoder.with_models(Distracted(9), None, decoder.tokenizer)
    config = SpeculativeConfig(
        max_new_tokens=64, ignore_eos=True, gamma=2, adaptive=False, draft="ngram"
    )
    report = Audit(broken).run([[5, 42, 217, 5]], config, samples=8)
    assert not report.lossless
    assert not report.rows.identical
    assert report.rows.largest_difference == 9
    (source,) = report.sources
    divergence, *others = source.greedy.divergences
    assert len(others) == 2
    assert divergence.plain == successor(5)
    assert (divergence.speculative, divergence.position) == (9, 0)
    assert divergence.margin == pytest.approx(8)
    assert not divergence.by_rounding
    assert not all(test.holds for test in source.distributions)


def test_rounding_is_distinguished_from_a_broken_promise(decoder: SpeculativeDecoder) -> None:
    table = Distracted(2e-4)
    table.table[:, 9] = 8 - 1e-4
    rounded = SpeculativeDecoder.with_models(table, None, decoder.tokenizer)
    config = SpeculativeConfig(temperature=0, max_new_tokens=8, gamma=2, adaptive=False)
    report = Audit(rounded).run([[5, 42, 217, 5]], config)
    assert report.lossless
    assert len(report.sources[0].greedy.divergences) == 3
    for divergence in report.sources[0].greedy.divergences:
        assert divergence.by_rounding
        assert divergence.margin == pytest.approx(1e-4, rel=0.1)


def test_impossible_audits(decoder: SpeculativeDecoder) -> None:
    with pytest.raises(InvalidConfig, match="prompts"):
        Audit(decoder).run([])
    with pytest.raises(InvalidConfig, match="max_new_tokens"):
        Audit(decoder).run([[5]], SpeculativeConfig(max_new_tokens=0))
    for config in (SpeculativeConfig(gamma=0), SpeculativeConfig(draft="none")):
        with pytest.raises(InvalidConfig, match="nothing to verify"):
            Audit(decoder).run([[5]], config)
    with pytest.raises(TypeError):
        Audit("decoder")  # type: ignore[arg-type]
