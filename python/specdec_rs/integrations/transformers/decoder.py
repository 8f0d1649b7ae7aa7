"""transformers' own `generate`, whose decoding loop is this package's."""

from __future__ import annotations

import copy
import json
import math
import tempfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
import transformers

from specdec_rs import InvalidConfig, SpeculativeConfig, SpeculativeDecoder, Stats, Tokenizer
from specdec_rs.integrations.transformers.model import TransformersModel

_FIELDS = frozenset(
    [
        "max_new_tokens",
        "max_length",
        "max_time",
        "stop_strings",
        "eos_token_id",
        "pad_token_id",
        "bos_token_id",
        "num_return_sequences",
        "do_sample",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "repetition_penalty",
        "suppress_tokens",
        "transformers_version",
    ]
)
"""The fields of GenerationConfig that are supported, and the one that is not a setting."""

_SAMPLING = {"temperature": (0, 1), "top_k": (0, 50), "top_p": (1,), "min_p": (0,)}
"""The fields that only sampling reads, with the values that change nothing."""

_ARGUMENTS = [
    "assistant_model",
    "cache",
    "past_key_values",
    "position_ids",
    "inputs_embeds",
    "logits_processor",
    "prefix_allowed_tokens_fn",
    "negative_prompt_ids",
    "negative_prompt_attention_mask",
    "synced_gpus",
    "custom_generate",
]
"""The arguments of transformers' `generate` that are not supported, and are not fields."""

_INSTEAD = {
    "assistant_model": "pass it to TransformersDecoder as its draft",
    "prompt_lookup_num_tokens": 'pass draft="ngram" to TransformersDecoder',
    "cache": "the decoder has its own",
    "past_key_values": "the decoder has its own",
}
"""What to do instead."""


class TransformersDecoder:
    """Generates with a model of transformers, as its own `generate` does, with drafts.

    Attributes:
        decoder: The `SpeculativeDecoder`, for everything else: texts, chats, streams, audits.
        tokenizer: The tokenizer of transformers.
        stats: The statistics of the latest `generate`, one for each answer.
    """

    def __init__(
        self,
        target: Any,
        draft: Any = None,
        tokenizer: Any = None,
        *,
        context_length: int | None = None,
        gamma: int | None = None,
        adaptive: bool = True,
    ) -> None:
        """Combine models that are loaded already.

        Args:
            target: The model whose text is generated, as `AutoModelForCausalLM` loads it.
            draft: A smaller model with the same vocabulary; "auto" (None: all sources that need no
                model), one of these sources (as "ngram"), or "none".
            tokenizer: The target's tokenizer, a fast one; None loads the one in the place that the
                target was loaded from.
            context_length: Maximum number of tokens in a sequence; None is the model's.
            gamma: Maximum number of tokens drafted per step; None is the default.
            adaptive: Let each step draft only as many tokens as save time, up to `gamma`.

        Raises:
            ValueError: A model cannot be rolled back, the draft has another vocabulary, or the
                tokenizer is not a fast one.
        """
        if tokenizer is None:
            tokenizer = transformers.AutoTokenizer.from_pretrained(target.config.name_or_path)
        self.tokenizer = tokenizer
        self.stats: list[Stats] = []
        self._target = target
        self._drafts: dict[str, Any] = {"adaptive": adaptive}
        if gamma is not None:
            self._drafts["gamma"] = gamma
        wrapped = TransformersModel(target, context_length=context_length)
        drafter = None
        if draft is None or isinstance(draft, str):
            self._drafts["draft"] = draft
        elif draft.config.get_text_config(decoder=True).vocab_size < len(tokenizer):
            raise ValueError(f"draft: it has fewer tokens than the tokenizer, {len(tokenizer)}")
        else:
            # The target's rows may be padded to another length.
            drafter = TransformersModel(draft, vocab_size=wrapped.vocab_size)
        # Refuses what is out of its range.
        SpeculativeConfig(**self._drafts)
        self.decoder = SpeculativeDecoder.with_models(
            wrapped, drafter, _own_tokenizer(tokenizer, target)
        )

    @classmethod
    def from_pretrained(
        cls,
        target: str | PathLike[str],
        draft: str | PathLike[str] | None = None,
        *,
        context_length: int | None = None,
        gamma: int | None = None,
        adaptive: bool = True,
        device: str = "cpu",
        dtype: str = "float32",
        **kwargs: Any,
    ) -> TransformersDecoder:
        """Load the models and the tokenizer.

        Args:
            target: A hub name or a folder.
            draft: The same for a smaller model, or a source of drafts, as for the constructor.
            context_length: As for the constructor.
            gamma: As for the constructor.
            adaptive: As for the constructor.
            device: Where both models compute.
            dtype: The type that both compute in. The shorter it is, the more often rounding decides
                between two almost equally probable tokens.
            **kwargs: Further arguments of `AutoModelForCausalLM.from_pretrained`.

        Returns:
            The decoder.
        """

        def load(name: str | PathLike[str]) -> Any:
            auto = transformers.AutoModelForCausalLM
            return auto.from_pretrained(name, dtype=dtype, **kwargs).to(device).eval()

        return cls(
            load(target),
            draft if draft is None or _is_source(draft) else load(draft),
            transformers.AutoTokenizer.from_pretrained(target),
            context_length=context_length,
            gamma=gamma,
            adaptive=adaptive,
        )

    def generate(
        self,
        inputs: Any = None,
        generation_config: Any = None,
        *,
        stopping_criteria: Any = None,
        streamer: Any = None,
        tokenizer: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Generate as `model.generate` of transformers does.

        A greedy answer is that of transformers, unless rounding decides between two almost equally
        probable tokens. A sampled answer has the same distribution; its random numbers are this
        package's, with a seed from torch's generator (`torch.manual_seed`).

        Args:
            inputs: The prompts' ids, a tensor [prompts, tokens] that is padded on the left.
            generation_config: The settings; the model's own apply where it has none.
            stopping_criteria: Called after each token with the ids of one answer, without scores.
            streamer: Receives the prompt, and each token of its answer.
            tokenizer: For `stop_strings`, as in transformers; only the decoder's is accepted.
            **kwargs: `input_ids`, `attention_mask`, and fields of GenerationConfig.

        Returns:
            The ids, a tensor [answers, tokens]: prompts with their answers, padded on the right.

        Raises:
            ValueError: An argument or a field is not supported; the message names it.
        """
        if tokenizer not in (None, self.tokenizer):
            raise _unsupported("tokenizer", "pass it to TransformersDecoder")
        for name in _ARGUMENTS:
            if kwargs.get(name) is not None:
                raise _unsupported(name, _INSTEAD.get(name))
        given = vars(generation_config) if generation_config is not None else {}
        self._check_fields({**_set(given), **_set(kwargs)})
        criteria = list(stopping_criteria or [])
        stops = kwargs.pop("stop_strings", None)
        if generation_config is not None:
            stops = stops or generation_config.stop_strings
            generation_config = copy.deepcopy(generation_config)
            generation_config.stop_strings = None
        if stops:
            # Transformers keeps the tokenizer that these need from other decoding loops.
            criteria.append(transformers.StopStringCriteria(self.tokenizer, stops))

        def decode(
            model: Any,
            input_ids: Any,
            logits_processor: Any,
            stopping_criteria: Any,
            generation_config: Any,
            **computed: Any,
        ) -> Any:
            # As a parameter of its own it would be handed over twice.
            mask = computed.get("attention_mask")
            for name in ("token_type_ids", "inputs_embeds"):
                if computed.get(name) is not None:
                    raise _unsupported(name)
            return self._decode(input_ids, mask, generation_config, stopping_criteria, streamer)

        return self._target.generate(
            inputs,
            generation_config,
            stopping_criteria=transformers.StoppingCriteriaList(criteria),
            streamer=streamer,
            custom_generate=decode,
            **kwargs,
        )

    def _check_fields(self, given: Mapping[str, Any]) -> None:
        """Refuse what a call or the model's own configuration sets, and is not supported."""
        own = _set(vars(self._target.generation_config))
        if own.get("cache_implementation") == "hybrid":
            # Older files have it. Transformers ignores it as well.
            del own["cache_implementation"]
        if own.get("stop_strings"):
            raise _unsupported("stop_strings in the model's generation_config", "pass them")
        known = vars(transformers.GenerationConfig())
        neutral = {**known, **transformers.GenerationConfig._get_default_generation_params()}
        fields = {**own, **given}
        for name, value in fields.items():
            # Files may have fields that transformers does not know, and does not read.
            if name not in _FIELDS and name in known and value != (neutral[name] or False):
                raise _unsupported(f"{name}={value!r}", _INSTEAD.get(name))
        if not fields.get("do_sample"):
            for name, values in _SAMPLING.items():
                if name in given and given[name] not in values:
                    raise _unsupported(f"{name}={given[name]!r}", "it needs do_sample=True")

    def _decode(
        self, input_ids: Any, mask: Any, config: Any, criteria: Any, streamer: Any
    ) -> torch.Tensor:
        """Decode all prompts, a step of each in turn."""
        if mask is None:
            mask = torch.ones_like(input_ids)
        if (mask[:, 1:] < mask[:, :-1]).any():
            raise _unsupported("attention_mask", "only padding on the left is")
        context = self.decoder.info()["context_length"]
        if config.max_length > context:
            raise ValueError(
                f"the prompt and max_new_tokens do not fit the context of {context} tokens"
            )
        settings = self._settings(config, config.max_length - input_ids.shape[1])
        answers = [
            _Answer(self.decoder, ids, mask[row], settings, config.max_length)
            for row, ids in enumerate(input_ids)
        ]
        waiting = answers
        while waiting:
            waiting = [answer for answer in waiting if answer.step(criteria, streamer)]
        if streamer is not None:
            streamer.end()
        self.stats = [answer.stats() for answer in answers]
        pad = config._pad_token_tensor
        length = max(answer.length for answer in answers)
        if pad is None:
            if any(answer.length < length for answer in answers):
                raise ValueError("pad_token_id: answers of different lengths need one")
            pad = 0
        ids = torch.cat([answer.ids[:, :length] for answer in answers])
        for row, answer in enumerate(answers):
            ids[row, answer.length :] = pad
        return ids

    def _settings(self, config: Any, max_new_tokens: int) -> dict[str, Any]:
        """Return the keywords of `SpeculativeDecoder.stream`."""
        settings: dict[str, Any] = {
            **self._drafts,
            # The stopping criteria decide.
            "ignore_eos": True,
            "max_new_tokens": max_new_tokens,
            "repetition_penalty": config.repetition_penalty or 1,
            "temperature": 0,
            "top_k": 0,
            "top_p": 1,
            "min_p": 0,
        }
        if config.suppress_tokens:
            settings["logit_bias"] = dict.fromkeys(config.suppress_tokens, -math.inf)
        if config.do_sample:
            for name, off in (("temperature", 1), ("top_k", 0), ("top_p", 1), ("min_p", 0)):
                settings[name] = getattr(config, name) or off
        return settings


class _Answer:
    """An answer in progress."""

    def __init__(
        self, decoder: Any, prompt: Any, mask: Any, settings: dict[str, Any], max_length: int
    ) -> None:
        self.length = len(prompt)
        self.ids = torch.zeros((1, max_length), dtype=prompt.dtype, device=prompt.device)
        self.ids[0, : self.length] = prompt
        seed = int(torch.randint(2**63 - 1, ()))
        self._stream = decoder.stream(prompt[mask.bool()].tolist(), seed=seed, **settings)

    def step(self, criteria: Any, streamer: Any) -> bool:
        """Append the tokens of a step; return whether the answer goes on."""
        chunk = next(self._stream, None)
        for token in chunk.tokens if chunk else ():
            self.ids[0, self.length] = token.id
            self.length += 1
            if streamer is not None:
                streamer.put(torch.tensor([token.id]))
            if bool(criteria(self.ids[:, : self.length], None).all()):
                self._stream.cancel()
                return False
        return chunk is not None

    def stats(self) -> Stats:
        """End the stream, and return its statistics."""
        for _ in self._stream:
            pass
        stats: Stats = self._stream.generation.stats
        return stats


def _set(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are set."""
    return {name: value for name, value in fields.items() if value is not None and name[0] != "_"}


def _unsupported(name: str, instead: str | None = None) -> ValueError:
    return ValueError(f"{name} is not supported" + (f": {instead}" if instead else ""))


def _is_source(draft: object) -> bool:
    try:
        SpeculativeConfig(draft=draft)  # type: ignore[arg-type]
    except (InvalidConfig, TypeError):
        return False
    return True


def _own_tokenizer(tokenizer: Any, model: Any) -> Tokenizer:
    """Convert a tokenizer of transformers."""
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(f"tokenizer: {type(tokenizer).__name__} is not a fast one")
    names = ("bos_token_id", "eos_token_id")
    ends = {name: getattr(model.generation_config, name) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        (Path(folder) / "config.json").write_text(json.dumps(ends))
        return Tokenizer(folder)
