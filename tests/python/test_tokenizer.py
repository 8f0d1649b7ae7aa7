"""Tokenizer: text, tokens, special tokens, chat templates."""

import numpy as np
import pytest
from conftest import CHAT_TEMPLATE
from specdec_rs import InvalidConfig, SpeculativeDecoder, UnsupportedModel

MESSAGES = [{"role": "user", "content": "Hi!"}]


def test_text_and_ids(decoder: SpeculativeDecoder) -> None:
    tokenizer = decoder.tokenizer
    ids = tokenizer.encode("the free software", add_special_tokens=False)
    assert tokenizer.decode(ids) == "the free software"
    assert tokenizer.decode(np.array(ids), skip_special_tokens=False) == "the free software"
    assert tokenizer.vocab_size == 512
    assert tokenizer.encode("") == tokenizer.encode("", True)


def test_special_tokens(decoder: SpeculativeDecoder) -> None:
    tokenizer = decoder.tokenizer
    assert tokenizer.eos_token_id in tokenizer.eos_token_ids
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|bos|>", "<|endoftext|>")
    assert tokenizer.convert_tokens_to_ids("<|bos|>") == tokenizer.bos_token_id
    assert repr(tokenizer) == (
        "<Tokenizer: BPE, 512 tokens, bos_token='<|bos|>', eos_token='<|endoftext|>'>"
    )


def test_tokens_by_their_spelling(decoder: SpeculativeDecoder) -> None:
    tokenizer = decoder.tokenizer
    ids = tokenizer.encode("the free software", add_special_tokens=False)
    tokens = tokenizer.convert_ids_to_tokens(ids)
    assert tokenizer.convert_ids_to_tokens(np.array(ids)) == tokens
    assert tokenizer.convert_tokens_to_ids(tokens) == ids
    assert tokenizer.convert_ids_to_tokens(ids[0]) == tokens[0]
    assert tokenizer.convert_ids_to_tokens(np.int64(ids[0])) == tokens[0]
    assert tokenizer.convert_tokens_to_ids("no such token") is None
    assert tokenizer.convert_tokens_to_ids([tokens[0], "no such token"]) == [ids[0], None]
    for bad in (512, -1, 2**40):
        with pytest.raises(InvalidConfig, match=f"token id = {bad}"):
            tokenizer.convert_ids_to_tokens(bad)
    with pytest.raises(InvalidConfig, match="token id = 512"):
        tokenizer.convert_ids_to_tokens([5, 512])


def test_chat_template(chatting: SpeculativeDecoder, decoder: SpeculativeDecoder) -> None:
    tokenizer = chatting.tokenizer
    assert tokenizer.chat_template == CHAT_TEMPLATE
    text = tokenizer.apply_chat_template(MESSAGES, tokenize=False)
    assert text == "<|bos|>user: Hi!\nassistant: "
    assert tokenizer.apply_chat_template(MESSAGES) == chatting.chat_prompt(MESSAGES)
    text = tokenizer.apply_chat_template(MESSAGES, tokenize=False, style="brief", tools=[{"a": 1}])
    assert text.startswith('<|bos|>tools: [{"a": 1}]\nstyle: brief\n')
    text = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=False)
    assert text == "<|bos|>user: Hi!\n"
    text = tokenizer.apply_chat_template(MESSAGES, tokenize=False, continue_final_message=True)
    assert text == "<|bos|>user: Hi!"
    assert decoder.tokenizer.chat_template is None
    with pytest.raises(UnsupportedModel, match="chat template"):
        decoder.tokenizer.apply_chat_template(MESSAGES)


def test_a_variable_that_the_template_does_not_read_is_logged(
    chatting: SpeculativeDecoder, caplog: pytest.LogCaptureFixture
) -> None:
    chatting.chat_prompt(MESSAGES, chat_template_kwargs={"enable_thinking": False, "style": "x"})
    assert "enable_thinking" in caplog.text
    assert "style" not in caplog.text
