"""Write a random Gemma 3n of the sizes that llama.cpp has built in, for conversions.py.

python benches/make_gemma3n.py SMALLER FOLDER
SMALLER: a Gemma 3n folder in Hugging Face's layout, whose tokenizer and remaining settings are
taken, with `ids` in its golden.safetensors (needs `pip install safetensors torch transformers`).

llama.cpp reads any file of this architecture as one of 30 layers or more with sparse MLPs in the
first 10, keys and values of the first 20 alone, per-layer embeddings of 256 elements and Laurel
matrices of rank 64. It divides variances by one less than the width, so the MLPs are wide; and
norms after a block are small, so that rounding doesn't grow from layer to layer.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma3nForCausalLM, Gemma3nTextConfig

LAYERS = 30
SPARSE = 10
OWN_KEYS_VALUES = 20


def write(smaller, folder):
    """Write the model and its golden logits."""
    whole = json.loads((smaller / "config.json").read_text())
    settings = whole["text_config"] | {
        "num_hidden_layers": LAYERS,
        "num_kv_shared_layers": LAYERS - OWN_KEYS_VALUES,
        "hidden_size_per_layer_input": 256,
        "laurel_rank": 64,
        "intermediate_size": [2048] * LAYERS,
        "activation_sparsity_pattern": [0.95] * SPARSE + [0.0] * (LAYERS - SPARSE),
        "layer_types": [
            "full_attention" if layer % 5 == 4 else "sliding_attention" for layer in range(LAYERS)
        ],
        "final_logit_softcapping": 30.0,
        "dtype": "float32",
    }
    model = Gemma3nForCausalLM(Gemma3nTextConfig(**settings)).eval().float()
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=random)
            if weight.ndim > 1:
                weight.copy_(noise * (0.12 if "embed" in name else weight.shape[-1] ** -0.5))
            elif "norm" in name:
                weight.copy_((0.15 if "post" in name else 1) * (1 + 0.1 * noise))
        ids = load_file(smaller / "golden.safetensors")["ids"]
        logits = model(ids[None]).logits[0]
    tensors = {
        name.replace("model.", "model.language_model.", 1): weight.contiguous()
        for name, weight in model.state_dict().items()
        if name != "lm_head.weight"
    }
    # Published files hold keys and values of layers that borrow them, and llama.cpp wants them.
    for layer in range(OWN_KEYS_VALUES, LAYERS):
        for part in ("k_proj", "v_proj", "k_norm"):
            name = f"model.language_model.layers.{{}}.self_attn.{part}.weight"
            tensors[name.format(layer)] = tensors[name.format(layer - 5)].clone()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    save_file({"ids": ids, "logits": logits.contiguous()}, folder / "golden.safetensors")
    (folder / "config.json").write_text(json.dumps(whole | {"text_config": settings}, indent=1))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(smaller / name, folder / name)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
