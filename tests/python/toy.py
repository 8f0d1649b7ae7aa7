"""A numpy model whose output is known in advance."""

import numpy as np
import numpy.typing as npt

VOCAB_SIZE = 512


def successor(token: int, step: int = 7) -> int:
    """Return the most probable token after a token."""
    return (token * 5 + step) % 500 + 3


class Bigrams:
    """A bigram model: the most probable token after each token is its successor."""

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
    """A bigram model whose sequences can be copied."""

    def fork(self, sequence: int, copy: int) -> None:
        self.sequences[copy] = list(self.sequences[sequence])
