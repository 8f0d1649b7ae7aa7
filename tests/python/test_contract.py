"""The public names and their signatures."""

import inspect
from collections.abc import AsyncIterator, Coroutine, Iterator

import pytest
import specdec_rs
from specdec_rs import SpeculativeConfig, SpeculativeDecoder

SIGNATURES = {
    "SpeculativeDecoder": "(target, draft=None, *, lora=None, tokenizer=None, "
    "chat_template=None, device=None, dtype=None, quantize=None, kv_cache_dtype=None, "
    "revision=None, num_threads=None, context_length=None, table=None, corpus=None, kernels=None, "
    "progress=None)",
    "SpeculativeDecoder.from_pretrained": "(repo_id, filename=None, **kwargs)",
    "SpeculativeDecoder.with_models": "(target, draft, tokenizer)",
    "SpeculativeDecoder.generate": "(self, /, prompt, config=None, **overrides)",
    "SpeculativeDecoder.stream": "(self, /, prompt, config=None, **overrides)",
    "SpeculativeDecoder.generate_async": "(self, /, prompt, config=None, **overrides)",
    "SpeculativeDecoder.stream_async": "(self, /, prompt, config=None, **overrides)",
    "SpeculativeDecoder.generate_batch": "(self, /, prompts, config=None, **overrides)",
    **{
        f"SpeculativeDecoder.{name}": f"(self, /, {argument}, config=None, *, tools=None, "
        "chat_template_kwargs=None, **overrides)"
        for name, argument in {
            "chat": "messages",
            "stream_chat": "messages",
            "chat_async": "messages",
            "stream_chat_async": "messages",
            "chat_batch": "conversations",
        }.items()
    },
    "SpeculativeDecoder.chat_prompt": "(self, /, messages, *, tools=None, "
    "chat_template_kwargs=None, add_generation_prompt=None, continue_final_message=False)",
    "SpeculativeDecoder.logits": "(self, /, ids)",
    "SpeculativeDecoder.sequence": "(self, /, model='target')",
    "SpeculativeDecoder.info": "(self, /)",
    "Tokenizer.encode": "(self, /, text, add_special_tokens=True)",
    "Tokenizer.decode": "(self, /, ids, skip_special_tokens=True)",
    "Tokenizer.convert_ids_to_tokens": "(self, /, ids)",
    "Tokenizer.convert_tokens_to_ids": "(self, /, tokens)",
    "Tokenizer.apply_chat_template": "(self, /, messages, *, tokenize=True, "
    "add_generation_prompt=None, continue_final_message=False, tools=None, **kwargs)",
    "Sequence.extend": "(self, /, ids, rows=1)",
    "Sequence.extend_tree": "(self, /, ids, parents)",
    "Sequence.accept": "(self, /, path)",
    "Sequence.keep": "(self, /, path)",
    "Sequence.truncate": "(self, /, length)",
    "Sequence.fork": "(self, /)",
    "Audit": "(decoder)",
    "Audit.run": "(self, /, prompts, config=None, samples=32)",
    "Benchmark": "(decoder)",
    "Benchmark.run_comparison": "(self, /, prompt, config=None, num_runs=3)",
    "SpeculativeConfig": "(gamma=16, temperature=None, top_k=None, top_p=None, "
    "max_new_tokens=None, *, adaptive=True, min_p=None, repetition_penalty=None, "
    "presence_penalty=0.0, "
    "frequency_penalty=0.0, logit_bias=None, seed=None, stop=(), ignore_eos=False, "
    "logprobs=None, draft=None, verification='coupled', prediction=None, "
    "response_format=None)",
    "SpeculativeConfig.replace": "(self, /, **changes)",
}

PROPERTIES = {
    "Generation": "text tokens details finish_reason logprobs stats",
    "Stats": "prompt_tokens new_tokens steps drafted accepted drafted_per_position "
    "accepted_per_position acceptance_rate tokens_per_step "
    "time_to_first_token prefill_seconds decode_seconds draft_seconds verify_seconds "
    "tokens_per_second speedup",
    "Chunk": "text tokens",
    "Token": "id text logprob top_logprobs top_texts source step",
    "Tokenizer": "vocab_size chat_template eos_token_id eos_token_ids bos_token_id "
    "eos_token bos_token",
    "AuditReport": "lossless greedy seeded distribution verdict rows sources",
    "SourceReport": "draft greedy seeded distributions laws drafted_per_position "
    "accepted_per_position",
    "Identity": "texts drafted divergences",
    "Divergence": "prompt seed position plain speculative margin by_rounding",
    "DistributionTest": "verification drafted tokens chi_squared degrees p_value total_variation "
    "expected_variation detectable holds",
    "BatchInvariance": "rows identical largest_difference largest_logit",
    "Comparison": "speedup baseline speculative identical text",
    "Measurement": "tokens_per_second latencies time_to_first_token acceptance_rate "
    "tokens_per_step new_tokens",
}

EXCEPTIONS = {
    "SpecdecError": Exception,
    "ModelNotFound": specdec_rs.SpecdecError,
    "UnsupportedModel": specdec_rs.SpecdecError,
    "CorruptModel": specdec_rs.SpecdecError,
    "VocabularyMismatch": specdec_rs.SpecdecError,
    "InvalidConfig": ValueError,
    "ContextOverflow": specdec_rs.SpecdecError,
    "DeviceUnavailable": specdec_rs.SpecdecError,
    "OutOfMemory": MemoryError,
    "FileError": OSError,
}


def look_up(path: str) -> object:
    value: object = specdec_rs
    for name in path.split("."):
        value = getattr(value, name)
    return value


@pytest.mark.parametrize("path", SIGNATURES)
def test_signature(path: str) -> None:
    function = look_up(path)
    assert callable(function)
    assert str(inspect.signature(function)) == SIGNATURES[path]
    assert inspect.getdoc(function)


@pytest.mark.parametrize("name", PROPERTIES)
def test_properties(name: str) -> None:
    for field in PROPERTIES[name].split():
        assert inspect.getdoc(look_up(f"{name}.{field}")), field


def test_defaults_match_the_signature() -> None:
    parameters = inspect.signature(SpeculativeConfig).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    assert SpeculativeConfig().as_dict() == defaults


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_exceptions(name: str) -> None:
    exception = look_up(name)
    assert isinstance(exception, type)
    assert issubclass(exception, specdec_rs.SpecdecError)
    assert issubclass(exception, EXCEPTIONS[name])
    assert f"{exception.__module__}.{exception.__qualname__}" == f"specdec_rs.{name}"
    assert str(exception("what, where")) == "what, where"


def test_all_public_names_are_listed() -> None:
    for name in specdec_rs.__all__:
        assert hasattr(specdec_rs, name), name
    assert set(PROPERTIES) | set(EXCEPTIONS) <= set(specdec_rs.__all__)


def test_old_names_are_kept() -> None:
    assert specdec_rs.LawTest is specdec_rs.DistributionTest
    assert specdec_rs.RowInvariance is specdec_rs.BatchInvariance


def test_results_are_what_their_names_say(decoder: SpeculativeDecoder) -> None:
    assert isinstance(decoder.stream([5], max_new_tokens=1), Iterator)
    assert isinstance(decoder.stream_async([5], max_new_tokens=1), AsyncIterator)
    coroutine = decoder.generate_async([5], max_new_tokens=1)
    assert isinstance(coroutine, Coroutine)
    coroutine.close()
