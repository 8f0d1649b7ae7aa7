"""Writes backend/src/formats/codebooks.rs, the codebooks of ggml's IQ formats.

The gguf package has them. Needs `pip install gguf numpy`, and rustfmt.
"""

import subprocess
from pathlib import Path

import numpy as np
from gguf import quants

FILE = Path(__file__).parents[2] / "backend/src/formats/codebooks.rs"
HEAD = """\
//! The codebooks of ggml's IQ formats: groups of weights' levels, as the codes of the levels.
//! Written by `tests/data/make_codebooks.py`.

"""
# The names, what they are, and the bits of a code.
CODEBOOKS = {
    "IQ2_XXS": (quants.IQ2_XXS, "Groups of 8 of `IQ2_XXS`, 2 bits each.", 2),
    "IQ2_XS": (quants.IQ2_XS, "Groups of 8 of `IQ2_XS`, 2 bits each.", 2),
    "IQ2_S": (quants.IQ2_S, "Groups of 8 of `IQ2_S`, 2 bits each.", 2),
    "IQ3_XXS": (quants.IQ3_XXS, "Groups of 4 of `IQ3_XXS`, 3 bits each.", 3),
    "IQ3_S": (quants.IQ3_S, "Groups of 4 of `IQ3_S`, 3 bits each.", 3),
    "IQ1": (quants.IQ1_S, "Groups of 8 of `IQ1_S` and `IQ1_M`, 2 bits each.", 2),
}


def main() -> None:
    """Write the file."""
    text = HEAD
    for name, (kind, what, bits) in CODEBOOKS.items():
        kind.init_grid()
        levels = sorted(kind.grid_map)
        assert levels == list(kind.grid_map)
        codes = np.searchsorted(levels, kind.grid.reshape(kind.grid_shape))
        packed = (codes << (bits * np.arange(kind.grid_shape[1]))).sum(axis=1)
        numbers = ", ".join(f"{number:#06x}" for number in packed)
        text += f"/// {what}\n#[rustfmt::skip]\n"
        text += f"pub(super) const {name}: [u16; {len(packed)}] = [\n"
        line = "   "
        for number in numbers.split(", "):
            if len(line) + len(number) + 2 > 127:
                text += line + "\n"
                line = "   "
            line += f" {number},"
        text += line + "\n];\n\n"
    FILE.write_text(text.rstrip() + "\n")
    subprocess.run(["rustfmt", "--edition", "2024", "--check", FILE], check=True)


if __name__ == "__main__":
    main()
