"""Writes adapters/NAME: LoRA adapters of hf/BASE, and what PEFT computes with them, unmerged.

Needs `pip install torch transformers peft gguf`. Each folder holds an adapter with random weights
as PEFT saves it, and golden.safetensors: `ids` [T], `logits` [T, vocabulary], and `greedy`, as
make_models.py describes them. The logits are computed in float64, from the weights as they are
stored. olmo2 holds the same adapter as a GGUF file, too, for gguf/olmo2-BF16.gguf.

    PYTHONPATH=tests/data python3 tests/data/make_adapters.py [NAME...]
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import gguf
import torch
from make_models import NEAR_TIE, VOCABULARY, everything_in_float64
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LENGTH = 10
GREEDY = 24

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

# The base of each adapter, and how it differs from the default configuration.
ADAPTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("llama", {"r": 2, "lora_alpha": 3, "target_modules": LINEAR}),
    # The first pattern that matches counts; keys are regular expressions.
    "patterns": (
        "qwen2",
        {
            "r": 2,
            "lora_alpha": 3,
            "use_rslora": True,
            "target_modules": ["q_proj", "v_proj", "down_proj"],
            "rank_pattern": {r"layers\.1\..*_proj": 3, "model.layers.0.mlp.down_proj": 1},
            "alpha_pattern": {"v_proj": 5, r"layers\.\d\.self_attn\.(q|v)_proj": 1.5},
            "bias": "all",
        },
    ),
    # The base's output head is its embedding.
    "embedding": (
        "llama",
        {"r": 2, "lora_alpha": 2, "target_modules": ["embed_tokens", "q_proj"]},
    ),
    "head": ("llama", {"r": 2, "lora_alpha": 2, "target_modules": ["lm_head", "v_proj"]}),
    "saved": (
        "llama",
        {
            "r": 1,
            "lora_alpha": 2,
            "target_modules": ["o_proj"],
            "modules_to_save": ["lm_head", "norm"],
        },
    ),
    "dora": (
        "llama",
        {"r": 2, "lora_alpha": 4, "use_dora": True, "target_modules": ["q_proj", "down_proj"]},
    ),
    # Its matrices are [in, out], and some of them are square.
    "gpt2": (
        "gpt2",
        {
            "r": 2,
            "lora_alpha": 4,
            "target_modules": ["c_attn", "c_proj", "c_fc"],
            "fan_in_fan_out": True,
        },
    ),
    "gpt2-dora": (
        "gpt2",
        {
            "r": 1,
            "lora_alpha": 1,
            "use_dora": True,
            "target_modules": ["c_attn", "c_proj"],
            "fan_in_fan_out": True,
        },
    ),
    # For its GGUF file, too.
    "olmo2": ("olmo2", {"r": 2, "lora_alpha": 3, "target_modules": LINEAR}),
    # Query, key and value are one matrix. (This one is saved as PyTorch's own file.)
    "phi3": ("phi3", {"r": 2, "lora_alpha": 4, "target_modules": ["qkv_proj", "down_proj"]}),
}


def base_of(name: str) -> str:
    """The folder of an adapter's base, as adapter_config.json names it."""
    return f"tests/data/hf/{ADAPTERS[name][0]}"


def golden(folder: Path, base: str) -> dict[str, torch.Tensor]:
    """What base and adapter compute, from their stored weights, in float64."""
    stored = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, attn_implementation="eager"
    )
    random = torch.Generator().manual_seed(23)
    ids = torch.randint(2, VOCABULARY, (LENGTH,), generator=random)
    plain = stored(input_ids=ids[None], use_cache=False).logits[0].detach()
    weights = PeftModel.from_pretrained(stored, folder).state_dict()
    with everything_in_float64(), torch.no_grad():
        model = AutoModelForCausalLM.from_config(stored.config, dtype=torch.float64)
        adapted = get_peft_model(model, LoraConfig.from_pretrained(folder)).double().eval()
        adapted.load_state_dict({name: weight.double() for name, weight in weights.items()})
        logits = adapted(input_ids=ids[None], use_cache=False).logits[0]
        assert logits.dtype == torch.float64
        greedy: list[int] = []
        while len(greedy) < GREEDY:
            text = torch.cat([ids[:8], torch.tensor(greedy, dtype=torch.int64)])
            row = adapted(input_ids=text[None], use_cache=False).logits[0, -1]
            best, second = row.topk(2).values.tolist()
            if best - second < NEAR_TIE:
                break
            greedy.append(int(row.argmax()))
    difference = (logits - plain).abs().max()
    assert difference > 0.3, (folder, difference)
    return {
        "ids": ids,
        "logits": logits.to(torch.float32),
        "greedy": torch.tensor(greedy, dtype=torch.int64),
    }


def write_gguf(folder: Path) -> None:
    """Write the adapter in a folder as llama.cpp's converter does, which only renames OLMo 2's."""
    config = json.loads((folder / "adapter_config.json").read_text())
    writer = gguf.GGUFWriter(folder / "adapter.gguf", "olmo2")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, config["lora_alpha"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.OLMO2, 2)
    for theirs, tensor in load_file(folder / "adapter_model.safetensors").items():
        module, part = theirs.removeprefix("base_model.model.").split(".lora_")
        ours = names.get_name(module)
        writer.add_tensor(f"{ours}.weight.lora_{part[0].lower()}", tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make(name: str) -> None:
    """Write one folder."""
    base, settings = base_of(name), ADAPTERS[name][1]
    torch.manual_seed(len(name))
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings))
    for weight_name, weight in adapted.named_parameters():
        if "lora_magnitude_vector" in weight_name:
            weight.data *= 1 + 0.3 * torch.rand(weight.shape)
        elif "lora_" in weight_name:
            weight.data = 0.3 * torch.randn(weight.shape)
        elif weight.requires_grad:
            weight.data += 0.1 * torch.randn(weight.shape)
    folder = HERE / "adapters" / name
    shutil.rmtree(folder, ignore_errors=True)
    adapted.save_pretrained(
        folder,
        safe_serialization=name != "phi3",
        save_embedding_layers=name == "embedding",
    )
    (folder / "README.md").unlink(missing_ok=True)
    save_file(golden(folder, base), folder / "golden.safetensors")
    if name == "olmo2":
        write_gguf(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == base


def main() -> None:
    """Write the adapters that are named, or all."""
    for name in sys.argv[1:] or ADAPTERS:
        make(name)
        size = sum(file.stat().st_size for file in (HERE / "adapters" / name).iterdir())
        print(f"{name}: {size} bytes")


if __name__ == "__main__":
    main()
