"""`Llama`, a class with the calls and results of llama-cpp-python.

A program that uses `llama_cpp.Llama` changes its import alone:

>>> from specdec_rs.integrations.llama_cpp import Llama
>>> llm = Llama(model_path="./model.gguf")  # doctest: +SKIP
>>> llm("Once upon a time,", max_tokens=8)["choices"][0]["text"]  # doctest: +SKIP

The defaults are llama-cpp-python's. Four things differ: the random numbers, so that a seed gives
another sample; the temperature, which is applied before top-k, top-p and min-p; penalties, which
count the whole answer (`repeat_penalty` also the prompt) and not the last 64 tokens; and special
tokens in the text of a prompt, which are always special.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any

from specdec_rs import SpeculativeDecoder, Token

__all__ = ["Llama"]

_OFF = {
    "suffix": None,
    "typical_p": 1.0,
    "tfs_z": 1.0,
    "mirostat_mode": 0,
    "mirostat_tau": 5.0,
    "mirostat_eta": 0.1,
    "stopping_criteria": None,
    "logits_processor": None,
    "grammar": None,
    "functions": None,
    "function_call": None,
    "top_logprobs": None,
}
"""Arguments of calls that are not supported, with the values at which they change nothing."""


class Llama:
    """A model that continues texts and answers conversations."""

    def __init__(
        self,
        model_path: str | PathLike[str],
        *,
        n_ctx: int = 512,
        n_gpu_layers: int = 0,
        n_threads: int | None = None,
        seed: int = 0xFFFFFFFF,
        chat_format: str | None = None,
        verbose: bool = True,
        lora_path: str | PathLike[str] | None = None,
        draft: str | PathLike[str] | None = None,
        filename: str | None = None,
        **unsupported: Any,
    ) -> None:
        """Load a model.

        Args:
            model_path: A .gguf file, or any other name of a model.
            n_ctx: Maximum number of tokens of a prompt and its answer together; 0 is the model's.
            n_gpu_layers: 0 computes on the CPU, -1 on the best device.
            n_threads: Threads that compute on the CPU.
            seed: The seed of the calls without one; -1 is a new one for each of them.
            chat_format: A known chat template ("chatml", ...) to use instead of the model's own.
            verbose: Show the progress of a download, where `SpeculativeDecoder` does.
            lora_path: A LoRA adapter of the model.
            draft: What drafts, as in `SpeculativeDecoder`.
            filename: The GGUF file of a repository, as in `from_pretrained`.
            **unsupported: Refused.

        Raises:
            TypeError: An argument that is not supported, by its name.
        """
        for name in unsupported:
            raise TypeError(f"Llama does not support {name}")
        if n_gpu_layers not in (0, -1):
            raise ValueError(f"n_gpu_layers={n_gpu_layers} is not supported: use 0 or -1")
        self.model_path = str(model_path)
        self._seeds = None if seed == -1 else random.Random(seed)
        self._decoder = SpeculativeDecoder.from_pretrained(
            model_path,
            filename,
            draft=draft,
            lora=lora_path,
            context_length=n_ctx or None,
            device="cpu" if n_gpu_layers == 0 else None,
            num_threads=n_threads,
            chat_template=chat_format,
            progress=None if verbose else False,
        )

    @classmethod
    def from_pretrained(cls, repo_id: str, filename: str | None, **kwargs: Any) -> Llama:
        """Load a GGUF file of a hub repository.

        Args:
            repo_id: The repository, as "owner/name".
            filename: The file's name, or a pattern that matches one.
            **kwargs: The constructor's other arguments.

        Returns:
            The model.
        """
        return cls(repo_id, filename=filename, **kwargs)

    def __call__(self, prompt: str | Sequence[int], *args: Any, **kwargs: Any) -> Any:
        """Continue a text: `create_completion`."""
        return self.create_completion(prompt, *args, **kwargs)

    def create_completion(
        self,
        prompt: str | Sequence[int],
        suffix: None = None,
        max_tokens: int | None = 16,
        temperature: float = 0.8,
        top_p: float = 0.95,
        min_p: float = 0.05,
        *,
        logprobs: int | None = None,
        echo: bool = False,
        stream: bool = False,
        model: str | None = None,
        **settings: Any,
    ) -> Any:
        """Continue a text.

        Args:
            prompt: The text, or token ids.
            suffix: Not supported.
            max_tokens: Maximum number of new tokens; None or 0: as many as the context holds.
            temperature: 0 is greedy decoding.
            top_p: Sample among the most probable tokens of this share.
            min_p: Sample among tokens at least this fraction as probable as the best one.
            logprobs: Return log-probabilities, and those of this many alternatives.
            echo: Return the prompt before the answer.
            stream: Return an iterator of chunks.
            model: The name of the model in the result.
            **settings: `stop`, `seed`, `top_k`, `repeat_penalty`, `frequency_penalty`,
                `presence_penalty` and `logit_bias`.

        Returns:
            A dict, as OpenAI's completions; with `stream`, an iterator of such dicts.

        Raises:
            TypeError: An argument that is not supported, by its name.
            ValueError: The prompt does not fit the context.
        """
        encode = self._decoder.tokenizer.encode
        ids = encode(prompt) if isinstance(prompt, str) else list(prompt)
        settings |= {"suffix": suffix, "temperature": temperature, "top_p": top_p, "min_p": min_p}
        config = self._config(len(ids), max_tokens, **settings) | {"logprobs": logprobs}
        text = prompt if isinstance(prompt, str) else self._decoder.tokenizer.decode(ids)
        first = text if echo else ""
        head = _head("cmpl", "text_completion", model or self.model_path)

        def choice(
            text: str, tokens: Iterable[Token], offset: int, reason: str | None
        ) -> dict[str, Any]:
            details = None if logprobs is None else _logprobs(tokens, offset)
            return {"text": text, "index": 0, "logprobs": details, "finish_reason": reason}

        def chunks() -> Iterator[dict[str, Any]]:
            offset = len(text)
            answer = self._decoder.stream(ids, **config)
            if first:
                yield head | {"choices": [choice(first, (), 0, None)]}
            for chunk in answer:
                if chunk.text or (logprobs is not None and chunk.tokens):
                    yield head | {"choices": [choice(chunk.text, chunk.tokens, offset, None)]}
                    offset += len(chunk.text)
            assert answer.generation is not None
            yield head | {"choices": [choice("", (), 0, answer.generation.finish_reason)]}

        if stream:
            return chunks()
        answer = self._decoder.generate(ids, **config)
        whole = choice(first + answer.text, answer.details, len(text), answer.finish_reason)
        return head | {"choices": [whole], "usage": self._usage(len(ids), answer.tokens)}

    def create_chat_completion(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: Any = None,
        temperature: float = 0.2,
        top_p: float = 0.95,
        top_k: int = 40,
        min_p: float = 0.05,
        *,
        stream: bool = False,
        response_format: Mapping[str, Any] | None = None,
        max_tokens: int | None = None,
        model: str | None = None,
        **settings: Any,
    ) -> Any:
        """Answer a conversation, rendered by the model's chat template.

        Args:
            messages: Dicts with a "role" and a "content".
            tools: Functions that the chat template shows to the model. What the model answers is
                the content, unless `tool_choice` names one of them.
            tool_choice: "auto", "none", or a function, as {"type": "function", "function":
                {"name": ...}}: the answer is then a call of it.
            temperature: 0 is greedy decoding.
            top_p: Sample among the most probable tokens of this share.
            top_k: Sample among this many tokens; 0 is off.
            min_p: Sample among tokens at least this fraction as probable as the best one.
            stream: Return an iterator of chunks.
            response_format: {"type": "json_object"}, with a "schema" if the answer has one.
            max_tokens: Maximum number of new tokens; None: as many as the context holds.
            model: The name of the model in the result.
            **settings: As in `create_completion`.

        Returns:
            A dict, as OpenAI's chat completions; with `stream`, an iterator of their chunks.

        Raises:
            TypeError: An argument that is not supported, by its name.
            ValueError: The conversation does not fit the context.
        """
        called = tool_choice["function"]["name"] if isinstance(tool_choice, Mapping) else None
        if called is None and tool_choice not in (None, "auto", "none"):
            raise ValueError(f"tool_choice={tool_choice!r} is not supported")
        ids = self._decoder.chat_prompt(messages, tools=tools if tool_choice != "none" else None)
        settings |= {"temperature": temperature, "top_p": top_p, "top_k": top_k, "min_p": min_p}
        config = self._config(len(ids), max_tokens, **settings)
        config["response_format"] = _format(response_format)
        if called is not None:
            if stream or response_format:
                raise ValueError("tool_choice does not support stream and response_format")
            functions = [tool["function"] for tool in tools or ()]
            schema = {each["name"]: each.get("parameters", {}) for each in functions}[called]
            config["response_format"] = _format({"type": "json_object", "schema": schema})

        def chunks() -> Iterator[dict[str, Any]]:
            head = _head("chatcmpl", "chat.completion.chunk", model or self.model_path)
            choice = {"index": 0, "logprobs": None, "finish_reason": None}
            yield head | {"choices": [choice | {"delta": {"role": "assistant"}}]}
            answer = self._decoder.stream(ids, **config)
            for chunk in answer:
                if chunk.text:
                    yield head | {"choices": [choice | {"delta": {"content": chunk.text}}]}
            assert answer.generation is not None
            reason = answer.generation.finish_reason
            yield head | {"choices": [choice | {"delta": {}, "finish_reason": reason}]}

        if stream:
            return chunks()
        answer = self._decoder.generate(ids, **config)
        message: dict[str, Any] = {"role": "assistant", "content": answer.text}
        reason: str = answer.finish_reason
        if called is not None:
            call = {"name": called, "arguments": answer.text}
            calls = [{"id": f"call_{uuid.uuid4()}", "type": "function", "function": call}]
            message |= {"content": None, "tool_calls": calls}
            reason = "tool_calls" if reason == "stop" else reason
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        head = _head("chatcmpl", "chat.completion", model or self.model_path)
        return head | {"choices": [choice], "usage": self._usage(len(ids), answer.tokens)}

    def tokenize(self, text: bytes, add_bos: bool = True) -> list[int]:
        """Return the token ids of a text, in which special tokens are special."""
        return self._decoder.tokenizer.encode(text.decode(), add_special_tokens=add_bos)

    def detokenize(self, tokens: Sequence[int], *, special: bool = False) -> bytes:
        """Return the text of token ids; what is not UTF-8 becomes U+FFFD."""
        return self._decoder.tokenizer.decode(tokens, skip_special_tokens=not special).encode()

    def n_ctx(self) -> int:
        """Return the maximum number of tokens of a prompt and its answer together."""
        length: int = self._decoder.info()["context_length"]
        return length

    def n_vocab(self) -> int:
        """Return the number of tokens in the vocabulary."""
        size: int = self._decoder.info()["vocab_size"]
        return size

    def token_bos(self) -> int:
        """Return the token that starts a text, or -1."""
        token = self._decoder.tokenizer.bos_token_id
        return -1 if token is None else token

    def token_eos(self) -> int:
        """Return the token that ends a text, or -1."""
        token = self._decoder.tokenizer.eos_token_id
        return -1 if token is None else token

    def _config(
        self,
        prompt_tokens: int,
        max_tokens: int | None,
        *,
        temperature: float,
        top_p: float,
        min_p: float,
        top_k: int = 40,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        repeat_penalty: float = 1.0,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        logit_bias: Mapping[Any, float] | None = None,
        **others: Any,
    ) -> dict[str, Any]:
        """Return the settings of a call in this package's names."""
        for name, value in others.items():
            if name not in _OFF or value not in (None, _OFF[name]):
                raise TypeError(f"Llama does not support {name}={value!r}")
        left = self.n_ctx() - prompt_tokens
        if left <= 0:
            raise ValueError(f"{prompt_tokens} tokens do not fit the context of {self.n_ctx()}")
        if seed is None and self._seeds is not None:
            seed = self._seeds.getrandbits(32)
        return {
            "max_new_tokens": min(max_tokens, left) if max_tokens and max_tokens > 0 else left,
            "temperature": temperature,
            "top_p": top_p,
            "min_p": min_p,
            "top_k": max(top_k, 0),
            "stop": stop or (),
            "seed": seed,
            "repetition_penalty": repeat_penalty,
            "frequency_penalty": frequency_penalty,
            "presence_penalty": presence_penalty,
            "logit_bias": {int(token): bias for token, bias in (logit_bias or {}).items()},
        }

    def _usage(self, prompt: int, tokens: Sequence[int]) -> dict[str, int]:
        """Count tokens; one that ends the text is not part of it."""
        ends = self._decoder.tokenizer.eos_token_ids
        answer = len(tokens) - bool(tokens and tokens[-1] in ends)
        total = prompt + answer
        return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": total}


def _head(prefix: str, kind: str, model: str) -> dict[str, Any]:
    name = f"{prefix}-{uuid.uuid4()}"
    return {"id": name, "object": kind, "created": int(time.time()), "model": model}


def _format(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Convert a response format."""
    if given is None or given == {"type": "text"}:
        return None
    if given.keys() <= {"type", "schema"} and given.get("type") == "json_object":
        if given.get("schema") is None:
            return {"type": "json_object"}
        return {"type": "json_schema", "json_schema": {"schema": given["schema"]}}
    raise ValueError(f"response_format={given!r} is not supported")


def _logprobs(tokens: Iterable[Token], offset: int) -> dict[str, list[Any]]:
    """Return the log-probabilities of tokens, the first of which starts at this character."""
    lists: dict[str, list[Any]] = {
        name: [] for name in ("tokens", "text_offset", "token_logprobs", "top_logprobs")
    }
    for token in tokens:
        lists["tokens"].append(token.text)
        lists["text_offset"].append(offset)
        lists["token_logprobs"].append(token.logprob)
        values = [logprob for _, logprob in token.top_logprobs]
        best = dict(zip(token.top_texts, values, strict=True))
        lists["top_logprobs"].append({**best, token.text: token.logprob})
        offset += len(token.text)
    return lists
