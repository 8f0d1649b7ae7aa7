"""`Llama`, which has the calls and results of llama-cpp-python."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import PAIR, ROOT
from serving import SCHEMA, chatting_target
from specdec_rs import InvalidConfig, SpeculativeDecoder
from specdec_rs.integrations.llama_cpp import Llama

MESSAGES = [{"role": "user", "content": "You may copy"}]
TOOL = {"type": "function", "function": {"name": "choose", "parameters": SCHEMA}}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chatting_target(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def llm(target: Path) -> Llama:
    return Llama(model_path=str(target), n_threads=1, verbose=False)


@pytest.fixture(scope="module")
def alone(target: Path) -> SpeculativeDecoder:
    return SpeculativeDecoder(target, device="cpu", num_threads=1, context_length=512)


def test_a_completion(llm: Llama, alone: SpeculativeDecoder, target: Path) -> None:
    answer = llm("You may copy", temperature=0)
    expected = alone.generate("You may copy", temperature=0, max_new_tokens=16)
    assert answer["choices"] == [
        {"text": expected.text, "index": 0, "logprobs": None, "finish_reason": "length"}
    ]
    prompt = len(alone.tokenizer.encode("You may copy"))
    assert answer["usage"] == {
        "prompt_tokens": prompt,
        "completion_tokens": 16,
        "total_tokens": prompt + 16,
    }
    assert answer["object"] == "text_completion"
    assert answer["model"] == str(target)
    assert answer["id"].startswith("cmpl-")
    assert isinstance(answer["created"], int)
    named = llm(alone.tokenizer.encode("You may copy"), temperature=0, model="mine", echo=True)
    assert named["model"] == "mine"
    assert named["choices"][0]["text"] == "You may copy" + expected.text


def test_the_defaults_are_llama_cpp_pythons(llm: Llama, alone: SpeculativeDecoder) -> None:
    settings: dict[str, Any] = {"top_k": 40, "top_p": 0.95, "min_p": 0.05, "seed": 7}
    expected = alone.generate("You", temperature=0.8, max_new_tokens=16, **settings)
    assert llm("You", seed=7)["choices"][0]["text"] == expected.text
    chat = alone.chat(MESSAGES, temperature=0.2, max_new_tokens=9, **settings)
    answer = llm.create_chat_completion(MESSAGES, seed=7, max_tokens=9)
    assert answer["choices"][0]["message"]["content"] == chat.text
    assert llm.n_ctx() == 512
    left = 512 - len(alone.chat_prompt(MESSAGES))
    answer = llm.create_chat_completion(MESSAGES, temperature=0, logit_bias={"0": -1e9})
    assert answer["usage"]["completion_tokens"] == left


def test_settings_take_effect(llm: Llama, alone: SpeculativeDecoder) -> None:
    for theirs, ours in (
        ({"repeat_penalty": 1.5}, {"repetition_penalty": 1.5}),
        ({"presence_penalty": 1.5}, {"presence_penalty": 1.5}),
        ({"frequency_penalty": 1.5}, {"frequency_penalty": 1.5}),
        ({"logit_bias": {5: 100.0}}, {"logit_bias": {5: 100.0}}),
        ({"stop": ["e"]}, {"stop": "e"}),
        ({"stop": "e"}, {"stop": "e"}),
        ({"max_tokens": 40}, {"max_new_tokens": 40}),
        ({"temperature": 1.2, "top_k": 3, "seed": 1}, {"temperature": 1.2, "top_k": 3, "seed": 1}),
    ):
        neutral = {"temperature": 0, "max_tokens": 30, "top_p": 1.0, "min_p": 0.0, "top_k": 0}
        answer = llm("You may copy", **{**neutral, **theirs})
        settings: dict[str, Any] = {"temperature": 0, "max_new_tokens": 30, "top_p": 1, "min_p": 0}
        expected = alone.generate("You may copy", **{**settings, "top_k": 0, **ours})
        assert answer["choices"][0]["text"] == expected.text, theirs
        assert answer["choices"][0]["finish_reason"] == expected.finish_reason


def test_seeds(target: Path) -> None:
    def texts(seed: int) -> list[str]:
        llm = Llama(target, seed=seed, n_threads=1)
        return [llm("You", temperature=2.0)["choices"][0]["text"] for _ in range(3)]

    first = texts(5)
    assert len(set(first)) == 3
    assert texts(5) == first
    assert texts(6) != first
    assert texts(-1) != texts(-1)


def test_a_stream_of_a_completion(llm: Llama) -> None:
    whole = llm("You may copy", temperature=0, max_tokens=30)["choices"][0]
    chunks = list(llm("You may copy", temperature=0, max_tokens=30, stream=True))
    assert len(chunks) > 2
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole["text"]
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["length"]
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_logprobs(llm: Llama, alone: SpeculativeDecoder) -> None:
    answer = llm("You may copy", temperature=0, logprobs=2)["choices"][0]
    found = answer["logprobs"]
    expected = alone.generate("You may copy", temperature=0, max_new_tokens=16, logprobs=2)
    assert found["token_logprobs"] == pytest.approx(expected.logprobs)
    assert "".join(found["tokens"]) == answer["text"]
    assert found["text_offset"][0] == len("You may copy")
    for token, best in zip(found["tokens"], found["top_logprobs"], strict=True):
        assert token in best
    chunks = llm("You may copy", temperature=0, logprobs=2, stream=True)
    streamed = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [token for chunk in streamed for token in chunk["tokens"]] == found["tokens"]


def test_a_chat_completion(llm: Llama, alone: SpeculativeDecoder) -> None:
    expected = alone.chat(MESSAGES, temperature=0, max_new_tokens=30)
    answer = llm.create_chat_completion(messages=MESSAGES, temperature=0, max_tokens=30)
    assert answer["object"] == "chat.completion"
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": expected.text},
            "logprobs": None,
            "finish_reason": "length",
        }
    ]
    stream = llm.create_chat_completion(MESSAGES, temperature=0, max_tokens=30, stream=True)
    chunks = list(stream)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant"}
    assert "".join(delta.get("content", "") for delta in deltas) == expected.text
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}


def test_formats_and_tools(llm: Llama, target: Path) -> None:
    answer = llm.create_chat_completion(
        MESSAGES, response_format={"type": "json_object", "schema": SCHEMA}
    )
    assert json.loads(answer["choices"][0]["message"]["content"])["a"] in range(1, 10)
    with pytest.raises(InvalidConfig, match="the model's chat template has no tools"):
        llm.create_chat_completion(MESSAGES, tools=[TOOL])
    template = target.parent / "template.jinja"
    template.write_text("{% if tools %}{{ tools|tojson }}{% endif %}{{ messages[0].content }}")
    llm = Llama(target, chat_format=str(template), n_threads=1)
    choice = {"type": "function", "function": {"name": "choose"}}
    answer = llm.create_chat_completion(MESSAGES, tools=[TOOL], tool_choice=choice)["choices"][0]
    assert answer["finish_reason"] == "tool_calls"
    assert answer["message"]["content"] is None
    (call,) = answer["message"]["tool_calls"]
    assert call["function"]["name"] == "choose"
    assert json.loads(call["function"]["arguments"])["a"] in range(1, 10)

    def prompt(tool_choice: str) -> int:
        answer = llm.create_chat_completion(
            MESSAGES, tools=[TOOL], tool_choice=tool_choice, max_tokens=1
        )
        return int(answer["usage"]["prompt_tokens"])

    assert prompt("auto") > prompt("none")


def test_tokens(llm: Llama, alone: SpeculativeDecoder) -> None:
    ids = llm.tokenize(b"the free software")
    assert ids == alone.tokenizer.encode("the free software")
    assert llm.detokenize(ids) == b"the free software"
    plain = alone.tokenizer.encode("the", add_special_tokens=False)
    assert llm.tokenize(b"the", add_bos=False) == plain
    assert (llm.n_vocab(), llm.token_bos(), llm.token_eos()) == (512, 1, 0)
    assert llm.detokenize([0], special=True) == b"<|endoftext|>"
    assert llm.detokenize([0]) == b""


def test_from_pretrained_takes_a_pattern(tmp_path: Path) -> None:
    file = ROOT / "tests" / "data" / "gguf" / "llama-Q4_0.gguf"
    for name in ("model-Q4_0.gguf", "other.gguf"):
        shutil.copy(file, tmp_path / name)
    llm = Llama.from_pretrained(str(tmp_path), "*Q4_0.gguf", n_ctx=64, n_threads=1)
    assert llm.n_ctx() == 64
    assert llm("a", max_tokens=2)["usage"]["completion_tokens"] == 2


def test_an_adapter_changes_the_model() -> None:
    base = ROOT / "tests" / "data" / "gguf" / "olmo2-BF16.gguf"
    adapter = ROOT / "tests" / "data" / "adapters" / "olmo2" / "adapter.gguf"
    texts = [
        Llama(base, lora_path=path, n_threads=1)("a", max_tokens=16, temperature=0)["choices"]
        for path in (None, adapter)
    ]
    assert texts[0] != texts[1]


@pytest.mark.parametrize(
    "name", ["n_batch", "use_mlock", "lora_scale", "rope_freq_base", "logits_all", "n_ctxx"]
)
def test_arguments_of_the_constructor_are_refused_by_name(name: str) -> None:
    arguments: dict[str, Any] = {name: 1}
    with pytest.raises(TypeError, match=f"Llama does not support {name}"):
        Llama(PAIR / "target", **arguments)


def test_arguments_of_calls_are_refused_by_name(llm: Llama) -> None:
    for name, value in (
        ("typical_p", 0.5),
        ("mirostat_mode", 2),
        ("grammar", "root ::= [a]"),
        ("suffix", "end"),
        ("logits_processor", [print]),
        ("temperatur", 1),
    ):
        arguments: dict[str, Any] = {name: value}
        with pytest.raises(TypeError, match=f"does not support {name}="):
            llm("You", **arguments)
        with pytest.raises(TypeError, match=f"does not support {name}="):
            llm.create_chat_completion(MESSAGES, **arguments)
    assert llm("You", typical_p=1.0, mirostat_mode=0, grammar=None)["choices"]
    with pytest.raises(ValueError, match="600 tokens do not fit the context of 512"):
        llm([5] * 600)
    for more in ({"tool_choice": "required"}, {"response_format": {"type": "xml"}}):
        with pytest.raises(ValueError, match="is not supported"):
            llm.create_chat_completion(MESSAGES, **more)
    with pytest.raises(ValueError, match="n_gpu_layers=7 is not supported"):
        Llama(PAIR / "target", n_gpu_layers=7)
