"""Torch models of transformers: the ids are those of its own generate."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import PAIR
from specdec_rs import InvalidConfig

NEEDS = "no transformers: pip install torch transformers"
torch = pytest.importorskip("torch", reason=NEEDS)
transformers = pytest.importorskip("transformers", reason=NEEDS)

from specdec_rs.integrations.transformers import (  # noqa: E402
    TransformersDecoder,
    TransformersModel,
)

# Both libraries warn about themselves. Warnings of ours stay errors.
pytestmark = pytest.mark.filterwarnings("ignore", "error:::specdec_rs", "error:::test_transformers")

SIZES = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 0,
    "pad_token_id": 0,
    # Large enough for clear choices between tokens.
    "initializer_range": 0.1,
}
WINDOW = {"sliding_window": 8, "sliding_window_pattern": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "gpt2": {"n_embd": 64, "n_layer": 4, "n_head": 4, "n_positions": 256},
    "gemma": {},
    "gemma3_text": WINDOW,
    "mistral": WINDOW,
    "mixtral": {"num_local_experts": 4},
}
# What saves time differs from run to run. Every step drafts, so that each run is the same.
FIXED: dict[str, Any] = {"gamma": 6, "adaptive": False}
PROMPTS = [
    "You may copy",
    "the software is provided as is, without warranty of any kind; the software is provided",
    "one two one two one two one",
]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return transformers.AutoTokenizer.from_pretrained(PAIR / "target")


def model(family: str, noise: float = 0.0, **changes: Any) -> Any:
    """Make a random model; with some noise, one that mostly agrees with it."""
    sizes = {**SIZES, **FAMILIES.get(family, {}), **changes}
    config = transformers.AutoConfig.for_model(family, **sizes)
    torch.manual_seed(0)
    made = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weights in made.parameters():
            weights += noise * weights.std(correction=0) * torch.randn_like(weights)
    return made


@pytest.fixture(scope="module")
def llama() -> Any:
    return model("llama")


@pytest.fixture(scope="module")
def fast(llama: Any, tokenizer: Any) -> TransformersDecoder:
    return TransformersDecoder(llama, "ngram", tokenizer, **FIXED)


def padded(tokenizer: Any) -> Any:
    tokenizer.pad_token, tokenizer.padding_side = tokenizer.eos_token, "left"
    return tokenizer(PROMPTS, return_tensors="pt", padding=True, return_token_type_ids=False)


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_ids_are_those_of_transformers(family: str, tokenizer: Any) -> None:
    target = model(family)
    prompts = [tokenizer(prompt, return_tensors="pt") for prompt in PROMPTS]
    expected = [target.generate(**prompt, max_new_tokens=60) for prompt in prompts]
    for draft in (None, "none", "ngram", model(family, noise=0.02)):
        decoder = TransformersDecoder(target, draft, tokenizer, **FIXED)
        accepted = 0
        for prompt, ids in zip(prompts, expected, strict=True):
            assert torch.equal(decoder.generate(**prompt, max_new_tokens=60), ids)
            assert [stats.new_tokens for stats in decoder.stats] == [60]
            accepted += decoder.stats[0].accepted
        assert (accepted > 0) == (draft != "none")


def test_several_prompts_and_answers_that_end_early(
    fast: TransformersDecoder, llama: Any, tokenizer: Any
) -> None:
    inputs = padded(tokenizer)
    ids = llama.generate(**inputs, max_new_tokens=40)
    assert torch.equal(fast.generate(**inputs, max_new_tokens=40), ids)
    assert len(fast.stats) == len(PROMPTS)
    # Tokens in the middle of two of the answers end them.
    length = inputs["input_ids"].shape[1]
    ends = [int(ids[0, length + 9]), int(ids[1, length + 5])]
    ended = llama.generate(**inputs, max_new_tokens=40, eos_token_id=ends, pad_token_id=7)
    assert (ended[:, -1] == 7).any()
    answer = fast.generate(**inputs, max_new_tokens=40, eos_token_id=ends, pad_token_id=7)
    assert torch.equal(answer, ended)


class Second:
    """Stops after two tokens."""

    def __init__(self, length: int) -> None:
        self.length = length + 2

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        return torch.full((len(input_ids),), input_ids.shape[1] >= self.length)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"max_length": 50},
        {"max_new_tokens": 40, "repetition_penalty": 1.3},
        {"max_new_tokens": 40, "suppress_tokens": list(range(100, 400))},
        {"max_new_tokens": 40, "eos_token_id": list(range(100, 120))},
        {"max_new_tokens": 40, "do_sample": True, "top_k": 1},
        {"max_new_tokens": 40, "do_sample": True, "top_p": 1e-6},
        {"max_new_tokens": 40, "do_sample": True, "min_p": 1.0},
        {"max_new_tokens": 40, "temperature": None, "num_beams": 1},
    ],
    ids=json.dumps,
)
def test_settings(
    settings: dict[str, Any], fast: TransformersDecoder, llama: Any, tokenizer: Any
) -> None:
    inputs = tokenizer(PROMPTS[0], return_tensors="pt")
    expected = llama.generate(**inputs, **settings)
    assert torch.equal(fast.generate(**inputs, **settings), expected)
    config = transformers.GenerationConfig(**settings)
    assert torch.equal(fast.generate(inputs["input_ids"], config), expected)


def test_stop_strings_and_criteria(fast: TransformersDecoder, llama: Any, tokenizer: Any) -> None:
    inputs = tokenizer(PROMPTS[0], return_tensors="pt")
    length = inputs["input_ids"].shape[1]
    whole = llama.generate(**inputs, max_new_tokens=40)
    stop = tokenizer.decode(whole[0, length + 20 : length + 22])
    settings = {"max_new_tokens": 40, "stop_strings": [stop, "never"], "tokenizer": tokenizer}
    expected = llama.generate(**inputs, **settings)
    assert length < expected.shape[1] < whole.shape[1]
    assert torch.equal(fast.generate(**inputs, **settings), expected)
    config = transformers.GenerationConfig(max_new_tokens=40, stop_strings=stop)
    assert torch.equal(fast.generate(**inputs, generation_config=config), expected)
    assert config.stop_strings == stop
    ids = fast.generate(**inputs, stopping_criteria=[Second(length)])
    assert torch.equal(ids, whole[:, : length + 2])


def test_sampling_has_the_distribution_of_transformers(
    llama: Any, fast: TransformersDecoder, tokenizer: Any
) -> None:
    inputs = tokenizer(PROMPTS[0], return_tensors="pt")
    settings = {"do_sample": True, "temperature": 1.5, "top_k": 8, "max_new_tokens": 1}
    torch.manual_seed(1)
    ids = fast.generate(**inputs, **settings, num_return_sequences=500)
    assert ids.shape == (500, inputs["input_ids"].shape[1] + 1)
    logits = llama(**inputs).logits[0, -1] / 1.5
    best = logits.topk(8)
    expected = torch.zeros(512).scatter(0, best.indices, best.values.softmax(0))
    found = torch.bincount(ids[:, -1], minlength=512) / 500
    assert found[expected == 0].sum() == 0
    assert (found - expected).abs().sum() / 2 < 0.1


def test_torchs_seed_repeats_a_sample_whatever_the_draft(llama: Any, tokenizer: Any) -> None:
    inputs = padded(tokenizer)
    samples = []
    for draft in ("none", "ngram", model("llama", noise=0.02)):
        decoder = TransformersDecoder(llama, draft, tokenizer, **FIXED)
        torch.manual_seed(5)
        samples.append(decoder.generate(**inputs, do_sample=True, max_new_tokens=30))
    assert torch.equal(samples[0], samples[1])
    assert torch.equal(samples[0], samples[2])
    torch.manual_seed(6)
    assert not torch.equal(
        decoder.generate(**inputs, do_sample=True, max_new_tokens=30), samples[0]
    )


class Collected:
    """Keeps what it receives."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.ended = False

    def put(self, value: Any) -> None:
        self.ids += value.flatten().tolist()

    def end(self) -> None:
        self.ended = True


def test_a_streamer_receives_every_token(fast: TransformersDecoder, tokenizer: Any) -> None:
    streamer = Collected()
    ids = fast.generate(
        **tokenizer(PROMPTS[1], return_tensors="pt"), max_new_tokens=20, streamer=streamer
    )
    assert streamer.ids == ids[0].tolist()
    assert streamer.ended


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"num_beams": 2}, "num_beams=2"),
        ({"no_repeat_ngram_size": 2}, "no_repeat_ngram_size"),
        ({"min_new_tokens": 5}, "min_new_tokens"),
        ({"typical_p": 0.5, "do_sample": True}, "typical_p"),
        ({"bad_words_ids": [[5]]}, "bad_words_ids"),
        ({"guidance_scale": 2.0}, "guidance_scale"),
        ({"prompt_lookup_num_tokens": 3}, 'draft="ngram"'),
        ({"num_assistant_tokens": 3}, "num_assistant_tokens"),
        ({"output_scores": True}, "output_scores"),
        ({"return_dict_in_generate": True}, "return_dict_in_generate"),
        ({"use_cache": False}, "use_cache"),
        ({"cache_implementation": "static"}, "cache_implementation"),
        ({"temperature": 0.7}, "temperature=0.7 is not supported: it needs do_sample=True"),
        ({"top_p": 0.5}, "top_p=0.5"),
    ],
)
def test_fields_that_are_not_supported_are_named(
    settings: dict[str, Any], name: str, fast: TransformersDecoder
) -> None:
    ids = torch.tensor([[5, 6, 7]])
    with pytest.raises(ValueError, match=name):
        fast.generate(ids, **settings)
    with pytest.raises(ValueError, match=name):
        fast.generate(ids, transformers.GenerationConfig(**settings))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"assistant_model": object()}, "assistant_model is not supported: pass it"),
        ({"past_key_values": object()}, "past_key_values is not"),
        ({"logits_processor": [object()]}, "logits_processor is not"),
        ({"prefix_allowed_tokens_fn": print}, "prefix_allowed_tokens_fn is not"),
        ({"tokenizer": object()}, "tokenizer is not supported: pass it"),
        ({"max_new_tokens": 10000}, "do not fit the context of 256 tokens"),
        ({"attention_mask": torch.tensor([[1, 1, 0]])}, "only padding on the left"),
        ({"temperatur": 1}, "temperatur"),
    ],
)
def test_arguments_that_are_not_supported_are_named(
    arguments: dict[str, Any], message: str, fast: TransformersDecoder
) -> None:
    with pytest.raises(ValueError, match=message):
        fast.generate(torch.tensor([[5, 6, 7]]), **arguments)


def refused(family: str, **changes: Any) -> Callable[[], Any]:
    return lambda: TransformersModel(model(family, **changes))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (refused("mamba"), "MambaForCausalLM has recurrent layers"),
        (
            refused("lfm2", layer_types=["conv", "full_attention"] * 2),
            "Lfm2ForCausalLM (has a cache of LinearAttentionLayer|does not compute with)",
        ),
        (lambda: TransformersModel(model("llama").train()), "LlamaForCausalLM is in training mode"),
        (
            lambda: TransformersModel(
                transformers.T5ForConditionalGeneration(
                    transformers.T5Config(vocab_size=512, d_model=16, d_ff=16, num_layers=1)
                )
            ),
            "T5ForConditionalGeneration is an encoder-decoder",
        ),
    ],
)
def test_models_that_cannot_be_rolled_back_are_refused(
    make: Callable[[], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_drafts_that_cannot_be_used_are_refused(llama: Any, tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="fewer tokens than the tokenizer, 512"):
        TransformersDecoder(llama, model("qwen2", vocab_size=300), tokenizer)
    with pytest.raises(InvalidConfig, match="draft"):
        TransformersDecoder(llama, "nonsense", tokenizer)
    with pytest.raises(InvalidConfig, match="gamma"):
        TransformersDecoder(llama, None, tokenizer, gamma=1000)
    with pytest.raises(ValueError, match="not a fast one"):
        TransformersDecoder(llama, None, object())


def test_a_draft_with_a_longer_row_of_logits(llama: Any, tokenizer: Any) -> None:
    inputs = tokenizer(PROMPTS[0], return_tensors="pt")
    expected = llama.generate(**inputs, max_new_tokens=20)
    draft = model("qwen2", vocab_size=600)
    decoder = TransformersDecoder(llama, draft, tokenizer, **FIXED)
    assert torch.equal(decoder.generate(**inputs, max_new_tokens=20), expected)


def test_a_failed_pass_leaves_the_sequence_unchanged() -> None:
    target = model("llama")
    wrapped = TransformersModel(target)
    ids = np.arange(5, 25, dtype=np.uint32)
    expected = wrapped.extend(0, ids, 3)
    wrapped.extend(1, ids[:10], 0)

    def fail(*_: Any) -> None:
        raise MemoryError

    hook = target.model.layers[2].register_forward_hook(fail)
    with pytest.raises(MemoryError):
        wrapped.extend(1, ids[10:], 3)
    hook.remove()
    assert np.allclose(wrapped.extend(1, ids[10:], 3), expected, atol=1e-5)
    wrapped.truncate(1, 12)
    assert np.allclose(wrapped.extend(1, ids[12:], 3), expected, atol=1e-5)
    wrapped.free(1)
    wrapped.free(1)


def test_from_pretrained_loads_both_models_and_the_tokenizer() -> None:
    decoder = TransformersDecoder.from_pretrained(
        PAIR / "target", PAIR / "draft", context_length=200, **FIXED
    )
    inputs = decoder.tokenizer("You may copy", return_tensors="pt")
    target = transformers.AutoModelForCausalLM.from_pretrained(PAIR / "target", dtype="float32")
    expected = target.generate(**inputs, max_new_tokens=60)
    assert torch.equal(decoder.generate(**inputs, max_new_tokens=60), expected)
    assert decoder.stats[0].accepted > 0
    # The whole decoder speaks with the same model.
    answer = decoder.decoder.generate("You may copy", temperature=0, max_new_tokens=60)
    assert answer.tokens == expected[0, inputs["input_ids"].shape[1] :].tolist()
    assert decoder.decoder.info()["context_length"] == 200
