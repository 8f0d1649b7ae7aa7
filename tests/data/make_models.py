"""Writes hf/NAME: a tiny model of every architecture, and what transformers computes with it.

Needs `pip install torch transformers`. Each folder holds a model with random weights as
transformers saves it, and golden.safetensors: `ids` [T], `logits` [T, vocabulary] (row i: after
ids[..=i]), and `greedy`, the greedy continuation of ids[:8], which ends before the first step whose
best two logits lie within 2e-3. The logits are computed in float64 throughout, from the weights as
they are stored.

    python3 tests/data/make_models.py [NAME...]
"""

import contextlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

HERE = Path(__file__).parent
VOCABULARY = 300
LENGTH = 48
GREEDY = 24
NEAR_TIE = 2e-3

COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 256,
    "initializer_range": 0.12,
    "bos_token_id": 1,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-6,
}


def rope(theta: float, **more: object) -> dict[str, object]:
    """Rotary positions."""
    return {"rope_theta": theta, "rope_type": "default", **more}


# What differs from COMMON, and how the weights are stored. Windows are shorter than the texts,
# every switch of an architecture is on, and where there are two kinds of layers, both are there.
# What DeepSeek's models have in common.
DEEPSEEK = {
    "num_key_value_heads": 2,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "head_dim": 8,
    "first_k_dense_replace": 1,
    "n_routed_experts": 8,
    "n_group": 4,
    "topk_group": 2,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 8,
    "intermediate_size": 32,
}
DEEPSEEK_YARN = {
    "rope_type": "yarn",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "original_max_position_embeddings": 32,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
}
ARCHITECTURES: dict[str, tuple[torch.dtype, dict[str, Any]]] = {
    "gpt2": (
        torch.float32,
        {
            "model_type": "gpt2",
            "n_embd": 32,
            "n_head": 2,
            "n_layer": 2,
            "n_inner": 64,
            "n_positions": 160,
        },
    ),
    "gpt2-scaled": (
        torch.bfloat16,
        {
            "model_type": "gpt2",
            "n_embd": 32,
            "n_head": 2,
            "n_layer": 3,
            "n_inner": 64,
            "n_positions": 160,
            "scale_attn_by_inverse_layer_idx": True,
        },
    ),
    "llama": (
        torch.float32,
        {
            "model_type": "llama",
            "head_dim": 16,
            "tie_word_embeddings": True,
            "rope_parameters": rope(100_000.0),
        },
    ),
    "llama3-rope": (
        torch.bfloat16,
        {
            "model_type": "llama",
            "head_dim": 16,
            "num_key_value_heads": 2,
            "rope_parameters": {
                "rope_theta": 500_000.0,
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        },
    ),
    "mistral-window": (
        torch.bfloat16,
        {"model_type": "mistral", "head_dim": 16, "sliding_window": 16},
    ),
    "qwen2": (torch.float16, {"model_type": "qwen2", "tie_word_embeddings": True}),
    "qwen3": (
        torch.bfloat16,
        {"model_type": "qwen3", "head_dim": 32, "tie_word_embeddings": True},
    ),
    "gemma2": (
        torch.bfloat16,
        {
            "model_type": "gemma2",
            "head_dim": 16,
            "query_pre_attn_scalar": 24,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 8.0,
            "sliding_window": 16,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    "gemma3": (
        torch.bfloat16,
        {
            "model_type": "gemma3_text",
            "head_dim": 32,
            "query_pre_attn_scalar": 40,
            "sliding_window": 16,
            "layer_types": ["sliding_attention", "full_attention"],
            "rope_parameters": {
                "full_attention": rope(1_000_000.0),
                "sliding_attention": rope(10_000.0),
            },
        },
    ),
    "phi3": (torch.bfloat16, {"model_type": "phi3", "rms_norm_eps": 1e-5}),
    "gpt-neox": (
        torch.bfloat16,
        {
            "model_type": "gpt_neox",
            "rope_parameters": rope(10_000.0, partial_rotary_factor=0.25),
        },
    ),
    "olmo2": (
        torch.bfloat16,
        {"model_type": "olmo2", "rms_norm_eps": 1e-5, "rope_parameters": rope(500_000.0)},
    ),
    "smollm3": (
        torch.bfloat16,
        {
            "model_type": "smollm3",
            "no_rope_layers": [1, 0],
            "no_rope_layer_interval": 2,
            "tie_word_embeddings": True,
        },
    ),
    "mixtral": (
        torch.bfloat16,
        {
            "model_type": "mixtral",
            "head_dim": 16,
            "intermediate_size": 32,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "sliding_window": 16,
        },
    ),
    "qwen2_moe": (
        torch.bfloat16,
        {
            "model_type": "qwen2_moe",
            "num_experts": 6,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "shared_expert_intermediate_size": 32,
            "norm_topk_prob": False,
        },
    ),
    "qwen3_moe": (
        torch.bfloat16,
        {
            "model_type": "qwen3_moe",
            "num_hidden_layers": 3,
            "mlp_only_layers": [1],
            "head_dim": 32,
            "num_experts": 8,
            "num_local_experts": 8,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 16,
            "norm_topk_prob": True,
            "tie_word_embeddings": True,
        },
    ),
    "olmoe": (
        torch.bfloat16,
        {
            "model_type": "olmoe",
            "intermediate_size": 16,
            "num_experts": 8,
            "num_experts_per_tok": 3,
            "norm_topk_prob": False,
        },
    ),
    "lfm2": (
        torch.bfloat16,
        {
            "model_type": "lfm2",
            "num_hidden_layers": 3,
            "layer_types": ["conv", "full_attention", "conv"],
            "conv_bias": True,
            "conv_L_cache": 4,
            "block_multiple_of": 16,
            "norm_eps": 1e-5,
        },
    ),
    "lfm2_moe": (
        torch.bfloat16,
        {
            "model_type": "lfm2_moe",
            "num_hidden_layers": 3,
            "layer_types": ["conv", "full_attention", "conv"],
            "num_dense_layers": 1,
            "num_experts": 8,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "routed_scaling_factor": 1.5,
            "use_expert_bias": True,
        },
    ),
    "qwen3_5": (
        torch.bfloat16,
        {
            "model_type": "qwen3_5_text",
            "layer_types": ["linear_attention", "full_attention"],
            "head_dim": 16,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 12,
            "linear_conv_kernel_dim": 4,
            "tie_word_embeddings": True,
            "rope_parameters": rope(10_000.0, partial_rotary_factor=0.5),
        },
    ),
    "qwen3_5_moe": (
        torch.bfloat16,
        {
            "model_type": "qwen3_5_moe_text",
            "num_hidden_layers": 2,
            "layer_types": ["linear_attention", "full_attention"],
            "head_dim": 16,
            "linear_num_key_heads": 1,
            "linear_num_value_heads": 2,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "linear_conv_kernel_dim": 4,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "shared_expert_intermediate_size": 32,
            "rope_parameters": rope(10_000.0, partial_rotary_factor=0.5),
        },
    ),
    "gpt_oss": (
        torch.bfloat16,
        {
            "model_type": "gpt_oss",
            "head_dim": 16,
            "intermediate_size": 32,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "sliding_window": 16,
            "layer_types": ["sliding_attention", "full_attention"],
            "swiglu_limit": 1.5,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 150_000.0,
                "factor": 8.0,
                "original_max_position_embeddings": 64,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "truncate": False,
            },
        },
    ),
    "qwen3_next": (
        torch.bfloat16,
        {
            "model_type": "qwen3_next",
            "layer_types": ["linear_attention", "full_attention"],
            "head_dim": 16,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "linear_conv_kernel_dim": 4,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 8,
            "shared_expert_intermediate_size": 16,
            "tie_word_embeddings": True,
            "rope_parameters": rope(10_000.0, partial_rotary_factor=0.5),
        },
    ),
    "ministral3": (
        torch.bfloat16,
        {
            "model_type": "ministral3",
            "head_dim": 16,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 1_000_000.0,
                "factor": 8.0,
                "original_max_position_embeddings": 16,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "mscale": 1.0,
                "mscale_all_dim": 1.0,
                "llama_4_scaling_beta": 0.1,
            },
        },
    ),
    "granite": (
        torch.bfloat16,
        {
            "model_type": "granite",
            "embedding_multiplier": 1.5,
            "residual_multiplier": 0.8,
            "attention_multiplier": 0.3,
            "logits_scaling": 1.6,
            "tie_word_embeddings": True,
        },
    ),
    "olmo3": (
        torch.bfloat16,
        {
            "model_type": "olmo3",
            "sliding_window": 16,
            "layer_types": ["sliding_attention", "full_attention"],
            "rope_parameters": {
                "sliding_attention": rope(500_000.0),
                "full_attention": {
                    "rope_type": "yarn",
                    "rope_theta": 500_000.0,
                    "factor": 8.0,
                    "original_max_position_embeddings": 32,
                    "attention_factor": 1.2,
                    "beta_fast": 32.0,
                    "beta_slow": 1.0,
                },
            },
        },
    ),
    "starcoder2": (
        torch.bfloat16,
        {"model_type": "starcoder2", "sliding_window": 16, "norm_epsilon": 1e-5},
    ),
    "seed_oss": (torch.bfloat16, {"model_type": "seed_oss", "head_dim": 32}),
    "hunyuan_v1_dense": (
        torch.bfloat16,
        {
            "model_type": "hunyuan_v1_dense",
            "head_dim": 16,
            "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "dynamic",
                "rope_theta": 10_000.0,
                "alpha": 50.0,
                "factor": 1.0,
            },
        },
    ),
    "exaone4": (
        torch.bfloat16,
        {
            "model_type": "exaone4",
            "sliding_window": 16,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    "cohere2": (
        torch.bfloat16,
        {
            "model_type": "cohere2",
            "head_dim": 16,
            "logit_scale": 0.5,
            "sliding_window": 16,
            "layer_types": ["sliding_attention", "full_attention"],
            "tie_word_embeddings": True,
        },
    ),
    "glm4_moe": (
        torch.bfloat16,
        {
            "model_type": "glm4_moe",
            "head_dim": 16,
            "attention_bias": True,
            "use_qk_norm": True,
            "first_k_dense_replace": 1,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_shared_experts": 2,
            "moe_intermediate_size": 16,
            "routed_scaling_factor": 1.5,
            "tie_word_embeddings": True,
            "rope_parameters": rope(10_000.0, partial_rotary_factor=0.5),
        },
    ),
    "muse_glimmer": (
        torch.bfloat16,
        {
            "model_type": "muse_glimmer",
            "head_dim": 16,
            "sliding_window": 16,
            "layer_types": ["sliding_attention", "full_attention"],
            "layer_rope_theta": [10_000.0, 0],
            "qk_scale_factor": 2.0,
            "output_multiplier": 0.5,
            "final_logit_softcapping": 8.0,
        },
    ),
    "gemma4": (
        torch.bfloat16,
        {
            "model_type": "gemma4_text",
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "head_dim": 8,
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": VOCABULARY,
            "num_kv_shared_layers": 2,
            "use_double_wide_mlp": True,
            "intermediate_size": 32,
            "sliding_window": 16,
            "final_logit_softcapping": 8.0,
            "layer_types": [
                "sliding_attention",
                "full_attention",
                "sliding_attention",
                "full_attention",
            ],
            "per_layer_config": {1: {"head_dim": 16}, 3: {"head_dim": 16}},
        },
    ),
    "gemma4-moe": (
        torch.bfloat16,
        {
            "model_type": "gemma4_text",
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "hidden_size_per_layer_input": 0,
            "attention_k_eq_v": True,
            "enable_moe_block": True,
            "num_experts": 4,
            "top_k_experts": 2,
            "moe_intermediate_size": 8,
            "intermediate_size": 16,
            "sliding_window": 16,
            "layer_types": ["sliding_attention", "full_attention"],
            "per_layer_config": {1: {"head_dim": 16, "num_key_value_heads": 1}},
        },
    ),
    "gemma3n": (
        torch.bfloat16,
        {
            "model_type": "gemma3n_text",
            "num_hidden_layers": 3,
            "head_dim": 16,
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": VOCABULARY - 16,
            "altup_num_inputs": 2,
            "laurel_rank": 4,
            "num_kv_shared_layers": 1,
            "intermediate_size": [32, 32, 32],
            "activation_sparsity_pattern": [0.8, 0.0, 0.0],
            "sliding_window": 16,
            "layer_types": ["sliding_attention", "full_attention", "full_attention"],
        },
    ),
    "granitemoehybrid": (
        torch.bfloat16,
        {
            "model_type": "granitemoehybrid",
            "intermediate_size": 16,
            "layer_types": ["mamba", "attention"],
            "position_embedding_type": "nope",
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "shared_intermediate_size": 24,
            "mamba_n_heads": 4,
            "mamba_d_head": 16,
            "mamba_d_state": 8,
            "mamba_n_groups": 1,
            "embedding_multiplier": 1.5,
            "residual_multiplier": 0.8,
            "attention_multiplier": 0.3,
            "logits_scaling": 1.6,
            "tie_word_embeddings": True,
        },
    ),
    "nemotron_h": (
        torch.bfloat16,
        {
            "model_type": "nemotron_h",
            "num_hidden_layers": 4,
            "layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"],
            "head_dim": 16,
            "mamba_num_heads": 4,
            "mamba_head_dim": 16,
            "n_groups": 2,
            "ssm_state_size": 8,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "moe_shared_expert_intermediate_size": 24,
            "routed_scaling_factor": 2.5,
            "tie_word_embeddings": False,
        },
    ),
    "falcon_h1": (
        torch.bfloat16,
        {
            "model_type": "falcon_h1",
            "head_dim": 16,
            "mamba_d_ssm": 48,
            "mamba_n_heads": 3,
            "mamba_d_head": 16,
            "mamba_d_state": 8,
            "mamba_n_groups": 1,
            "mamba_rms_norm": False,
            "attention_in_multiplier": 1.1,
            "attention_out_multiplier": 0.9,
            "key_multiplier": 0.7,
            "embedding_multiplier": 1.5,
            "lm_head_multiplier": 0.7,
            "mlp_multipliers": [0.8, 0.6],
            "ssm_in_multiplier": 1.2,
            "ssm_out_multiplier": 0.8,
            "ssm_multipliers": [0.5, 0.8, 0.7, 0.9, 1.2],
            "tie_word_embeddings": True,
        },
    ),
    "deepseek_v2": (
        torch.bfloat16,
        DEEPSEEK
        | {
            "model_type": "deepseek_v2",
            "q_lora_rank": None,
            "topk_method": "group_limited_greedy",
            "n_shared_experts": 2,
            "routed_scaling_factor": 16.0,
            "rope_parameters": DEEPSEEK_YARN | {"mscale": 0.707, "mscale_all_dim": 0.707},
        },
    ),
    "deepseek_v3": (
        torch.bfloat16,
        DEEPSEEK
        | {
            "model_type": "deepseek_v3",
            "q_lora_rank": 16,
            "n_shared_experts": 1,
            "routed_scaling_factor": 2.5,
            "tie_word_embeddings": True,
            "rope_parameters": DEEPSEEK_YARN | {"mscale": 1.0, "mscale_all_dim": 1.0},
        },
    ),
    "glm4_moe_lite": (
        torch.bfloat16,
        {
            "model_type": "glm4_moe_lite",
            "num_key_value_heads": 2,
            "q_lora_rank": None,
            "kv_lora_rank": 16,
            "qk_nope_head_dim": 12,
            "qk_rope_head_dim": 8,
            "v_head_dim": 16,
            "mlp_layer_types": ["dense", "sparse"],
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_shared_experts": 1,
            "moe_intermediate_size": 16,
            "routed_scaling_factor": 1.8,
            "tie_word_embeddings": True,
        },
    ),
}


def gptq(weight: torch.Tensor, act_order: bool) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """4-bit integers with scales and zero points of groups of inputs, and their values."""
    outputs, inputs = weight.shape
    groups = torch.arange(inputs) // GROUP
    if act_order:
        groups = groups[torch.randperm(inputs, generator=torch.Generator().manual_seed(1))]
    scales, zeros, quants = affine(weight, groups)
    words = torch.zeros(inputs // 8, outputs, dtype=torch.int64)
    for place in range(8):
        words |= quants.T[place::8] << (4 * place)
    # The first version of the format keeps zero points less one.
    zero_words = torch.zeros(inputs // GROUP, outputs // 8, dtype=torch.int64)
    for place in range(8):
        zero_words |= (zeros[:, place::8] - 1 & 15) << (4 * place)
    tensors = {
        "qweight": to_words(words),
        "qzeros": to_words(zero_words),
        "scales": scales,
        "g_idx": groups.to(torch.int32),
    }
    return tensors, (quants - zeros[groups].T) * scales[groups].T.double()


def awq(weight: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The same with eight outputs of an input in a word."""
    outputs, inputs = weight.shape
    groups = torch.arange(inputs) // GROUP
    scales, zeros, quants = affine(weight, groups)
    words = torch.zeros(inputs, outputs // 8, dtype=torch.int64)
    zero_words = torch.zeros(inputs // GROUP, outputs // 8, dtype=torch.int64)
    for place, output in enumerate([0, 2, 4, 6, 1, 3, 5, 7]):
        words |= quants.T[:, output::8] << (4 * place)
        zero_words |= zeros[:, output::8] << (4 * place)
    tensors = {"qweight": to_words(words), "qzeros": to_words(zero_words), "scales": scales}
    return tensors, (quants - zeros[groups].T) * scales[groups].T.double()


def affine(
    weight: torch.Tensor, groups: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scales and zero points of groups, `[groups, out]`, and quants `[out, in]`."""
    count = int(groups.max()) + 1
    least = torch.stack([weight[:, groups == group].amin(1) for group in range(count)])
    most = torch.stack([weight[:, groups == group].amax(1) for group in range(count)])
    scales = ((most - least) / 15).to(torch.float16)
    zeros = (-least / scales).round().clamp(1, 15).to(torch.int64)
    quants = (weight / scales[groups].T + zeros[groups].T).round().clamp(0, 15)
    return scales, zeros, quants.to(torch.int64)


def to_words(words: torch.Tensor) -> torch.Tensor:
    """As signed 32-bit integers."""
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)


def float8(weight: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """8-bit floats with scales of blocks."""
    blocks = [size // GROUP for size in weight.shape]
    parts = weight.reshape(blocks[0], GROUP, blocks[1], GROUP)
    scales = parts.abs().amax((1, 3)) / 448
    floats = (parts / scales[:, None, :, None]).to(torch.float8_e4m3fn)
    values = floats.double() * scales[:, None, :, None].double()
    tensors = {"weight": floats.reshape(weight.shape), "weight_scale_inv": scales}
    return tensors, values.reshape(weight.shape)


# Inputs of a group, and rows and columns of a block.
GROUP = 32
# Checkpoints of quantized weights: what quantizes a linear layer, and what config.json says of it.
QUANTIZED: dict[str, tuple[Any, dict[str, Any]]] = {
    "llama-gptq": (
        lambda weight: gptq(weight, act_order=False),
        {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": False},
    ),
    "llama-gptq-act-order": (
        lambda weight: gptq(weight, act_order=True),
        {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": True, "sym": False},
    ),
    "llama-awq": (
        awq,
        {"quant_method": "awq", "bits": 4, "group_size": GROUP, "version": "gemm"},
    ),
    "llama-fp8": (
        float8,
        {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [GROUP, GROUP]},
    ),
}


@contextlib.contextmanager
def everything_in_float64() -> Iterator[None]:
    """Where the modelling code asks for float32 (norms, softmax, rotary), it gets float64."""
    float32, to_float = torch.float32, torch.Tensor.float
    try:
        torch.float32 = torch.float = torch.float64
        torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
        torch.set_default_dtype(torch.float64)
        yield
    finally:
        torch.float32 = torch.float = float32
        torch.Tensor.float = to_float  # type: ignore[method-assign]
        torch.set_default_dtype(float32)


def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE of the licence's text."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|endoftext|>", "<|bos|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train([str(HERE.parents[1] / "LICENSE")], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<|bos|>", eos_token="<|endoftext|>"
    )


def randomize(model: PreTrainedModel, seed: int) -> None:
    """Weights of every kind at random: transformers leaves norms at one and biases at zero.

    Those of the blocks are larger than the embeddings, so that the blocks decide what comes next.
    """
    embeddings = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    random = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=random)
        if weight.dim() == 1 and "bias" not in name:
            weight.data += 0.1 * noise
        else:
            weight.data = (0.12 if id(weight) in embeddings else 0.3) * noise
    for name, buffer in model.named_buffers():
        if name.endswith(("expert_bias", "correction_bias")):
            buffer.data += 0.3 * torch.randn(buffer.shape, generator=random)


# Architectures that transformers has only with a vision tower; the smallest one.
VISION: dict[str, dict[str, Any]] = {
    "muse_glimmer": {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "patch_size": 2,
        "pos_emb_height": 2,
        "pos_emb_width": 2,
    },
}


def auto(model_type: str) -> type:
    """The class that makes models of a type."""
    return AutoModelForImageTextToText if model_type in VISION else AutoModelForCausalLM


def configuration(settings: dict[str, Any]) -> Any:
    """Of these settings, as many as the type of model has."""
    model_type = settings.pop("model_type")
    text_type = f"{model_type}_text" if model_type in VISION else model_type
    known = AutoConfig.for_model(text_type).to_dict()
    settings = {key: value for key, value in settings.items() if key in known}
    if model_type not in VISION:
        return AutoConfig.for_model(model_type, **settings)
    return AutoConfig.for_model(
        model_type,
        text_config=settings | {"model_type": text_type},
        vision_config=VISION[model_type],
        projector_hidden_size=8,
        out_hidden_size=COMMON["hidden_size"],
    )


def golden(folder: Path) -> dict[str, torch.Tensor]:
    """What the model in a folder computes, from its stored weights, in float64."""
    # Every stored type widens to float32 exactly.
    model_type = json.loads((folder / "config.json").read_text())["model_type"]
    stored = auto(model_type).from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    return golden_of(stored.eval(), {}, folder)


def golden_of(
    stored: PreTrainedModel, weights: dict[str, torch.Tensor], folder: Path
) -> dict[str, torch.Tensor]:
    """What a model computes in float64, with these weights in place of its own."""
    random = torch.Generator().manual_seed(17)
    ids = torch.randint(2, VOCABULARY, (LENGTH,), generator=random)
    with everything_in_float64(), torch.no_grad():
        model = (
            auto(stored.config.model_type)
            .from_config(stored.config, dtype=torch.float64, experts_implementation="eager")
            .eval()
        )
        model.load_state_dict(
            {name: weight.double() for name, weight in stored.state_dict().items()} | weights
        )
        logits = model(input_ids=ids[None], use_cache=False).logits[0]
        assert logits.dtype == torch.float64
        greedy: list[int] = []
        while len(greedy) < GREEDY:
            text = torch.cat([ids[:8], torch.tensor(greedy, dtype=torch.int64)])
            row = model(input_ids=text[None], use_cache=False).logits[0, -1]
            best, second = row.topk(2).values.tolist()
            if best - second < NEAR_TIE:
                break
            greedy.append(int(row.argmax()))
    # A plain run in float32 agrees, as far as float32 goes.
    with torch.no_grad():
        rounded = stored(input_ids=ids[None], use_cache=False).logits[0]
    error = (rounded - logits).abs().max()
    assert error < 5e-5, (folder, error)
    return {
        "ids": ids,
        "logits": logits.to(torch.float32),
        "greedy": torch.tensor(greedy, dtype=torch.int64),
    }


def make(name: str, seed: int) -> bool:
    """Write one folder; whether its greedy tokens vary (random weights often go in circles)."""
    dtype, differences = ARCHITECTURES[name]
    settings = COMMON | differences
    config = configuration(settings)
    torch.manual_seed(seed)
    model = auto(config.model_type).from_config(config)
    randomize(model, seed)
    folder = HERE / "hf" / name
    shutil.rmtree(folder, ignore_errors=True)
    model.to(dtype).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    tokenizer().save_pretrained(folder)
    tensors = golden(folder)
    save_file(tensors, folder / "golden.safetensors")
    return len(tensors["greedy"]) >= 16 and len(set(tensors["greedy"].tolist())) >= 4


def make_quantized(name: str, seed: int) -> bool:
    """Write one folder of quantized weights; whether its greedy tokens vary."""
    quantize, settings = QUANTIZED[name]
    config = configuration(
        COMMON
        | {
            "model_type": "llama",
            "head_dim": 32,
            "num_key_value_heads": 1,
            "tie_word_embeddings": True,
            "quantization_config": None,
        }
    )
    torch.manual_seed(seed)
    model = auto("llama").from_config(config)
    randomize(model, seed)
    folder = HERE / "hf" / name
    shutil.rmtree(folder, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    tokenizer().save_pretrained(folder)
    stored, exact = {}, {}
    for key, weight in load_file(folder / "model.safetensors").items():
        if "_proj.weight" not in key:
            stored[key] = weight
            continue
        tensors, exact[key] = quantize(weight.float())
        stem = key.removesuffix("weight")
        stored |= {stem + part: tensor.contiguous() for part, tensor in tensors.items()}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    file = folder / "config.json"
    text = json.loads(file.read_text()) | {"quantization_config": settings}
    file.write_text(json.dumps(text, indent=2) + "\n")
    rounded = {key: weight.float() for key, weight in exact.items()}
    # A new one: rotary frequencies were rounded in the other.
    weights = {key: weight.float() for key, weight in model.state_dict().items()}
    model = auto("llama").from_config(config, dtype=torch.float32).eval()
    model.load_state_dict(weights | rounded)
    tensors = golden_of(model, exact, folder)
    save_file(tensors, folder / "golden.safetensors")
    return len(tensors["greedy"]) >= 16 and len(set(tensors["greedy"].tolist())) >= 4


def main() -> None:
    """Make the folders that are named, or all."""
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    for name in sys.argv[1:] or [*ARCHITECTURES, *QUANTIZED]:
        made = make_quantized if name in QUANTIZED else make
        seed = next((seed for seed in range(50) if made(name, seed)), None)
        if seed is None:
            raise SystemExit(f"{name}: no seed gives greedy tokens of some length and variety")
        size = sum(file.stat().st_size for file in (HERE / "hf" / name).iterdir())
        assert size <= 200_000, f"{name}: {size}"
        print(f"{name}: {size // 1000} KB, from seed {seed}", flush=True)


if __name__ == "__main__":
    main()
