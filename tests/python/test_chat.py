"""Conversations: every form of chat answers what the same prompt would be answered."""

import asyncio
from typing import Any

import pytest
from conftest import CHAT_TEMPLATE, PAIR
from specdec_rs import (
    AsyncStream,
    InvalidConfig,
    SpeculativeConfig,
    SpeculativeDecoder,
    Stream,
    UnsupportedModel,
)

GREEDY = SpeculativeConfig(temperature=0, max_new_tokens=12)
MESSAGES = [{"role": "user", "name": "Ann", "content": "You may copy"}]
TOOLS = [{"type": "function", "function": {"name": "clock", "parameters": {}}}]
EXTRAS: dict[str, Any] = {"tools": TOOLS, "chat_template_kwargs": {"style": "brief"}}


def test_every_form_answers_alike(chatting: SpeculativeDecoder) -> None:
    expected = chatting.generate(chatting.chat_prompt(MESSAGES, **EXTRAS), GREEDY).tokens
    assert expected != chatting.chat(MESSAGES, GREEDY).tokens
    assert chatting.chat(MESSAGES, GREEDY, **EXTRAS).tokens == expected

    async def stream_text(stream: AsyncStream) -> str:
        return "".join([chunk.text async for chunk in stream])

    async def asynchronous() -> tuple[list[int], str]:
        answer = await chatting.chat_async(MESSAGES, GREEDY, **EXTRAS)
        text = await stream_text(chatting.stream_chat_async(MESSAGES, GREEDY, **EXTRAS))
        assert text == answer.text
        return answer.tokens, text

    tokens, text = asyncio.run(asynchronous())
    assert tokens == expected
    stream = chatting.stream_chat(MESSAGES, GREEDY, **EXTRAS)
    assert isinstance(stream, Stream)
    assert "".join(chunk.text for chunk in stream) == text
    assert stream.generation is not None
    assert stream.generation.tokens == expected
    batch = chatting.chat_batch([MESSAGES, MESSAGES], GREEDY, **EXTRAS)
    assert [answer.tokens for answer in batch] == [expected] * 2
    assert chatting.chat_batch([], GREEDY) == []


def test_settings_may_be_keywords(chatting: SpeculativeDecoder) -> None:
    answer = chatting.chat(MESSAGES, GREEDY, max_new_tokens=3, ignore_eos=True)
    assert len(answer.tokens) == 3


def test_all_fields_reach_the_template(chatting: SpeculativeDecoder) -> None:
    text = chatting.tokenizer.decode(chatting.chat_prompt(MESSAGES, **EXTRAS))
    assert "user Ann: You may copy\nassistant:" in text
    assert '"name": "clock"' in text
    assert "style: brief" in text


def test_a_prompt_may_continue_the_last_message(chatting: SpeculativeDecoder) -> None:
    messages = [*MESSAGES, {"role": "assistant", "content": "The copy"}]
    decode = chatting.tokenizer.decode
    assert decode(chatting.chat_prompt(messages, continue_final_message=True)).endswith("The copy")
    assert decode(chatting.chat_prompt(messages)).endswith("assistant: ")
    plain = decode(chatting.chat_prompt(messages, add_generation_prompt=False))
    assert plain.endswith("The copy\n")
    with pytest.raises(InvalidConfig, match="continue_final_message"):
        chatting.chat_prompt(messages, add_generation_prompt=True, continue_final_message=True)


def test_invalid_conversations(chatting: SpeculativeDecoder) -> None:
    for messages in ([], [{"content": "x"}], ["text"], [{"role": 1, "content": "x"}]):
        with pytest.raises(InvalidConfig, match=r"message|role"):
            chatting.chat(messages)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="json"):
        chatting.chat([{"role": "user", "content": {1, 2}}])
    with pytest.raises(InvalidConfig, match="chat_template_kwargs"):
        chatting.chat(MESSAGES, chat_template_kwargs={"messages": []})


def test_chat_without_a_template_says_what_to_do(decoder: SpeculativeDecoder) -> None:
    with pytest.raises(UnsupportedModel, match="chat_template"):
        decoder.chat(MESSAGES)
    with pytest.raises(UnsupportedModel, match="chat_template"):
        asyncio.run(decoder.chat_async(MESSAGES))


def test_the_template_is_a_file_a_name_or_source(tmp_path: Any) -> None:
    file = tmp_path / "template.jinja"
    file.write_text(CHAT_TEMPLATE)
    for template, start in (
        (file, "user"),
        ("chatml", "<|im_start|>user"),
        (CHAT_TEMPLATE, "user"),
    ):
        decoder = SpeculativeDecoder(PAIR / "draft", chat_template=template, device="cpu")
        text = decoder.tokenizer.decode(decoder.chat_prompt([{"role": "user", "content": "x"}]))
        assert text.startswith(start)
    with pytest.raises(InvalidConfig, match=r"chat_template.*chatml"):
        SpeculativeDecoder(PAIR / "draft", chat_template="chatm")
