"""What transformers takes for keys that a config.json leaves out.

Needs `pip install transformers`. For each family, from its configuration class: the fields that the
reader of config.json knows, as far as they don't follow from others, for the reader; and all that
is written of a configuration made from nothing, for its tests (config_defaults.json).

    python3 tests/data/make_config_defaults.py
"""

import dataclasses
import json
import re
from pathlib import Path

from transformers import AutoConfig, PretrainedConfig

ARCHITECTURE = Path(__file__).parents[2] / "src" / "architecture"
READER = [ARCHITECTURE / "keys.rs", ARCHITECTURE / "config_json.rs"]
READER += [ARCHITECTURE / "config_json" / name for name in ["config.rs", "ropes.rs"]]


def families() -> list[str]:
    """The first `model_type` of each row of the table of families."""
    rows = [file.read_text() for file in sorted((ARCHITECTURE / "presets").glob("*.rs"))]
    return sorted(re.findall(r'model_types: &\["(\w+)"', "\n".join(rows)))


def known_keys() -> set[str]:
    """All words that the reader of config.json names."""
    return {word for file in READER for word in re.findall(r'"(\w+)"', file.read_text())}


def defaults(config: PretrainedConfig, keys: set[str]) -> dict[str, object]:
    """The defaults of a configuration class, of which this is an instance made from nothing."""
    fields = {field.name: field.default for field in dataclasses.fields(config)}
    found = {
        name: value
        for name, value in fields.items()
        if name in keys and isinstance(value, bool | int | float | str)
    }
    # An untied head that is not there is the embedding: some files leave this out where it is true.
    if not found.get("tie_word_embeddings"):
        found.pop("tie_word_embeddings", None)
    for name in ["rope_parameters", "num_nextn_predict_layers"]:
        if getattr(config, name, None):
            found[name] = getattr(config, name)
    layers = config.num_hidden_layers
    pattern = (["linear_attention"] * 3 + ["full_attention"]) * (layers // 4)
    if "linear_num_key_heads" in fields and config.layer_types == pattern:
        found["full_attention_interval"] = 4
    types = getattr(config, "mlp_layer_types", None)
    if types == ["dense"] + ["sparse"] * (layers - 1):
        found["first_k_dense_replace"] = 1
    return found


def main() -> None:
    """Writes both files."""
    keys = known_keys()
    table, written = {}, {}
    for family in families():
        config = AutoConfig.for_model(family).get_text_config()
        table[family] = dict(sorted(defaults(config, keys).items()))
        fields = json.loads(config.to_json_string(use_diff=False))
        written[family] = {name: fields[name] for name in sorted(keys & fields.keys())}
    text = json.dumps(table, indent=1)
    (ARCHITECTURE / "config_json" / "defaults.json").write_text(text + "\n")
    # A line a family.
    lines = [f"{json.dumps(family)}: {json.dumps(written[family])}" for family in written]
    text = ",\n".join(lines)
    Path(__file__).with_name("config_defaults.json").write_text(f"{{\n{text}\n}}\n")


if __name__ == "__main__":
    main()
