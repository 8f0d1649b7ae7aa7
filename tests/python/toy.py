"""A model in numpy, whose output is known beforehand."""

import numpy as np
import numpy.typing as npt

VOCAB_SIZE = 512


def successor(token: int, step: int = 7) -> int:
    """The likeliest token behind another."""
    return (token * 5 + step) % 500 + 3


class Bigrams:
    """Says of each token that its successor is the likeliest to follow."""

    vocab_size = VOCAB_SIZE
    context_length = 256

    def __init__(self, step: int = 7) -> None:
        self.sequences: dict[int, list[int]] = {}
        self.table = np.zeros((VOCAB_SIZE, VOCAB_SIZE), np.float32)
        for token in range(VOCAB_SIZE):
            self.table[token, successor(token, step)] = 8.0

    def extend(
        self, sequence: int, tokens: npt.NDArray[np.uint32], rows: int
    ) -> npt.NDArray[np.float32]:
        assert tokens.dtype == np.uint32
        held = self.sequences.setdefault(sequence, [])
        held.extend(tokens.tolist())
        assert len(held) <= self.context_length
        return self.table[held[len(held) - rows :]]

    def truncate(self, sequence: int, length: int) -> None:
        del self.sequences[sequence][length:]

    def free(self, sequence: int) -> None:
        self.sequences.pop(sequence, None)


class ForkingBigrams(Bigrams):
    """The same, with sequences that can be copied."""

    def fork(self, sequence: int, copy: int) -> None:
        self.sequences[copy] = list(self.sequences[sequence])
