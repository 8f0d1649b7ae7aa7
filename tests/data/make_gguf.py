"""Writes gguf/NAME.gguf and its golden.safetensors from hf/NAME.

For families whose tensors llama.cpp's converter only renames. Needs `pip install gguf numpy
safetensors`. The tensor names are those that the gguf package has for the family; nothing is
computed, so the golden values of the folder hold for the file.

    python3 tests/data/make_gguf.py
"""

import json
import shutil
from pathlib import Path

import gguf
import numpy as np

HERE = Path(__file__).parent
FAMILIES = {"olmo2": gguf.MODEL_ARCH.OLMO2}


def tensors(file: Path) -> dict[str, tuple[np.ndarray, list[int]]]:
    """The bytes and the shapes of a file of bfloat16 tensors."""
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        assert entry["dtype"] == "BF16", name
        begin, end = entry["data_offsets"]
        bits = np.frombuffer(data[8 + length + begin : 8 + length + end], np.uint16)
        found[name] = (bits, entry["shape"])
    return found


def make(name: str, family: gguf.MODEL_ARCH) -> None:
    """Write one file."""
    folder = HERE / "hf" / name
    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    file = HERE / "gguf" / f"{name}-BF16.gguf"
    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[family])
    layers = config["num_hidden_layers"]
    writer.add_block_count(layers)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    special = {token["content"] for token in tokenizer["added_tokens"]}
    vocabulary = tokenizer["model"]["vocab"] | {
        token["content"]: token["id"] for token in tokenizer["added_tokens"]
    }
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    kinds = gguf.TokenType
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([kinds.CONTROL if t in special else kinds.NORMAL for t in tokens])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    names = gguf.get_tensor_name_map(family, layers)
    for theirs, (bits, shape) in tensors(folder / "model.safetensors").items():
        ours = names.get_name(theirs, try_suffixes=(".weight",))
        # Vectors are widened, as the converter does.
        if len(shape) == 1:
            wide = (bits.astype(np.uint32) << 16).view(np.float32)
            writer.add_tensor(ours, wide)
        else:
            half = bits.reshape(shape).view(np.uint8)
            writer.add_tensor(ours, half, raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    shutil.copyfile(folder / "golden.safetensors", file.with_suffix(".golden.safetensors"))


if __name__ == "__main__":
    for name, family in FAMILIES.items():
        make(name, family)
