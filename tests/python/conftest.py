"""The tiny pair of models that lies in the repository, as a decoder."""

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
    """Prompts of many lengths, the same in every run."""

    def token(prompt: int, place: int) -> int:
        return 2 + (prompt * 7919 + place * place * 31 + place * 101) % 510

    return [[token(prompt, place) for place in range(1 + 3 * prompt)] for prompt in range(12)]
