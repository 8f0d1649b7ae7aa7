"""Writes blocks.safetensors: blocks of every storage type and the numbers that gguf reads in them.

Needs `pip install gguf numpy safetensors torch`.
"""

from pathlib import Path

import numpy as np
import torch
from gguf import GGMLQuantizationType, dequantize
from gguf.constants import GGML_QUANT_SIZES
from safetensors.numpy import save_file

# Where a block's 16-bit scales lie; everything else in a block may be any byte.
SCALES = {
    "F32": None,
    "F16": None,
    "BF16": None,
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
    "IQ4_NL": [0],
    "IQ4_XS": [0],
    "MXFP4": None,
    "IQ1_S": [0],
    "IQ1_M": None,
    "IQ2_XXS": [0],
    "IQ2_XS": [0],
    "IQ2_S": [0],
    "IQ3_XXS": [0],
    "IQ3_S": [0],
    "TQ1_0": [52],
    "TQ2_0": [64],
    "Q1_0": [0],
    "Q2_0": [0],
    "NVFP4": None,
    "NVFP4_S": None,
    "INT4": None,
    "F8_E4M3": None,
    "INT4_G": None,
}
# Block sizes that the package lacks.
SIZES = {
    "Q1_0": (128, 18),
    "Q2_0": (64, 18),
    "NVFP4_S": (64, 40),
    "INT4": (32, 24),
    "F8_E4M3": (32, 36),
    "INT4_G": (32, 128),
}
ELEMENTS = 512


def blocks(name: str, random: np.random.Generator) -> np.ndarray:
    """Random bytes of a type, with finite scales."""
    numbers = random.normal(size=ELEMENTS).astype(np.float32)
    if name in ("F32", "INT4_G"):
        return numbers.view(np.uint8)
    if name == "F16":
        return numbers.astype(np.float16).view(np.uint8)
    if name == "BF16":
        return (numbers.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    block_elements, block_bytes = SIZES.get(name) or GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    data = random.integers(0, 256, (ELEMENTS // block_elements, block_bytes), dtype=np.uint8)
    if name == "MXFP4":
        # The smallest powers of two are subnormal; the largest one stands for no number.
        data[:, 0] = random.integers(0, 250, len(data))
        data[:4, 0] = range(4)
    if name == "IQ1_M":
        # The scale lies in the upper bits of four words.
        scales = random.normal(scale=0.05, size=len(data)).astype(np.float16).view(np.uint16)
        for word in range(4):
            bits = (scales >> (4 * word) & 15).astype(np.uint8) << 4
            data[:, 49 + 2 * word] = data[:, 49 + 2 * word] & 15 | bits
    if name in ("NVFP4", "NVFP4_S"):
        # Scales have no sign.
        data[:, -36:-32] &= 0x7F
    # Those that no file has: their scales are in single precision.
    singles = {"NVFP4_S": [0], "INT4": [0, 4], "F8_E4M3": [0]}
    for offset in singles.get(name, []):
        # Powers of two where the order of two products must not matter.
        whole = 2.0 ** random.integers(-9, 0, len(data))
        any_scale = random.normal(scale=0.05, size=len(data))
        scales = (whole if name == "NVFP4_S" else any_scale).astype(np.float32)
        data[:, offset : offset + 4] = scales.view(np.uint8).reshape(-1, 4)
    if name == "F8_E4M3":
        # These stand for no number.
        floats = data[:, 4:]
        floats[floats & 0x7F == 0x7F] = 0
    for offset in SCALES[name] or []:
        scales = random.normal(scale=0.05, size=len(data)).astype(np.float16)
        data[:, offset : offset + 2] = scales.view(np.uint8).reshape(-1, 2)
    return data.reshape(-1)


def newer(name: str, data: np.ndarray) -> np.ndarray:
    """Decode a type that the package does not."""
    blocks = data.reshape(-1, SIZES[name][1])
    if name == "INT4_G":
        return data.view(np.float32)
    if name in ("NVFP4_S", "INT4", "F8_E4M3"):
        scales = blocks[:, :4].copy().view(np.float32)
    if name == "NVFP4_S":
        values = dequantize(blocks[:, 4:].reshape(-1).copy(), GGMLQuantizationType.NVFP4)
        return (values.reshape(-1, 64) * scales).reshape(-1)
    if name == "INT4":
        least = blocks[:, 4:8].copy().view(np.float32)
        quants = np.concatenate([blocks[:, 8:] & 15, blocks[:, 8:] >> 4], axis=1)
        return (scales * quants.astype(np.float32) + least).reshape(-1)
    if name == "F8_E4M3":
        floats = torch.from_numpy(blocks[:, 4:].copy()).view(torch.float8_e4m3fn)
        return (floats.to(torch.float32).numpy() * scales).reshape(-1)
    # Signs, or two bits less one, times a scale.
    scales = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    bits = {"Q1_0": 1, "Q2_0": 2}[name]
    shifts = np.arange(0, 8, bits)
    codes = (blocks[:, 2:, None] >> shifts & (2**bits - 1)).reshape(len(blocks), -1)
    levels = 2 * codes.astype(np.float32) - 1 if bits == 1 else codes.astype(np.float32) - 1
    return scales * levels


def main() -> None:
    """Write the file beside this script."""
    random = np.random.default_rng(7)
    tensors = {}
    for name in SCALES:
        data = blocks(name, random)
        tensors[f"{name}.blocks"] = data
        values = (
            newer(name, data) if name in SIZES else dequantize(data, GGMLQuantizationType[name])
        )
        tensors[f"{name}.values"] = np.ascontiguousarray(values.reshape(-1), dtype=np.float32)
    save_file(tensors, Path(__file__).with_name("blocks.safetensors"))


if __name__ == "__main__":
    main()
