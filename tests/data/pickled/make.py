"""Writes pytorch_model.bin beside this script with torch.save.

It is what Hugging Face's layout held before safetensors.

    python tests/data/pickled/make.py

The tensors are those of hf/gpt2, as parameters and views, and some of integers.
"""

from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import load_file

FOLDER = Path(__file__).parent


def main() -> None:
    """Write both files."""
    tensors = load_file(FOLDER.parent / "hf/gpt2/model.safetensors")
    stored = OrderedDict()
    # Views of one storage, at an offset.
    whole = torch.cat([torch.zeros(3), *(tensor.flatten().float() for tensor in tensors.values())])
    start = 3
    for index, (name, tensor) in enumerate(tensors.items()):
        view = whole[start : start + tensor.numel()].view(tensor.shape)
        start += tensor.numel()
        stored[name] = [view, torch.nn.Parameter(tensor), tensor][index % 3]
    stored["a.table"] = torch.arange(-2, 5)
    stored["a.mask"] = torch.tensor([True, False])
    torch.save(stored, FOLDER / "pytorch_model.bin")
    torch.save({"a": torch.zeros(2, 3).t()}, FOLDER / "transposed.bin")


if __name__ == "__main__":
    main()
