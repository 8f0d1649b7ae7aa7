"""What `SpeculativeDecoder.with_models` asks of a model."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class LanguageModel(Protocol):
    """A causal language model over token sequences that can be rolled back.

    The logits of a token must depend on the tokens before it in its sequence alone. A sequence is
    named by a number, and begins, empty, when its number is first seen. After an exception it must
    be as it was. A model whose sequences can be copied also has `fork(sequence: int, copy: int)`,
    which begins `copy` with the tokens of `sequence`.
    """

    @property
    def vocab_size(self) -> int:
        """Number of tokens; the length of a row of logits."""

    @property
    def context_length(self) -> int:
        """Most tokens that a sequence may hold."""

    def extend(self, sequence: int, tokens: npt.NDArray[np.uint32], rows: int) -> Any:
        """Append tokens; return the logits of the last `rows` of them.

        Returns a numpy array of float32, shape [rows, vocab_size]. With rows = 0 the tokens are
        only read, and whatever is returned is ignored.
        """

    def truncate(self, sequence: int, length: int) -> None:
        """Forget all but the first `length` tokens."""

    def free(self, sequence: int) -> None:
        """Forget a sequence; unknown ones are ignored."""
