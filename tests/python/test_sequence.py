"""Logits and sequences: a user-defined decoding loop."""

from typing import Any

import numpy as np
import pytest
from conftest import PAIR
from specdec_rs import ContextOverflow, InvalidConfig, SpeculativeDecoder

IDS = list(range(5, 105))


def test_logits_and_sequence_agree(decoder: SpeculativeDecoder) -> None:
    logits = decoder.logits(IDS)
    assert logits.shape == (100, 512)
    assert logits.dtype == np.float32
    sequence = decoder.sequence()
    chunks = [sequence.extend(IDS[start : start + 7], rows=1) for start in range(0, 98, 7)]
    np.testing.assert_allclose(np.concatenate(chunks), logits[6:98:7], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(sequence.extend(IDS[98:], 2), logits[98:], rtol=1e-4, atol=1e-4)
    assert len(sequence) == 100


def test_greedy_loop_matches_generate(decoder: SpeculativeDecoder) -> None:
    sequence, fed, written = decoder.sequence(), [5, 6, 7], []
    for _ in range(30):
        token = int(sequence.extend(fed)[0].argmax())
        written.append(token)
        fed = [token]
    assert written == decoder.generate([5, 6, 7], temperature=0, max_new_tokens=30).tokens


def test_truncate_and_fork(decoder: SpeculativeDecoder) -> None:
    logits = decoder.logits(IDS[:20])
    sequence = decoder.sequence()
    sequence.extend(IDS[:10], rows=0)
    copy = sequence.fork()
    sequence.extend([400, 401, 402])
    sequence.truncate(10)
    for each in (sequence, copy):
        assert len(each) == 10
        rows = each.extend(IDS[10:20], rows=10)
        np.testing.assert_allclose(rows, logits[10:], rtol=1e-4, atol=1e-4)


def test_a_path_of_a_tree_equals_a_chain(decoder: SpeculativeDecoder) -> None:
    sequence, chain = decoder.sequence(), decoder.sequence()
    for each in (sequence, chain):
        each.extend(IDS[:60])
    rows = sequence.extend_tree([7, 8, 9, 10], [None, 0, 0, 2])
    assert rows.shape == (4, 512)
    for row, token in zip(rows[[0, 2, 3]], [7, 9, 10], strict=True):
        np.testing.assert_array_equal(row, chain.extend([token])[0])
    assert len(sequence) == 60
    sequence.keep([0, 2, 3])
    assert len(sequence) == 63
    np.testing.assert_array_equal(sequence.extend([11]), chain.extend([11]))


def test_the_draft_has_its_own_sequences(decoder: SpeculativeDecoder) -> None:
    target, draft = decoder.sequence("target"), decoder.sequence("draft")
    assert not np.allclose(target.extend(IDS), draft.extend(IDS))


def test_empty_calls(decoder: SpeculativeDecoder) -> None:
    assert decoder.logits([]).shape == (0, 512)
    sequence = decoder.sequence()
    assert sequence.extend(IDS, rows=0).shape == (0, 512)
    assert sequence.extend([], rows=0).shape == (0, 512)
    assert len(sequence) == 100


def test_invalid_calls_are_rejected(decoder: SpeculativeDecoder) -> None:
    sequence = decoder.sequence()
    sequence.extend(IDS)
    refusals: list[tuple[Any, tuple[Any, ...], str]] = [
        (sequence.extend, ([5], 2), "rows"),
        (sequence.extend, ([5], -1), "rows"),
        (sequence.extend, ([], 1), "rows"),
        (sequence.extend_tree, ([5, 6], [None, 1]), "parents"),
        (sequence.extend_tree, ([5, 6], [None]), "parents"),
        (sequence.extend_tree, ([5] * 65, [None] * 65), "parents"),
        (sequence.keep, ([0],), "path"),
        (sequence.truncate, (101,), "length"),
        (sequence.truncate, (-1,), "length"),
        (decoder.sequence, ("teacher",), "model"),
    ]
    for call, arguments, field in refusals:
        with pytest.raises(InvalidConfig, match=field):
            call(*arguments)
    with pytest.raises(ContextOverflow):
        sequence.extend([5] * 1000)
    # A rejected call changes nothing.
    assert len(sequence) == 100


def test_a_sequence_outlives_its_decoder() -> None:
    sequence = SpeculativeDecoder(PAIR / "draft", "none").sequence()
    assert sequence.extend([5]).shape == (1, 512)
    with pytest.raises(InvalidConfig, match="no draft model"):
        SpeculativeDecoder(PAIR / "draft", "none").sequence("draft")
