"""Writes gguf/NAME.gguf and its golden.safetensors from hf/NAME.

For families whose tensors llama.cpp's converter only renames and stacks. Needs `pip install gguf
numpy safetensors`. The tensor names are those that the gguf package has for the family; nothing is
computed, so the golden values of the folder hold for the file.

    python3 tests/data/make_gguf.py
"""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np

HERE = Path(__file__).parent
FAMILIES = {
    "olmo2": gguf.MODEL_ARCH.OLMO2,
    "olmoe": gguf.MODEL_ARCH.OLMOE,
    "qwen2_moe": gguf.MODEL_ARCH.QWEN2MOE,
    "lfm2": gguf.MODEL_ARCH.LFM2,
    "lfm2_moe": gguf.MODEL_ARCH.LFM2MOE,
    # As converters wrote it before they split what expands compressed keys and values.
    "deepseek_v2": gguf.MODEL_ARCH.DEEPSEEK2,
}
EXPERTS = {"gate_proj": "gate", "up_proj": "up", "down_proj": "down"}
EXPERTS |= {"w1": "gate", "w3": "up", "w2": "down"}


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


def mlp_width(config: dict[str, Any]) -> int:
    """The width of an MLP without experts; LFM2 states it before it is adjusted."""
    if not config.get("block_auto_adjust_ff_dim"):
        return int(config["intermediate_size"])
    width = int(config["block_ffn_dim_multiplier"] * int(2 * config["intermediate_size"] / 3))
    multiple = config["block_multiple_of"]
    return int(-(-width // multiple) * multiple)


def renamed(
    family: gguf.MODEL_ARCH, config: dict[str, Any], file: Path
) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors by GGUF's names; those of a layer's experts are stacked."""
    names = gguf.get_tensor_name_map(family, config["num_hidden_layers"])
    stacked: dict[str, dict[int, np.ndarray]] = {}
    for theirs, (bits, shape) in tensors(file).items():
        array = bits.reshape(shape)
        expert = re.search(r"layers\.(\d+)\..*experts\.(\d+)\.(\w+)\.weight", theirs)
        fused = re.search(r"layers\.(\d+)\..*experts\.(gate_up_proj|down_proj)$", theirs)
        if expert:
            name = f"blk.{expert[1]}.ffn_{EXPERTS[expert[3]]}_exps.weight"
            stacked.setdefault(name, {})[int(expert[2])] = array
        elif fused and fused[2] == "gate_up_proj":
            gate, up = np.split(array, 2, axis=1)
            yield f"blk.{fused[1]}.ffn_gate_exps.weight", gate
            yield f"blk.{fused[1]}.ffn_up_exps.weight", up
        elif fused:
            yield f"blk.{fused[1]}.ffn_down_exps.weight", array
        elif theirs.endswith("expert_bias"):
            yield f"blk.{theirs.split('.')[2]}.exp_probs_b.bias", array
        elif theirs.endswith("conv.conv.bias"):
            yield f"blk.{theirs.split('.')[2]}.shortconv.conv.bias", array
        elif theirs.endswith("shared_expert_gate.weight"):
            yield f"blk.{theirs.split('.')[2]}.ffn_gate_inp_shexp.weight", array.reshape(-1)
        else:
            ours = names.get_name(theirs, try_suffixes=(".weight", ".bias"))
            assert ours, theirs
            yield ours, array.squeeze(1) if theirs.endswith("conv.conv.weight") else array
    for name, experts in stacked.items():
        yield name, np.stack([experts[index] for index in range(len(experts))])


def add_latent_attention(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    """Write what is stated of attention over compressed keys and values, and of its experts."""
    writer.add_kv_lora_rank(config["kv_lora_rank"])
    writer.add_rope_dimension_count(config["qk_rope_head_dim"])
    writer.add_key_length(config["qk_nope_head_dim"] + config["qk_rope_head_dim"])
    writer.add_value_length(config["v_head_dim"])
    rope = config["rope_parameters"]
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(rope["factor"])
    writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    writer.add_rope_scaling_yarn_log_mul(0.1 * rope["mscale_all_dim"])
    writer.add_leading_dense_block_count(config["first_k_dense_replace"])
    writer.add_expert_count(config["n_routed_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_expert_shared_count(config["n_shared_experts"])
    writer.add_expert_weights_scale(config["routed_scaling_factor"])
    writer.add_expert_group_count(config["n_group"])
    writer.add_expert_group_used_count(config["topk_group"])


def make(name: str, family: gguf.MODEL_ARCH) -> None:
    """Write one file."""
    folder = HERE / "hf" / name
    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    file = HERE / "gguf" / f"{name}-BF16.gguf"
    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[family])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(mlp_width(config))
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_head_count(config["num_attention_heads"])
    heads, kinds = config["num_key_value_heads"], config.get("layer_types", [])
    convolved = [kind == "conv" for kind in kinds]
    writer.add_head_count_kv([0 if is_conv else heads for is_conv in convolved] or heads)
    writer.add_layer_norm_rms_eps(config.get("rms_norm_eps") or config["norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    if any(convolved):
        writer.add_shortconv_l_cache(config["conv_L_cache"])
    if "num_experts" in config:
        writer.add_expert_count(config["num_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])
    if "moe_intermediate_size" in config:
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    if "shared_expert_intermediate_size" in config:
        width = config["shared_expert_intermediate_size"]
        writer.add_expert_shared_feed_forward_length(width)
    if "num_dense_layers" in config:
        writer.add_leading_dense_block_count(config["num_dense_layers"])
        writer.add_expert_weights_scale(config["routed_scaling_factor"])
        writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    if "kv_lora_rank" in config:
        add_latent_attention(writer, config)
    special = {token["content"] for token in tokenizer["added_tokens"]}
    vocabulary = tokenizer["model"]["vocab"] | {
        token["content"]: token["id"] for token in tokenizer["added_tokens"]
    }
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    token = gguf.TokenType
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([token.CONTROL if t in special else token.NORMAL for t in tokens])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    for ours, bits in renamed(family, config, folder / "model.safetensors"):
        # Vectors, routers and convolutions are widened, as the converter does.
        if bits.ndim == 1 or "ffn_gate_inp" in ours or ".shortconv.conv" in ours:
            wide = (bits.astype(np.uint32) << 16).view(np.float32)
            writer.add_tensor(ours, wide)
        else:
            half = np.ascontiguousarray(bits).view(np.uint8)
            writer.add_tensor(ours, half, raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    shutil.copyfile(folder / "golden.safetensors", file.with_suffix(".golden.safetensors"))


if __name__ == "__main__":
    for name, family in FAMILIES.items():
        make(name, family)
