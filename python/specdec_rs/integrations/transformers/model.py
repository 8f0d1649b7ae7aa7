"""A torch model as a model of this package: its cache is cut where drafts are rejected."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers

_LAYERS = ("DynamicLayer", "DynamicSlidingWindowLayer")
"""What layers keep of a text if each token has keys and values of its own, which can be dropped."""


class TransformersModel:
    """A causal language model of transformers, as a `specdec_rs.LanguageModel`.

    A sequence is a DynamicCache with the keys and values of every token, also where the model only
    reads those in a sliding window.
    """

    def __init__(
        self, model: Any, *, context_length: int | None = None, vocab_size: int | None = None
    ) -> None:
        """Wrap a model in evaluation mode.

        Args:
            model: The model, as `AutoModelForCausalLM` loads it.
            context_length: Maximum number of tokens in a sequence; None is the model's.
            vocab_size: Length of a row of logits. Missing logits are -inf, further ones are left
                out; None is the model's.

        Raises:
            ValueError: The model cannot be rolled back, is in training mode, or has no context
                length of its own.
        """
        name = type(model).__name__
        config = model.config.get_text_config(decoder=True)
        if model.config.is_encoder_decoder:
            raise ValueError(f"{name} is an encoder-decoder; expected a causal language model")
        if getattr(model, "_is_stateful", False):
            raise ValueError(f"{name} has recurrent layers, which cannot be rolled back")
        layers = {type(layer).__name__ for layer in transformers.DynamicCache(config=config).layers}
        others = sorted(layers.difference(_LAYERS))
        if others:
            raise ValueError(f"{name} has a cache of {', '.join(others)}: it cannot be rolled back")
        if model.training:
            raise ValueError(f"{name} is in training mode: call its eval() first")
        length = context_length or getattr(config, "max_position_embeddings", None)
        if length is None:
            raise ValueError(f"{name} has no context length of its own: pass context_length")
        parameters = inspect.signature(model.forward).parameters
        # Newer releases of transformers renamed it.
        self._cache_name = "cache" if "cache" in parameters else "past_key_values"
        self._keeps_logits = "logits_to_keep" in parameters
        self._model = model
        self._sequences: dict[int, Any] = {}
        self.context_length = length
        self.vocab_size: int = vocab_size or config.vocab_size
        # A model whose cache is not what its configuration says is refused now, not in a request.
        try:
            self.extend(-1, np.zeros(2, np.uint32), 1)
            self.truncate(-1, 1)
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"{name} does not compute with a DynamicCache: {error}") from error
        self.free(-1)

    def extend(
        self, sequence: int, tokens: npt.NDArray[np.uint32], rows: int
    ) -> npt.NDArray[np.float32]:
        """Append tokens and return the logits of the last `rows` of them."""
        cache = self._sequences.get(sequence)
        if cache is None:
            cache = transformers.DynamicCache()
        length = cache.get_seq_length()
        ids = torch.from_numpy(tokens.astype(np.int64)).to(self._model.device)
        options: dict[str, Any] = {self._cache_name: cache, "use_cache": True}
        if self._keeps_logits:
            # 0 would be all of them.
            options["logits_to_keep"] = max(rows, 1)
        try:
            with torch.no_grad():
                logits = self._model(input_ids=ids[None], **options).logits[0]
        except BaseException:
            _crop(cache, length)
            raise
        if cache.get_seq_length() != length + len(tokens):
            raise ValueError(f"{type(self._model).__name__} did not fill its cache")
        self._sequences[sequence] = cache
        kept = logits[len(logits) - rows :, : self.vocab_size].float()
        missing = self.vocab_size - kept.shape[1]
        if missing:
            kept = torch.nn.functional.pad(kept, (0, missing), value=-math.inf)
        array: npt.NDArray[np.float32] = kept.cpu().numpy()
        return array

    def truncate(self, sequence: int, length: int) -> None:
        """Drop the keys and values of all but the first `length` tokens."""
        # A new sequence has no cache yet.
        if sequence in self._sequences:
            _crop(self._sequences[sequence], length)

    def free(self, sequence: int) -> None:
        """Drop a sequence."""
        self._sequences.pop(sequence, None)


def _crop(cache: Any, length: int) -> None:
    """Keep the first `length` tokens of each layer that has more."""
    for layer in cache.layers:
        # A layer that shares another's keys has none.
        if layer.get_seq_length() > length:
            layer.crop(length - layer.get_seq_length())
