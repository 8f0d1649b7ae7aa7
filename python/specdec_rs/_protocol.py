"""The protocol of the models that `SpeculativeDecoder.with_models` accepts."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class LanguageModel(Protocol):
    """A causal language model whose token sequences can be rolled back.

    The logits of a token must depend only on the tokens before it in its sequence. A number
    identifies each sequence; the first call with a new number starts an empty sequence. An
    exception must leave the sequence unchanged. A model that can copy sequences also has
    `fork(sequence: int, copy: int)`, which starts `copy` with the tokens of `sequence`.

    A method must not use the decoder that calls it, which would wait for itself: that is a
    RuntimeError.
    """

    @property
    def vocab_size(self) -> int:
        """Size of the vocabulary, and length of a row of logits."""

    @property
    def context_length(self) -> int:
        """Maximum number of tokens in a sequence."""

    def extend(self, sequence: int, tokens: npt.NDArray[np.uint32], rows: int) -> Any:
        """Append tokens and return the logits of the last `rows` of them.

        Returns a numpy array of float32 with shape [rows, vocab_size]. With rows = 0 the tokens
        are only appended, and the return value is ignored.
        """

    def truncate(self, sequence: int, length: int) -> None:
        """Drop all but the first `length` tokens."""

    def free(self, sequence: int) -> None:
        """Delete a sequence; unknown sequences are ignored."""
