"""Speculate with your own models: any object with a few methods, here two in PyTorch.

Usage: python own_torch_model.py [TOKENIZER]
where TOKENIZER is any model; only its tokenizer is loaded. The models have random weights, so the
text is meaningless. The point is that the draft does not change it.
"""

import sys

import numpy as np
import numpy.typing as npt
from specdec_rs import SpeculativeDecoder, Tokenizer

try:
    import torch
    from torch import nn
except ModuleNotFoundError:
    sys.exit("this example needs PyTorch: pip install torch")


class TinyModel(nn.Module):
    """A recurrent causal language model."""

    def __init__(self, vocab_size: int, noise: float = 0.0) -> None:
        """Initialize with fixed random weights, plus some noise."""
        super().__init__()
        torch.manual_seed(0)
        width = 64
        self.embedding = nn.Embedding(vocab_size, width)
        self.layers = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, vocab_size)
        for weights in self.parameters():
            weights.data += noise * torch.randn_like(weights)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Compute logits [batch, length, vocab_size] for tokens [batch, length]."""
        hidden, _ = self.layers(self.embedding(tokens))
        logits: torch.Tensor = self.head(hidden)
        return logits


class TorchLanguageModel:
    """The `specdec_rs.LanguageModel` protocol over a torch module.

    It recomputes the whole sequence on every call, which is simple. A model with a KV cache would
    store the cache instead of the tokens, and shorten it in `truncate`.
    """

    context_length = 512

    def __init__(self, module: TinyModel, vocab_size: int) -> None:
        """Wrap a module that returns rows of `vocab_size` logits."""
        self.module = module.eval()
        self.vocab_size = vocab_size
        self.sequences: dict[int, list[int]] = {}

    def extend(
        self, sequence: int, tokens: npt.NDArray[np.uint32], rows: int
    ) -> npt.NDArray[np.float32] | None:
        """Append tokens and return the logits of the last `rows` of them."""
        held = self.sequences.setdefault(sequence, [])
        held.extend(tokens.tolist())
        if rows == 0:
            return None
        with torch.inference_mode():
            logits = self.module(torch.tensor([held]))[0, -rows:]
        array: npt.NDArray[np.float32] = logits.float().cpu().numpy()
        return array

    def truncate(self, sequence: int, length: int) -> None:
        """Forget all but the first `length` tokens."""
        del self.sequences[sequence][length:]

    def free(self, sequence: int) -> None:
        """Forget a sequence."""
        self.sequences.pop(sequence, None)


def main(tokenizer_of: str = "smollm2-135m") -> None:
    """Decode with and without the draft, and compare the tokens."""
    tokenizer = Tokenizer(tokenizer_of)
    size = tokenizer.vocab_size
    target = TorchLanguageModel(TinyModel(size), size)
    # A stand-in for a smaller model trained on the same texts: it mostly agrees with the target.
    draft = TorchLanguageModel(TinyModel(size, noise=0.002), size)
    decoder = SpeculativeDecoder.with_models(target, draft, tokenizer)

    speculative = decoder.generate("Once upon a time,", temperature=0, max_new_tokens=40)
    plain = decoder.generate("Once upon a time,", temperature=0, max_new_tokens=40, draft="none")
    print(f"steps: {plain.stats.steps} plain, {speculative.stats.steps} speculative")
    print(f"same tokens: {speculative.tokens == plain.tokens}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
