"""Generation with the tiny pair: speculation changes speed, never text."""

import json
import re
from typing import Any

import numpy as np
import pytest
from conftest import PAIR
from specdec_rs import (
    ContextOverflow,
    InvalidConfig,
    SpeculativeConfig,
    SpeculativeDecoder,
)

GREEDY = SpeculativeConfig(temperature=0, max_new_tokens=40)


@pytest.mark.parametrize("draft", ["model", "ngram", "auto"])
@pytest.mark.parametrize("gamma", [1, 4, 16])
@pytest.mark.parametrize("adaptive", [True, False])
def test_greedy_output_matches_plain_decoding(
    decoder: SpeculativeDecoder, prompts: list[list[int]], draft: Any, gamma: int, adaptive: bool
) -> None:
    accepted = 0
    for prompt in prompts:
        plain = decoder.generate(prompt, GREEDY, draft="none")
        speculative = decoder.generate(prompt, GREEDY, draft=draft, gamma=gamma, adaptive=adaptive)
        assert speculative.tokens == plain.tokens
        assert speculative.text == plain.text
        assert plain.stats.drafted == 0
        accepted += speculative.stats.accepted
    # The controller may find that a target this cheap needs no drafts.
    assert adaptive or accepted > 0


def test_generation(decoder: SpeculativeDecoder) -> None:
    generation = decoder.generate("the free software", GREEDY, logprobs=3)
    assert str(generation) == generation.text == decoder.tokenizer.decode(generation.tokens)
    assert generation.finish_reason == "length"
    assert len(generation.tokens) == 40
    assert [token.id for token in generation.details] == generation.tokens
    assert generation.logprobs == [token.logprob for token in generation.details]
    for token in generation.details:
        # Greedy decoding picks the most probable token.
        assert token.top_logprobs[0] == (token.id, token.logprob)
        assert len(token.top_logprobs) == len(token.top_texts) == 3
        assert token.top_texts[0].strip("\ufffd") in token.text + generation.text
    assert decoder.generate([5], GREEDY).logprobs is None
    assert json.loads(json.dumps(generation.as_dict()))["text"] == generation.text


def test_stats(decoder: SpeculativeDecoder) -> None:
    stats = decoder.generate([5, 6, 7], GREEDY, gamma=4, adaptive=False).stats
    assert (stats.prompt_tokens, stats.new_tokens) == (3, 40)
    assert stats.steps + stats.accepted >= stats.new_tokens
    assert stats.acceptance_rate == stats.accepted / stats.drafted
    assert stats.tokens_per_step == stats.new_tokens / stats.steps
    assert stats.tokens_per_second == pytest.approx(40 / stats.decode_seconds)
    assert stats.draft_seconds + stats.verify_seconds <= stats.decode_seconds
    assert set(stats.as_dict()) > {"speedup", "prefill_seconds", "time_to_first_token"}
    assert repr(stats).startswith("Stats(prompt_tokens=3, cached_tokens=0, new_tokens=40, ")
    assert not re.search(r"\d{10}", repr(stats))


def test_streamed_text_matches_the_returned_text(
    decoder: SpeculativeDecoder, prompts: list[list[int]]
) -> None:
    for seed, prompt in enumerate(prompts):
        config = SpeculativeConfig(seed=seed, stop=[" the", "of a"])
        returned = decoder.generate(prompt, config)
        stream = decoder.stream(prompt, config)
        assert stream.generation is None
        chunks = list(stream)
        assert "".join(chunk.text for chunk in chunks) == returned.text
        assert stream.generation is not None
        streamed = [token for chunk in chunks for token in chunk.tokens]
        assert streamed == stream.generation.details
        assert stream.generation.tokens == returned.tokens
        assert list(stream) == []


def test_a_cancelled_stream_ends(decoder: SpeculativeDecoder) -> None:
    stream = decoder.stream([5], max_new_tokens=1000, ignore_eos=True)
    first = next(stream)
    stream.cancel()
    assert all(not chunk.tokens for chunk in stream)
    assert stream.generation is not None
    assert stream.generation.finish_reason == "cancelled"
    assert stream.generation.details == first.tokens


def test_seeds_repeat(decoder: SpeculativeDecoder) -> None:
    texts = [decoder.generate([5, 6], seed=seed).text for seed in (1, 1, 2, None, None)]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 4


def test_prompts_of_all_kinds(decoder: SpeculativeDecoder) -> None:
    text = "the free software"
    ids = decoder.tokenizer.encode(text)
    expected = decoder.generate(text, GREEDY).tokens
    for prompt in (ids, tuple(ids), np.array(ids), np.array(ids, np.uint16), list(np.array(ids))):
        assert decoder.generate(prompt, GREEDY).tokens == expected
    batch = decoder.generate_batch([text, ids, np.array(ids)], GREEDY)
    assert [generation.tokens for generation in batch] == [expected] * 3
    assert decoder.generate_batch([], GREEDY) == []


@pytest.mark.parametrize(
    "prompt",
    [b"bytes", bytearray(b"b"), 5, None, {5: 6}, {5, 6}, [5.5], ["a"], [None], [[5]],
     np.array([[5, 6]]), np.array([0.5]), iter([5])],
)  # fmt: skip
def test_an_invalid_prompt_type_is_a_type_error(decoder: SpeculativeDecoder, prompt: Any) -> None:
    with pytest.raises(TypeError):
        decoder.generate(prompt)


@pytest.mark.parametrize("token", [-1, 2**32, 10**30, 512])
def test_invalid_token_ids_are_named(decoder: SpeculativeDecoder, token: int) -> None:
    for use in (decoder.generate, decoder.logits, decoder.sequence().extend, decoder.stream):
        with pytest.raises(InvalidConfig, match=rf"token.* = {token}: expected"):
            use([5, token])


def test_invalid_prompts_are_rejected(decoder: SpeculativeDecoder) -> None:
    with pytest.raises(InvalidConfig, match="prompt"):
        decoder.generate([])
    with pytest.raises(ContextOverflow, match=r"1025 tokens .* 1024"):
        decoder.generate([5] * 1025)
    with pytest.raises(UnicodeEncodeError):
        decoder.generate("\ud800")


def test_info(decoder: SpeculativeDecoder) -> None:
    info = decoder.info()
    keys = "architecture parameters bytes quantization device context_length kernels threads draft"
    assert set(info) == {*keys.split(), "vocab_size"}
    assert (info["architecture"], info["device"], info["vocab_size"]) == ("llama", "cpu", 512)
    assert 0 < info["draft"]["parameters"] < info["parameters"]
    assert info["threads"] >= 1


def test_candles_kernels_can_be_chosen(decoder: SpeculativeDecoder) -> None:
    reference = SpeculativeDecoder(PAIR / "target", PAIR / "draft", device="cpu", kernels="candle")
    assert reference.info()["kernels"] == "candle"
    assert decoder.info()["kernels"] != "candle"
    ids = [5, 6, 7, 8]
    assert np.allclose(reference.logits(ids), decoder.logits(ids), atol=1e-3)
    tokens = reference.generate(ids, temperature=0, max_new_tokens=8).tokens
    assert tokens == decoder.generate(ids, temperature=0, max_new_tokens=8).tokens
    with pytest.raises(InvalidConfig, match="kernels"):
        SpeculativeDecoder(PAIR / "target", kernels="ours")


def test_a_batch_is_validated_before_it_starts(decoder: SpeculativeDecoder) -> None:
    with pytest.raises(ContextOverflow):
        decoder.generate_batch([[5], [5] * 2000])
    with pytest.raises(InvalidConfig, match="logit_bias"):
        decoder.generate([5], logit_bias={600: 1.0})
