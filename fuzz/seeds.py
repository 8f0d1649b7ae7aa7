"""Writes the inputs that fuzzing starts from: corpus/TARGET, and the words in them: TARGET.dict.

They come from the tests' data and, where SPECDEC_SHARED names a folder with more models, from its
fixtures. Nothing but Python is needed.

    python3 fuzz/seeds.py [TARGET...]
"""

import collections
import json
import os
import re
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "tests" / "data"
SHARED = Path(os.environ["SPECDEC_SHARED"]) / "fixtures" if "SPECDEC_SHARED" in os.environ else None

#: A seed's name and its parts, which zero bytes divide.
Seed = tuple[str, list[bytes]]

#: Longer ones are left out: changes would be lost in them.
MAX_BYTES = 1 << 16

#: The most words of a dictionary.
MAX_WORDS = 400


def to_json(value: Any) -> bytes:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()


def folders(*names: str) -> Iterator[Path]:
    """The folders in DATA/NAME, and those of other names in the shared fixtures' NAME."""
    found: dict[str, Path] = {}
    for name in names:
        for place in (DATA / name, SHARED / name if SHARED else None):
            inside = sorted(place.iterdir()) if place and place.is_dir() else []
            found = {path.name: path for path in inside if path.is_dir()} | found
    yield from found.values()


def header(file: Path) -> dict[str, Any]:
    """The header of a safetensors file."""
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        return json.loads(opened.read(length))


def read(file: Path) -> bytes:
    """A file's content, or nothing if there is none."""
    return file.read_bytes() if file.is_file() else b""


# --- GGUF: what stands before the tensors' data


#: Bytes of the types of numbers.
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY = 8, 9


class Gguf:
    """Walks through a GGUF file's header."""

    def __init__(self, data: bytes) -> None:
        """Start at the counts."""
        self.data, self.at = data, 8

    def number(self, code: str) -> int:
        """Read a number."""
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return int(value)

    def text(self) -> str:
        """Read a string."""
        length = self.number("Q")
        self.at += length
        return self.data[self.at - length : self.at].decode(errors="replace")

    def skip(self, kind: int) -> None:
        """Skip a value."""
        if kind == STRING:
            self.text()
        elif kind == ARRAY:
            items, count = self.number("I"), self.number("Q")
            for _ in range(count):
                self.skip(items)
        else:
            self.at += SIZES[kind]

    def end(self) -> int:
        """The offset of the tensors' data."""
        tensors, entries = self.number("Q"), self.number("Q")
        for _ in range(entries):
            self.text()
            self.skip(self.number("I"))
        for _ in range(tensors):
            self.text()
            dimensions = self.number("I")
            self.at += 8 * dimensions + 4 + 8
        return -(-self.at // 32) * 32


def gguf() -> Iterator[Seed]:
    """Headers of every GGUF file."""
    for place in (DATA / "gguf", *([SHARED / "gguf", SHARED / "2026/gguf"] if SHARED else [])):
        for file in sorted(place.glob("*.gguf")):
            data = file.read_bytes()
            yield file.stem, [data[: Gguf(data).end()]]


# --- Files of folders in Hugging Face's layout


def split(tensors: dict[str, Any], file: str, names: list[str]) -> tuple[dict[str, str], bytes]:
    """Some tensors of a header as a file of their own: where the index has them, and its header."""
    end, own = 0, {}
    for name in names:
        start, stop = tensors[name]["data_offsets"]
        own[name] = tensors[name] | {"data_offsets": [end, end + stop - start]}
        end += stop - start
    return dict.fromkeys(names, file), to_json(own)


def safetensors() -> Iterator[Seed]:
    """Headers, a whole file, and an index of two files."""
    for folder in folders("pair", "hf", "2026/hf"):
        yield folder.name, [b"header", to_json(header(folder / "model.safetensors"))]
    small = {"a": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}}
    small["b"] = {"dtype": "I64", "shape": [1], "data_offsets": [8, 16]}
    text = to_json({"__metadata__": {"format": "pt"}} | small)
    yield "whole", [b"file", struct.pack("<Q", len(text)) + text + bytes(16)]
    tensors = header(DATA / "pair/draft/model.safetensors")
    tensors.pop("__metadata__", None)
    names = sorted(tensors, key=lambda name: tensors[name]["data_offsets"])
    first, one = split(tensors, "1.safetensors", names[:5])
    second, two = split(tensors, "2.safetensors", names[5:])
    yield "index", [to_json({"metadata": {}, "weight_map": first | second}), one, two]


def pickle() -> Iterator[Seed]:
    """The descriptions that torch.save wrote."""
    for file in sorted((DATA / "pickled").glob("*.bin")):
        with zipfile.ZipFile(file) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            yield file.stem, [archive.read(name)]


def config() -> Iterator[Seed]:
    """The configurations of every architecture."""
    generation = {"temperature": 0.7, "top_k": 20, "top_p": 0.9, "min_p": 0.1, "do_sample": True}
    generation |= {"max_new_tokens": 9, "repetition_penalty": 1.1, "eos_token_id": [0, 1]}
    for folder in folders("hf", "2026/hf"):
        value = json.loads(read(folder / "config.json"))
        own = read(folder / "generation_config.json") or to_json(generation)
        yield folder.name, [folder.name.encode(), to_json(value), own]


TEMPLATES = [
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{{ m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "{{ bos_token }}{%- set ns = namespace(n=0) -%}{%- for m in messages[1:] if m.role != 'tool' %}"
    "{%- set ns.n = ns.n + 1 %}{{ m.content.strip().split(' ')[0] | upper }}{{ ns.n }}"
    "{% endfor %}{{ eos_token }}",
    "{% macro show(x) %}[{{ x | tojson(indent=2) }}]{% endmacro %}{{ show(messages) }}"
    "{{ strftime_now('%d %b %Y') }}{% if messages | length > 9 %}"
    "{{ raise_exception('no') }}{% endif %}",
    "{% for m in messages %}{% generation %}{{ m.content | trim | replace('a', 'b') }}"
    "{% endgeneration %}{% if loop.last %}{{ '{:>8}|{}'.format(m.role, loop.index0) }}{% endif %}"
    "{{ m.content is string }}{{ m.content[::-1] ~ [m.role] * 3 }}{% endfor %}",
]

CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Is 1 < 2?"}]},
    {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]},
    {"role": "user", "content": 'Why "so"?'},
]


def tokenizers() -> Iterator[dict[str, Any]]:
    """Small tokenizers of every algorithm."""
    letters = [*"abcdefghijklmnopqrstuvwxyz <>?!,.\u2581", "th", "the", "\u2581a", "<0x0A>", "##b"]
    vocabulary = {text: index for index, text in enumerate(["<unk>", "<s>", "</s>", *letters])}
    special = {"single_word": False, "lstrip": False, "rstrip": True, "normalized": False}
    added = [
        {"id": vocabulary[text], "content": text, "special": True} | special
        for text in ("<unk>", "<s>", "</s>")
    ]
    start = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    template = {
        "type": "TemplateProcessing",
        "single": start,
        "pair": start,
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    back = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
    words = {"type": "Split", "pattern": {"Regex": "\\w+|[^\\w\\s]+"}, "behavior": "Isolated"}
    isolated = words | {"invert": False}
    bpe = {"type": "BPE", "unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True}
    bpe |= {"vocab": vocabulary, "merges": [["t", "h"], ["th", "e"]]}
    unigram = {"type": "Unigram", "unk_id": 0, "byte_fallback": False}
    unigram["vocab"] = [[text, -float(index)] for text, index in vocabulary.items()]
    word_piece = {"type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "##"}
    word_piece |= {"max_input_chars_per_word": 100, "vocab": vocabulary}
    level = {"type": "WordLevel", "unk_token": "<unk>", "vocab": vocabulary}
    prepend = {"type": "Prepend", "prepend": "\u2581"}
    decoders = [back, {"type": "ByteFallback"}, {"type": "Fuse"}]
    decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    common = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added}
    for model, normalizer, pre, decoder in [
        (
            bpe,
            {"type": "Sequence", "normalizers": [prepend, replace]},
            None,
            {"type": "Sequence", "decoders": decoders},
        ),
        (
            unigram,
            {"type": "NFKC"},
            {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"},
            {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"},
        ),
        (
            word_piece,
            {"type": "Lowercase"},
            {"type": "BertPreTokenizer"},
            {"type": "WordPiece", "prefix": "##", "cleanup": True},
        ),
        (level, None, {"type": "Sequence", "pretokenizers": [isolated]}, None),
    ]:
        parts = {"normalizer": normalizer, "pre_tokenizer": pre, "decoder": decoder}
        yield common | parts | {"post_processor": template, "model": model}


def tokenizer() -> Iterator[Seed]:
    """Small tokenizers with chat templates, and those of the models."""
    settings = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": True}
    text = "The cat, a hat.\n\u00fc\U0001f600</s> b".encode()
    for index, (value, template) in enumerate(zip(tokenizers(), TEMPLATES, strict=True)):
        own = settings | {"chat_template": template}
        yield str(index), [to_json(value), to_json(own), to_json(CONVERSATION), text]
        yield f"{index}-grammar", [to_json(value), to_json(own), to_json(CONVERSATION), b"{}"]
    for folder in folders("pair", "hf"):
        own = json.loads(read(folder / "tokenizer_config.json")) | {"chat_template": TEMPLATES[0]}
        value = json.loads(read(folder / "tokenizer.json"))
        yield folder.name, [to_json(value), to_json(own), to_json(CONVERSATION), text]


def head() -> Iterator[Seed]:
    """Heads of EAGLE and EAGLE-3 for the pair's target, and other published ones."""
    hidden, width, vocabulary = 128, 96, 200

    def tensors(shapes: dict[str, list[int]], table: int = 0) -> bytes:
        end, own = 0, {}
        for name, shape in shapes.items():
            size = 4
            for length in shape:
                size *= length
            own[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
            end += size
        if table:
            offsets = [end, end + 8 * table]
            own["d2t"] = {"dtype": "I64", "shape": [table], "data_offsets": offsets}
        return to_json(own)

    value = {"model_type": "llama", "hidden_size": hidden, "intermediate_size": width}
    value |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}
    value |= {"num_hidden_layers": 1, "rms_norm_eps": 1e-5, "rope_theta": 1e4}
    value |= {"hidden_act": "silu", "vocab_size": 512, "draft_vocab_size": vocabulary}
    value |= {"max_position_embeddings": 1024}
    for third in (False, True):
        layer, inputs = ("midlayer", 2 * hidden) if third else ("layers.0", hidden)
        shapes = {
            "fc.weight": [hidden, (3 if third else 2) * hidden],
            f"{layer}.self_attn.q_proj.weight": [128, inputs],
            f"{layer}.self_attn.k_proj.weight": [64, inputs],
            f"{layer}.self_attn.v_proj.weight": [64, inputs],
            f"{layer}.self_attn.o_proj.weight": [hidden, 128],
            f"{layer}.mlp.gate_proj.weight": [width, hidden],
            f"{layer}.mlp.up_proj.weight": [width, hidden],
            f"{layer}.mlp.down_proj.weight": [hidden, width],
            f"{layer}.post_attention_layernorm.weight": [hidden],
        }
        if third:
            shapes |= {
                f"{layer}.input_layernorm.weight": [hidden],
                f"{layer}.hidden_norm.weight": [hidden],
                "norm.weight": [hidden],
                "lm_head.weight": [vocabulary, hidden],
            }
            own = value | {"eagle_config": {"eagle_aux_hidden_state_layer_ids": [0, 1, 2]}}
            yield "eagle3-layers", [to_json(own), tensors(shapes)]
            yield "eagle3-table", [to_json(value), tensors(shapes, vocabulary)]
        else:
            yield "eagle", [to_json(value), tensors(shapes | {"fc.bias": [hidden]})]
    for folder in folders("2026/heads"):
        own = to_json(json.loads(read(folder / "config.json")))
        yield folder.name, [own, to_json(header(folder / "model.safetensors"))]


def table() -> Iterator[Seed]:
    """Tables of no, one and three entries."""
    for count in (0, 1, 3):
        start = b"specdec table 1\n" + struct.pack("<QQ", 0x0102030405060708, count)
        entries = [
            struct.pack("<Q4I4HI", 77 + index, 1, 2, 3, 4, 9, 5, 1, 0, 20) for index in range(count)
        ]
        yield str(count), [start + b"".join(entries)]


# --- What clients send

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8, "pattern": "^[a-z ]+$"},
        "age": {"type": "integer", "minimum": 0, "maximum": 130, "multipleOf": 2},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "maxItems": 2, "minItems": 1},
    },
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"tag": {"enum": ["the", 1, None, True]}},
}

FORMATS = [
    {"type": "json_object"},
    {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
    {
        "type": "json_schema",
        "schema": {"anyOf": [{"const": "a"}, {"allOf": [{"type": "number"}, {"minimum": 0.5}]}]},
    },
    {
        "type": "json_schema",
        "schema": {"oneOf": [{"format": "date"}, {"type": ["null", "boolean"]}]},
    },
    {"type": "regex", "regex": "(the|a) [a-z]{2,5}"},
]

REGEXES = ["(ab|c)*d?", "[^q]+[0-9]{1,3}", "(.|\\n){0,8}end", "\\w+ of (\\d|x)+", "a(?:b|)c.*"]

GRAMMARS = [
    'start: a (b | c)*\na: /[a-z]+/\nb: " " a\nc[max_tokens=3]: /.+/',
    'start: r0+\nr0[stop="e"]: /.*/\n',
    'start: x{1,3} %json {"type": "integer"}\nx[suffix="th"]: /.*/',
    'start: A B?\nA: "the" | "of"\nB[lazy]: /[^x]*x/\n%ignore / +/',
    '%llguidance {"no_forcing": true}\nstart: "a" start | "b"',
]


def format_() -> Iterator[Seed]:
    """Schemas, regular expressions and grammars."""
    texts = [to_json(value) for value in FORMATS]
    texts += [f"regex:{text}".encode() for text in REGEXES]
    texts += [f"lark:{text}".encode() for text in GRAMMARS]
    for index, text in enumerate(texts):
        yield str(index), [bytes([1 + index]), text]


def request() -> Iterator[Seed]:
    """Requests with every field."""
    sampling = {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "seed": 1, "n": 2}
    sampling |= {"max_tokens": 5, "stop": ["e", "th"], "logit_bias": {"5": -100, "7": 1.5}}
    sampling |= {"presence_penalty": 0.1, "frequency_penalty": 0.1, "repetition_penalty": 1.1}
    own = {"gamma": 4, "adaptive": False, "draft": "ngram", "verification": "block"}
    own |= {"return_tokens": True, "prediction": {"type": "content", "content": "copy this"}}
    own |= {"stream": True, "stream_options": {"include_usage": True}, "cache_salt": "x"}
    chat = {"model": "m", "messages": CONVERSATION[:2] + CONVERSATION[3:]}
    more = {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "low"}
    more |= {"add_generation_prompt": True, "continue_final_message": False, "documents": []}
    more |= {"logprobs": True, "top_logprobs": 2, "response_format": FORMATS[1], "tools": []}
    guided = {"guided_choice": ["the", "of"], "echo": True, "logprobs": 1, "ignore_eos": False}
    for name, path, body in [
        ("chat", "/v1/chat/completions", chat | sampling),
        ("chat-own", "/v1/chat/completions", chat | own),
        ("chat-more", "/v1/chat/completions", chat | more | {"max_completion_tokens": 5}),
        ("text", "/v1/completions", {"prompt": "You may copy"} | sampling),
        ("text-own", "/v1/completions", {"prompt": [[5, 6], [7]], "max_tokens": 3} | own),
        ("text-guided", "/v1/completions", {"prompt": ["a", "b"], "max_tokens": 3} | guided),
        ("text-regex", "/v1/completions", {"prompt": "a", "guided_regex": "[a-z]+"}),
        ("text-any", "/v1/completions", {"prompt": "a", "structured_outputs": {"json": SCHEMA}}),
        ("tokenize", "/tokenize", {"prompt": "You may", "add_special_tokens": True}),
        ("tokenize-chat", "/tokenize", {"messages": CONVERSATION, "add_generation_prompt": True}),
        ("detokenize", "/detokenize", {"tokens": [5, 6, 7]}),
    ]:
        yield name, [path.encode(), to_json(body)]


TARGETS: dict[str, Callable[[], Iterator[Seed]]] = {
    "gguf": gguf,
    "safetensors": safetensors,
    "pickle": pickle,
    "config": config,
    "tokenizer": tokenizer,
    "table": table,
    "request": request,
    "format": format_,
    "head": head,
}


def words(seeds: list[bytes]) -> Iterator[str]:
    """The most frequent words, as lines of libFuzzer's dictionaries."""
    found = collections.Counter(
        word.decode()
        for seed in seeds
        for word in re.findall(rb"[A-Za-z$%#][A-Za-z0-9_.-]{2,40}", seed)
    )
    for word, _ in found.most_common(MAX_WORDS):
        yield f'"{word}"'


def main() -> None:
    """Write the corpora of all targets, or of those that are named."""
    for target in sys.argv[1:] or TARGETS:
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        seeds = [(name, b"\0".join(parts)) for name, parts in TARGETS[target]()]
        seeds = [(name, seed) for name, seed in seeds if len(seed) <= MAX_BYTES]
        for name, seed in seeds:
            (folder / f"seed-{name}").write_bytes(seed)
        dictionary = HERE / "corpus" / f"{target}.dict"
        dictionary.write_text("".join(f"{line}\n" for line in words([seed for _, seed in seeds])))
        print(
            f"{target}: {len(seeds)} seeds of at most {max(len(seed) for _, seed in seeds)} bytes"
        )


if __name__ == "__main__":
    main()
