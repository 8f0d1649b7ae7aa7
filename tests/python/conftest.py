"""Fixtures: a decoder with the tiny pair of models under tests/data."""

from pathlib import Path

import pytest
from specdec_rs import SpeculativeDecoder

ROOT = Path(__file__).parents[2]
PAIR = ROOT / "tests" / "data" / "pair"


@pytest.fixture(scope="session")
def decoder() -> SpeculativeDecoder:
    # One thread: models this small gain nothing from more, and lose on a busy machine.
    return SpeculativeDecoder(PAIR / "target", PAIR / "draft", device="cpu", num_threads=1)


@pytest.fixture(scope="session")
def prompts() -> list[list[int]]:
    """Fixed prompts of many lengths."""

    def token(prompt: int, index: int) -> int:
        return 2 + (prompt * 7919 + index * index * 31 + index * 101) % 510

    return [[token(prompt, index) for index in range(1 + 3 * prompt)] for prompt in range(12)]
