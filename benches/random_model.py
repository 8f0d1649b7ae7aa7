"""Write a GGUF model with random weights in the shape of a known model, to measure its speed.

python benches/random_model.py gpt2-medium q4_k_m model.gguf --vocabulary-of smollm2.gguf
(needs `pip install gguf`; the vocabulary is copied from another file and padded to the right size)
"""

import argparse
import functools

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Q


def blocks(rng, rows, columns, kind):
    """Random blocks of roughly normal weights with a standard deviation of 0.02."""
    weights, size = gguf.GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (rows, columns // weights, size), dtype=np.uint8)
    # The byte offsets of each format's scales (and minimums), and their value for such weights.
    scales = {
        Q.Q8_0: [(0, 0.02 / 74)],
        Q.Q4_K: [(0, 0.02 / 4.6 / 31), (2, 0.02 * 1.6 / 31)],
        Q.Q5_K: [(0, 0.02 / 9.2 / 31), (2, 0.02 * 1.6 / 31)],
        Q.Q6_K: [(208, 0.02 / 18.5 / 74)],
        Q.IQ4_XS: [(0, 0.02 / 18.5 / 68)],
        Q.MXFP4: [],
    }[kind]
    for offset, scale in scales:
        data[:, :, offset : offset + 2] = np.frombuffer(np.float16(scale).tobytes(), np.uint8)
    if kind == Q.MXFP4:
        # Powers of two: 2^-8 times halves of up to 12, whose standard deviation is 6.
        data[:, :, 0] = 128 - 8
    return data.reshape(rows, -1)


class Model:
    """A GGUF file that is being written."""

    def __init__(self, path, architecture, seed):
        """Name the file."""
        self.path = path
        self.writer = gguf.GGUFWriter(None, architecture)
        self.rng = np.random.default_rng(seed)
        # What makes the tensors, one at a time when they are written.
        self.makers = []

    def _add(self, name, shape, kind, make):
        dtype = np.dtype(np.float32 if kind is None else np.uint8)
        size = dtype.itemsize * int(np.prod(shape))
        self.writer.add_tensor_info(name, shape, dtype, size, raw_dtype=kind)
        self.makers.append(make)

    def matrix(self, name, rows, columns, kind):
        """Add a random matrix [rows, columns]."""
        shape = gguf.quant_shape_to_byte_shape((rows, columns), kind)
        make = functools.partial(blocks, self.rng, rows, columns, kind)
        self._add(f"{name}.weight", shape, kind, make)

    def experts(self, name, count, rows, columns, kind):
        """Add the random matrices [rows, columns] of a layer's experts."""
        shape = gguf.quant_shape_to_byte_shape((count, rows, columns), kind)
        make = functools.partial(blocks, self.rng, count * rows, columns, kind)
        self._add(f"{name}.weight", shape, kind, make)

    def vector(self, name, values):
        """Add a vector of f32 values."""
        values = values.astype(np.float32)
        self._add(name, values.shape, None, lambda: values)

    def vocabulary(self, source, size):
        """Add another file's tokens, padded to a size."""
        fields = gguf.GGUFReader(source).fields
        tokens = fields["tokenizer.ggml.tokens"].contents()
        types = fields["tokenizer.ggml.token_type"].contents()
        missing = size - len(tokens)
        assert missing >= 0, f"{source} has more than {size} tokens"
        writer = self.writer
        writer.add_tokenizer_model(fields["tokenizer.ggml.model"].contents())
        writer.add_tokenizer_pre(fields["tokenizer.ggml.pre"].contents())
        writer.add_token_list(tokens + [f"<unused{i}>" for i in range(missing)])
        writer.add_token_types(types + [5] * missing)
        writer.add_token_merges(fields["tokenizer.ggml.merges"].contents())
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)

    def write(self):
        """Write the file and close it."""
        self.writer.write_header_to_file(self.path)
        self.writer.write_kv_data_to_file()
        self.writer.write_ti_data_to_file()
        for make in self.makers:
            self.writer.write_tensor_data(make())
        self.writer.close()


def more_bits(layer, layers):
    """Whether llama.cpp's Q4_K_M uses six bits for this layer's value and down projections."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def gpt2_medium(path, kinds, vocabulary):
    """GPT-2 Medium."""
    width, layers, vocab = 1024, 24, 50257
    model = Model(path, "gpt2", seed=1)
    writer = model.writer
    writer.add_context_length(1024)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(4 * width)
    writer.add_head_count(16)
    writer.add_layer_norm_eps(1e-5)
    model.vocabulary(vocabulary, vocab)
    model.matrix("token_embd", vocab, width, kinds["head"])
    positions = model.rng.standard_normal((1024, width)) * 0.02
    model.vector("position_embd.weight", positions)
    ones, zeros = np.ones(width), np.zeros(width)
    for layer in range(layers):
        block = f"blk.{layer}"
        six = more_bits(layer, layers)
        for norm in ("attn_norm", "ffn_norm"):
            model.vector(f"{block}.{norm}.weight", ones)
            model.vector(f"{block}.{norm}.bias", zeros)
        for name, rows, columns, kind in (
            ("attn_qkv", 3 * width, width, kinds["qkv"]),
            ("attn_output", width, width, kinds["body"]),
            ("ffn_up", 4 * width, width, kinds["body"]),
            ("ffn_down", width, 4 * width, kinds["head"] if six else kinds["body"]),
        ):
            model.matrix(f"{block}.{name}", rows, columns, kind)
            model.vector(f"{block}.{name}.bias", np.zeros(rows))
    model.vector("output_norm.weight", ones)
    model.vector("output_norm.bias", zeros)
    model.write()


def llama_1b(path, kinds, vocabulary):
    """Llama-3.2-1B."""
    width, layers, vocab, hidden = 2048, 16, 128256, 8192
    shape = {"width": width, "heads": 32, "kv_heads": 8, "head": 64}
    model = Model(path, "llama", seed=2)
    writer = model.writer
    writer.add_context_length(8192)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(32)
    writer.add_head_count_kv(8)
    writer.add_rope_dimension_count(64)
    writer.add_rope_freq_base(500000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    model.vocabulary(vocabulary, vocab)
    model.matrix("token_embd", vocab, width, kinds["head"])
    for layer in range(layers):
        block = f"blk.{layer}"
        six = kinds["head"] if more_bits(layer, layers) else kinds["body"]
        model.vector(f"{block}.attn_norm.weight", np.ones(width))
        model.vector(f"{block}.ffn_norm.weight", np.ones(width))
        attention(model, block, shape, kinds, six)
        mlp(model, block, width, hidden, kinds, six)
    model.vector("output_norm.weight", np.ones(width))
    model.write()


def header(writer, shape, epsilon):
    """Write the sizes that every model has."""
    writer.add_context_length(8192)
    writer.add_embedding_length(shape["width"])
    writer.add_block_count(shape["layers"])
    writer.add_feed_forward_length(shape["hidden"])
    writer.add_head_count(shape["heads"])
    writer.add_key_length(shape["head"])
    writer.add_value_length(shape["head"])
    writer.add_rope_freq_base(1000000.0)
    writer.add_layer_norm_rms_eps(epsilon)


def attention(model, block, shape, kinds, six, is_gated=False):
    """Add the projections of an attention layer; a gate stands beside the queries."""
    width, attended = shape["width"], shape["heads"] * shape["head"]
    keys = shape["kv_heads"] * shape["head"]
    model.matrix(f"{block}.attn_q", attended * (1 + is_gated), width, kinds["body"])
    model.matrix(f"{block}.attn_k", keys, width, kinds["body"])
    model.matrix(f"{block}.attn_v", keys, width, six)
    model.matrix(f"{block}.attn_output", width, attended, kinds["body"])


def mlp(model, block, width, hidden, kinds, six, suffix=""):
    """Add a gated MLP."""
    model.matrix(f"{block}.ffn_gate{suffix}", hidden, width, kinds["body"])
    model.matrix(f"{block}.ffn_up{suffix}", hidden, width, kinds["body"])
    model.matrix(f"{block}.ffn_down{suffix}", width, hidden, six)


def mixture(model, block, shape, kinds, six):
    """Add the experts of a layer, and their router."""
    width, hidden, count = shape["width"], shape["expert"], shape["experts"]
    model.vector(f"{block}.ffn_gate_inp.weight", model.rng.standard_normal((count, width)) * 0.1)
    model.experts(f"{block}.ffn_gate_exps", count, hidden, width, kinds["body"])
    model.experts(f"{block}.ffn_up_exps", count, hidden, width, kinds["body"])
    model.experts(f"{block}.ffn_down_exps", count, width, hidden, six)
    if shape["architecture"] == "lfm2moe":
        model.vector(f"{block}.exp_probs_b.bias", np.zeros(count))


def gpt_oss_20b(path, kinds, vocabulary):
    """gpt-oss-20b."""
    width, layers, heads, experts = 2880, 24, 64, 32
    shape = {
        "width": width,
        "layers": layers,
        "hidden": width,
        "heads": heads,
        "kv_heads": 8,
        "head": 64,
    }
    model = Model(path, "gpt-oss", seed=5)
    writer = model.writer
    header(writer, shape, 1e-5)
    writer.add_head_count_kv(8)
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(32.0)
    writer.add_rope_scaling_orig_ctx_len(4096)
    writer.add_sliding_window(128)
    writer.add_expert_count(experts)
    writer.add_expert_used_count(4)
    writer.add_expert_feed_forward_length(width)
    model.vocabulary(vocabulary, 201088)
    model.matrix("token_embd", 201088, width, kinds["head"])
    others = kinds | {"body": kinds["qkv"]}
    for layer in range(layers):
        block = f"blk.{layer}"
        model.vector(f"{block}.attn_norm.weight", np.ones(width))
        model.vector(f"{block}.post_attention_norm.weight", np.ones(width))
        attention(model, block, shape, others, kinds["qkv"])
        for name, rows in (("q", 64 * 64), ("k", 8 * 64), ("v", 8 * 64), ("output", width)):
            model.vector(f"{block}.attn_{name}.bias", np.zeros(rows))
        model.vector(f"{block}.attn_sinks.weight", np.zeros(heads))
        model.vector(f"{block}.ffn_gate_inp.weight", model.rng.standard_normal((experts, width)))
        model.vector(f"{block}.ffn_gate_inp.bias", np.zeros(experts))
        for name in ("gate", "up", "down"):
            model.experts(f"{block}.ffn_{name}_exps", experts, width, width, kinds["body"])
            model.vector(f"{block}.ffn_{name}_exps.bias", np.zeros((experts, width)))
    model.vector("output_norm.weight", np.ones(width))
    model.matrix("output", 201088, width, kinds["head"])
    model.write()


def later(path, kinds, vocabulary, shape):
    """A model of a family with experts, convolutions, or both."""
    width, layers = shape["width"], shape["layers"]
    head, kv_heads, dense = shape["head"], shape["kv_heads"], shape.get("dense", 0)
    convolved = [layer not in shape.get("attention", range(layers)) for layer in range(layers)]
    architecture = shape["architecture"]
    model = Model(path, architecture, seed=3)
    writer = model.writer
    header(writer, shape, 1e-5)
    writer.add_head_count_kv([0 if is_conv else kv_heads for is_conv in convolved])
    writer.add_rope_dimension_count(head)
    if any(convolved):
        writer.add_shortconv_l_cache(3)
    if "experts" in shape:
        writer.add_expert_count(shape["experts"])
        writer.add_expert_used_count(shape["chosen"])
        writer.add_expert_feed_forward_length(shape["expert"])
        writer.add_leading_dense_block_count(dense)
        sigmoid, softmax = gguf.ExpertGatingFuncType.SIGMOID, gguf.ExpertGatingFuncType.SOFTMAX
        writer.add_expert_gating_func(sigmoid if architecture == "lfm2moe" else softmax)
    model.vocabulary(vocabulary, shape["vocabulary"])
    model.matrix("token_embd", shape["vocabulary"], width, kinds["head"])
    for layer in range(layers):
        block = f"blk.{layer}"
        six = kinds["head"] if more_bits(layer, layers) else kinds["body"]
        model.vector(f"{block}.attn_norm.weight", np.ones(width))
        model.vector(f"{block}.ffn_norm.weight", np.ones(width))
        if convolved[layer]:
            model.matrix(f"{block}.shortconv.in_proj", 3 * width, width, kinds["body"])
            model.vector(f"{block}.shortconv.conv.weight", model.rng.standard_normal((width, 3)))
            model.matrix(f"{block}.shortconv.out_proj", width, width, kinds["body"])
        else:
            attention(model, block, shape, kinds, six)
            normed = (head, head)
            if architecture == "olmoe":
                normed = (shape["heads"] * head, kv_heads * head)
            model.vector(f"{block}.attn_q_norm.weight", np.ones(normed[0]))
            model.vector(f"{block}.attn_k_norm.weight", np.ones(normed[1]))
        if "experts" in shape and layer >= dense:
            mixture(model, block, shape, kinds, six)
            continue
        mlp(model, block, width, shape["hidden"], kinds, six)
    if shape.get("own_head"):
        model.matrix("output", shape["vocabulary"], width, kinds["head"])
    norm = "token_embd_norm" if any(convolved) else "output_norm"
    model.vector(f"{norm}.weight", np.ones(width))
    model.write()


def recurrent(path, kinds, vocabulary, shape):
    """A model most of whose layers are delta nets (Qwen3.5) or state spaces (Granite 4)."""
    width, layers = shape["width"], shape["layers"]
    head, kv_heads, architecture = shape["head"], shape["kv_heads"], shape["architecture"]
    is_delta = architecture == "qwen35"
    # A layer that predicts further tokens comes after the others.
    further = shape.get("further", 0)
    layers += further
    is_attention = [
        layer in shape["attention"] or layer >= layers - further for layer in range(layers)
    ]
    groups, state, inner, steps = (shape[key] for key in ("groups", "state", "inner", "steps"))
    model = Model(path, architecture, seed=4)
    writer = model.writer
    header(writer, shape | {"layers": layers}, 1e-6)
    if further:
        writer.add_nextn_predict_layers(further)
    writer.add_ssm_conv_kernel(4)
    writer.add_ssm_state_size(state)
    writer.add_ssm_group_count(groups)
    writer.add_ssm_time_step_rank(steps)
    writer.add_ssm_inner_size(inner)
    if is_delta:
        writer.add_head_count_kv(kv_heads)
        writer.add_rope_dimension_count(head // 4)
        writer.add_rope_dimension_sections([11, 11, 10, 0])
        writer.add_full_attention_interval(4)
    else:
        writer.add_head_count_kv([kv_heads if own else 0 for own in is_attention])
        writer.add_rope_dimension_count(head)
        writer.add_rope_scaling_finetuned(False)
        writer.add_attention_scale(head**-0.5)
        writer.add_embedding_scale(12.0)
        writer.add_residual_scale(0.22)
        writer.add_logit_scale(6.0)
        writer.add_vocab_size(shape["vocabulary"])
        writer.add_expert_count(shape["experts"])
        writer.add_expert_used_count(shape["chosen"])
        writer.add_expert_shared_feed_forward_length(shape["shared"])
    model.vocabulary(vocabulary, shape["vocabulary"])
    model.matrix("token_embd", shape["vocabulary"], width, kinds["head"])
    channels = inner + 2 * groups * state
    normal = model.rng.standard_normal
    for layer in range(layers):
        block = f"blk.{layer}"
        six = kinds["head"] if more_bits(layer, layers) else kinds["body"]
        model.vector(f"{block}.attn_norm.weight", np.ones(width))
        norm = "post_attention_norm" if is_delta else "ffn_norm"
        model.vector(f"{block}.{norm}.weight", np.ones(width))
        if is_attention[layer]:
            attention(model, block, shape, kinds, six, is_gated=is_delta)
            if is_delta:
                model.vector(f"{block}.attn_q_norm.weight", np.ones(head))
                model.vector(f"{block}.attn_k_norm.weight", np.ones(head))
        else:
            model.vector(f"{block}.ssm_conv1d.weight", normal((channels, 4)) * 0.5)
            model.vector(f"{block}.ssm_dt.bias", normal(steps))
            model.matrix(f"{block}.ssm_out", width, inner, kinds["body"])
            if is_delta:
                model.vector(f"{block}.ssm_a", -np.exp(normal(steps)))
                model.vector(f"{block}.ssm_norm.weight", np.ones(inner // steps))
                model.matrix(f"{block}.attn_qkv", channels, width, kinds["body"])
                model.matrix(f"{block}.attn_gate", inner, width, kinds["body"])
                model.matrix(f"{block}.ssm_alpha", steps, width, Q.Q8_0)
                model.matrix(f"{block}.ssm_beta", steps, width, Q.Q8_0)
            else:
                model.vector(f"{block}.ssm_a", -np.exp(normal((steps, 1))))
                model.vector(f"{block}.ssm_d", normal((steps, 1)))
                model.vector(f"{block}.ssm_conv1d.bias", normal(channels))
                model.vector(f"{block}.ssm_norm.weight", np.ones((groups, inner // groups)))
                model.matrix(f"{block}.ssm_in", inner + channels + steps, width, kinds["body"])
        if is_delta:
            mlp(model, block, width, shape["hidden"], kinds, six)
        else:
            mixture(model, block, shape | {"expert": shape["hidden"]}, kinds, six)
            mlp(model, block, width, shape["shared"], kinds, six, suffix="_shexp")
    for layer in range(layers - further, layers):
        block = f"blk.{layer}.nextn"
        model.matrix(f"{block}.eh_proj", width, 2 * width, Q.Q8_0)
        for norm in ("enorm", "hnorm", "shared_head_norm"):
            model.vector(f"{block}.{norm}.weight", np.ones(width))
    model.vector("output_norm.weight", np.ones(width))
    model.write()


QWEN3_5 = {"architecture": "qwen35", "head": 256, "vocabulary": 248320, "groups": 16, "state": 128}
RECURRENT = {
    "qwen3.5-0.8b": QWEN3_5
    | {
        "width": 1024,
        "layers": 24,
        "hidden": 3584,
        "heads": 8,
        "kv_heads": 2,
        "attention": range(3, 24, 4),
        "steps": 16,
        "inner": 2048,
    },
    "qwen3.5-4b": QWEN3_5
    | {
        "width": 2560,
        "layers": 32,
        "hidden": 9216,
        "heads": 16,
        "kv_heads": 4,
        "attention": range(3, 32, 4),
        "steps": 32,
        "inner": 4096,
    },
    "granite-4-tiny": {
        "architecture": "granitehybrid",
        "width": 1536,
        "layers": 40,
        "hidden": 512,
        "heads": 12,
        "kv_heads": 4,
        "head": 128,
        "vocabulary": 100352,
        "attention": [5, 15, 25, 35],
        "groups": 1,
        "state": 128,
        "steps": 48,
        "inner": 3072,
        "experts": 64,
        "chosen": 6,
        "shared": 1024,
    },
}
RECURRENT |= {
    f"{name}-mtp": RECURRENT[name] | {"further": 1} for name in ("qwen3.5-0.8b", "qwen3.5-4b")
}
LFM2 = {"width": 2048, "heads": 32, "kv_heads": 8, "head": 64, "vocabulary": 65536}
LATER = {
    "lfm2-1.2b": LFM2
    | {
        "architecture": "lfm2",
        "layers": 16,
        "hidden": 8192,
        "attention": [2, 5, 8, 10, 12, 14],
    },
    "lfm2-8b-a1b": LFM2
    | {
        "architecture": "lfm2moe",
        "layers": 24,
        "hidden": 7168,
        "attention": [2, 6, 10, 14, 18, 21],
        "experts": 32,
        "chosen": 4,
        "expert": 1792,
        "dense": 2,
    },
    "olmoe-1b-7b": {
        "architecture": "olmoe",
        "width": 2048,
        "layers": 16,
        "heads": 16,
        "kv_heads": 16,
        "head": 128,
        "hidden": 1024,
        "vocabulary": 50304,
        "experts": 64,
        "chosen": 8,
        "expert": 1024,
        "own_head": True,
    },
    "qwen3-30b-a3b": {
        "architecture": "qwen3moe",
        "width": 2048,
        "layers": 48,
        "heads": 32,
        "kv_heads": 4,
        "head": 128,
        "hidden": 6144,
        "vocabulary": 151936,
        "experts": 128,
        "chosen": 8,
        "expert": 768,
        "own_head": True,
    },
}
SHAPES = (
    {"gpt2-medium": gpt2_medium, "gpt-oss-20b": gpt_oss_20b, "llama-3.2-1b": llama_1b}
    | {name: functools.partial(later, shape=shape) for name, shape in LATER.items()}
    | {name: functools.partial(recurrent, shape=shape) for name, shape in RECURRENT.items()}
)
FORMATS = {
    "q4_k_m": {"body": Q.Q4_K, "qkv": Q.Q5_K, "head": Q.Q6_K},
    "q8_0": {"body": Q.Q8_0, "qkv": Q.Q8_0, "head": Q.Q8_0},
    "iq4_xs": {"body": Q.IQ4_XS, "qkv": Q.Q5_K, "head": Q.Q6_K},
    "mxfp4": {"body": Q.MXFP4, "qkv": Q.Q8_0, "head": Q.Q8_0},
}


def main():
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("format", choices=FORMATS)
    parser.add_argument("file")
    parser.add_argument("--vocabulary-of", required=True, metavar="GGUF")
    arguments = parser.parse_args()
    SHAPES[arguments.shape](arguments.file, FORMATS[arguments.format], arguments.vocabulary_of)


if __name__ == "__main__":
    main()
