from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from collections.abc import Sequence as _Sequence
from inspect import Signature as _Signature
from os import PathLike
from typing import Any, ClassVar, Literal, SupportsIndex, TypeAlias, final, overload

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from specdec_rs._protocol import LanguageModel

__all__ = [
    "AsyncStream",
    "Audit",
    "AuditReport",
    "BatchInvariance",
    "Benchmark",
    "Chunk",
    "Comparison",
    "ContextOverflow",
    "CorruptModel",
    "DeviceUnavailable",
    "DistributionTest",
    "Divergence",
    "FileError",
    "Generation",
    "Identity",
    "InvalidConfig",
    "Measurement",
    "ModelNotFound",
    "OutOfMemory",
    "Sequence",
    "SourceReport",
    "SpecdecError",
    "SpeculativeConfig",
    "SpeculativeDecoder",
    "Stats",
    "Stream",
    "Token",
    "Tokenizer",
    "UnsupportedModel",
    "VocabularyMismatch",
    "__version__",
    "run_benchmark",
    "run_cli",
]

__version__: str

_Model: TypeAlias = str | PathLike[str]
_TokenIds: TypeAlias = _Sequence[SupportsIndex] | npt.NDArray[np.integer[Any]]
_Prompt: TypeAlias = str | _TokenIds
# begin generated: choices
_Draft: TypeAlias = Literal["auto", "none", "ngram", "model", "prediction", "table", "recycling"]
_Verification: TypeAlias = Literal["coupled", "rejection", "block"]
# end generated: choices
_Progress: TypeAlias = bool | Callable[[str, int, int | None], object]

_Message: TypeAlias = Mapping[str, Any]
_Messages: TypeAlias = _Sequence[_Message]
_Tools: TypeAlias = _Sequence[Mapping[str, Any]]

class SpecdecError(Exception): ...
class ModelNotFound(SpecdecError): ...
class UnsupportedModel(SpecdecError): ...
class CorruptModel(SpecdecError): ...
class VocabularyMismatch(SpecdecError): ...
class InvalidConfig(SpecdecError, ValueError): ...
class ContextOverflow(SpecdecError): ...
class DeviceUnavailable(SpecdecError): ...
class OutOfMemory(SpecdecError, MemoryError): ...
class FileError(SpecdecError, OSError): ...

@final
class SpeculativeConfig:
    __signature__: ClassVar[_Signature]
    # begin generated: constructor
    def __new__(
        cls,
        gamma: int = 16,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        max_new_tokens: int | None = None,
        *,
        adaptive: bool = True,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        logit_bias: Mapping[int, float] | None = None,
        seed: int | None = None,
        stop: str | _Sequence[str] | None = (),
        ignore_eos: bool = False,
        logprobs: int | None = None,
        draft: _Draft | None = None,
        verification: _Verification = "coupled",
        prediction: str | None = None,
        response_format: dict[str, Any] | None = None,
    ) -> Self: ...
    # end generated: constructor
    def replace(
        self,
        *,
        # begin generated: keywords
        gamma: int = ...,
        temperature: float | None = ...,
        top_k: int | None = ...,
        top_p: float | None = ...,
        max_new_tokens: int | None = ...,
        adaptive: bool = ...,
        min_p: float | None = ...,
        repetition_penalty: float | None = ...,
        presence_penalty: float = ...,
        frequency_penalty: float = ...,
        logit_bias: Mapping[int, float] | None = ...,
        seed: int | None = ...,
        stop: str | _Sequence[str] | None = ...,
        ignore_eos: bool = ...,
        logprobs: int | None = ...,
        draft: _Draft | None = ...,
        verification: _Verification = ...,
        prediction: str | None = ...,
        response_format: dict[str, Any] | None = ...,
        # end generated: keywords
    ) -> SpeculativeConfig: ...
    def as_dict(self) -> dict[str, Any]: ...
    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, Any]]: ...
    # begin generated: settings
    @property
    def gamma(self) -> int:
        """Most tokens drafted a step (exactly as many if not `adaptive`), up to 256; 0 is plain decoding."""

    @property
    def temperature(self) -> float | None:
        """Divides the logits: 0 is greedy decoding, 1 samples the model's own distribution."""

    @property
    def top_k(self) -> int | None:
        """Sample among the k most probable tokens; 0 is off."""

    @property
    def top_p(self) -> float | None:
        """Sample among the most probable tokens that reach this share together; 1 is off."""

    @property
    def max_new_tokens(self) -> int | None:
        """Most tokens generated."""

    @property
    def adaptive(self) -> bool:
        """Let each step draft as many tokens as pay, up to `gamma`."""

    @property
    def min_p(self) -> float | None:
        """Sample among tokens at least this fraction as probable as the most probable one; 0 is off."""

    @property
    def repetition_penalty(self) -> float | None:
        """Divides the logits of tokens in the prompt or the output so far; 1 is off."""

    @property
    def presence_penalty(self) -> float:
        """Subtracted from the logits of tokens in the output so far; 0 is off."""

    @property
    def frequency_penalty(self) -> float:
        """Subtracted once for every time that a token is in the output so far; 0 is off."""

    @property
    def logit_bias(self) -> dict[int, float] | None:
        """Numbers added to the logits of tokens, by their ids."""

    @property
    def seed(self) -> int | None:
        """Makes sampling repeatable; a fresh one without. Rejection and block verification repeat a text only where drafts are the same (not `adaptive`)."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Generation ends before the first of these texts."""

    @property
    def ignore_eos(self) -> bool:
        """Go on past end-of-text tokens."""

    @property
    def logprobs(self) -> int | None:
        """Report each token's log-probability, and those of so many most probable alternatives."""

    @property
    def draft(self) -> _Draft | None:
        """Where drafts come from; without, what the decoder was made with. A prediction is used beside any but "none"."""

    @property
    def verification(self) -> _Verification:
        """How drafts are checked: "coupled" (with a seed, the very text of plain sampling), "rejection" or "block" (the same distribution, and more accepted tokens)."""

    @property
    def prediction(self) -> str | None:
        """A text that the output is likely to resemble, to draft from."""

    @property
    def response_format(self) -> dict[str, Any] | None:
        """What the output must look like: JSON, JSON of a schema, a regular expression or a grammar."""

    # end generated: settings
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Token:
    @property
    def id(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def logprob(self) -> float | None: ...
    @property
    def top_logprobs(self) -> list[tuple[int, float]]: ...
    @property
    def top_texts(self) -> list[str]: ...
    @property
    def source(self) -> str: ...
    @property
    def step(self) -> int: ...
    def as_dict(self) -> dict[str, Any]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class Chunk:
    @property
    def text(self) -> str: ...
    @property
    def tokens(self) -> list[Token]: ...
    def as_dict(self) -> dict[str, Any]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class Stats:
    # begin generated: statistics
    @property
    def prompt_tokens(self) -> int:
        """Tokens in the prompt."""

    @property
    def cached_tokens(self) -> int:
        """Those of them that were in a cache of an earlier request."""

    @property
    def new_tokens(self) -> int:
        """Tokens generated."""

    @property
    def steps(self) -> int:
        """Forward passes of the target that generated them."""

    @property
    def drafted(self) -> int:
        """Tokens drafted."""

    @property
    def accepted(self) -> int:
        """Drafted tokens that the target accepted."""

    @property
    def drafted_per_position(self) -> list[int]:
        """For each position of a draft, from 0, the steps that drafted so far."""

    @property
    def accepted_per_position(self) -> list[int]:
        """For each position of a draft, from 0, the steps that accepted so far."""

    @property
    def sources(self) -> dict[str, dict[str, int]]:
        """Tokens drafted and accepted by the source that proposed them."""

    @property
    def predicted_speedup(self) -> float | None:
        """The speedup that the controller expected of its choices; none where it made none."""

    @property
    def time_to_first_token(self) -> float:
        """From the request to its first token."""

    @property
    def prefill_seconds(self) -> float:
        """Prefilling the prompt."""

    @property
    def decode_seconds(self) -> float:
        """Decoding, after the prompt was prefilled."""

    @property
    def draft_seconds(self) -> float:
        """Spent drafting."""

    @property
    def verify_seconds(self) -> float:
        """Spent in the target, decoding."""

    @property
    def acceptance_rate(self) -> float:
        """Share of the drafted tokens that were accepted; 0 without drafts."""

    @property
    def tokens_per_step(self) -> float:
        """Tokens generated a forward pass of the target."""

    @property
    def tokens_per_second(self) -> float:
        """Tokens per second, once the prompt was prefilled."""

    @property
    def speedup(self) -> float | None:
        """Against as many tokens without drafts; none where no such step was measured."""

    # end generated: statistics
    def as_dict(self) -> dict[str, Any]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class Generation:
    @property
    def text(self) -> str: ...
    @property
    def tokens(self) -> list[int]: ...
    @property
    def details(self) -> list[Token]: ...
    @property
    def finish_reason(self) -> Literal["stop", "length", "cancelled"]: ...
    @property
    def logprobs(self) -> list[float] | None: ...
    @property
    def stats(self) -> Stats: ...
    def _repr_html_(self) -> str: ...
    def as_dict(self) -> dict[str, Any]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class Measurement:
    @property
    def tokens_per_second(self) -> float: ...
    @property
    def decode_seconds(self) -> float: ...
    @property
    def draft_seconds(self) -> float: ...
    @property
    def verify_seconds(self) -> float: ...
    @property
    def latencies(self) -> list[float]: ...
    @property
    def time_to_first_token(self) -> float: ...
    @property
    def acceptance_rate(self) -> float: ...
    @property
    def tokens_per_step(self) -> float: ...
    @property
    def steps(self) -> int: ...
    @property
    def drafted(self) -> int: ...
    @property
    def accepted(self) -> int: ...
    @property
    def new_tokens(self) -> int: ...
    @property
    def accepted_lengths(self) -> list[int]: ...
    def as_dict(self) -> dict[str, Any]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class Comparison:
    @property
    def speedup(self) -> float: ...
    @property
    def speedup_range(self) -> list[float]: ...
    @property
    def baseline(self) -> Measurement: ...
    @property
    def speculative(self) -> Measurement: ...
    @property
    def identical(self) -> bool: ...
    @property
    def text(self) -> str: ...
    def as_dict(self) -> dict[str, Any]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class BatchInvariance:
    @property
    def rows(self) -> int: ...
    @property
    def identical(self) -> bool: ...
    @property
    def largest_difference(self) -> float: ...
    @property
    def largest_logit(self) -> float: ...
    def as_dict(self) -> dict[str, Any]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class Divergence:
    @property
    def prompt(self) -> int: ...
    @property
    def seed(self) -> int | None: ...
    @property
    def position(self) -> int: ...
    @property
    def plain(self) -> int | None: ...
    @property
    def speculative(self) -> int | None: ...
    @property
    def margin(self) -> float | None: ...
    @property
    def by_rounding(self) -> bool: ...
    def as_dict(self) -> dict[str, Any]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class Identity:
    @property
    def texts(self) -> int: ...
    @property
    def divergences(self) -> list[Divergence]: ...
    def as_dict(self) -> dict[str, Any]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class DistributionTest:
    @property
    def verification(self) -> _Verification: ...
    @property
    def tokens(self) -> int: ...
    @property
    def chi_squared(self) -> float: ...
    @property
    def degrees(self) -> int: ...
    @property
    def p_value(self) -> float: ...
    @property
    def total_variation(self) -> float: ...
    @property
    def expected_variation(self) -> float: ...
    @property
    def holds(self) -> bool: ...
    def as_dict(self) -> dict[str, Any]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class SourceReport:
    @property
    def draft(self) -> _Draft: ...
    @property
    def greedy(self) -> Identity: ...
    @property
    def seeded(self) -> Identity | None: ...
    @property
    def distributions(self) -> list[DistributionTest]: ...
    @property
    def laws(self) -> list[DistributionTest]: ...
    @property
    def drafted_per_position(self) -> list[int]: ...
    @property
    def accepted_per_position(self) -> list[int]: ...
    def as_dict(self) -> dict[str, Any]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class AuditReport:
    @property
    def lossless(self) -> bool: ...
    @property
    def rows(self) -> BatchInvariance: ...
    @property
    def sources(self) -> list[SourceReport]: ...
    def as_dict(self) -> dict[str, Any]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class Audit:
    def __new__(cls, decoder: SpeculativeDecoder) -> Self: ...
    def run(
        self,
        prompts: _Sequence[_Prompt],
        config: SpeculativeConfig | None = None,
        samples: int = 32,
    ) -> AuditReport: ...

@final
class Stream(Iterator[Chunk]):
    def __iter__(self) -> Self: ...
    def __next__(self) -> Chunk: ...
    def cancel(self) -> None: ...
    @property
    def generation(self) -> Generation | None: ...

@final
class AsyncStream(AsyncIterator[Chunk]):
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, Chunk]: ...
    def cancel(self) -> None: ...
    @property
    def generation(self) -> Generation | None: ...

@final
class Tokenizer:
    def __new__(cls, model: _Model) -> Self: ...
    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]: ...
    def decode(self, ids: _TokenIds, skip_special_tokens: bool = True) -> str: ...
    @overload
    def convert_ids_to_tokens(self, ids: SupportsIndex) -> str: ...
    @overload
    def convert_ids_to_tokens(self, ids: _TokenIds) -> list[str]: ...
    @overload
    def convert_tokens_to_ids(self, tokens: str) -> int | None: ...
    @overload
    def convert_tokens_to_ids(self, tokens: list[str]) -> list[int | None]: ...
    @overload
    def apply_chat_template(
        self,
        messages: _Messages,
        *,
        tokenize: Literal[True] = True,
        add_generation_prompt: bool | None = None,
        continue_final_message: bool = False,
        tools: _Tools | None = None,
        **kwargs: Any,
    ) -> list[int]: ...
    @overload
    def apply_chat_template(
        self,
        messages: _Messages,
        *,
        tokenize: Literal[False],
        add_generation_prompt: bool | None = None,
        continue_final_message: bool = False,
        tools: _Tools | None = None,
        **kwargs: Any,
    ) -> str: ...
    @property
    def chat_template(self) -> str | None: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def eos_token_id(self) -> int | None: ...
    @property
    def eos_token_ids(self) -> list[int]: ...
    @property
    def bos_token_id(self) -> int | None: ...
    @property
    def eos_token(self) -> str | None: ...
    @property
    def bos_token(self) -> str | None: ...

@final
class Sequence:
    def extend(self, ids: _TokenIds, rows: int = 1) -> npt.NDArray[np.float32]: ...
    def extend_tree(
        self, ids: _TokenIds, parents: _Sequence[int | None]
    ) -> npt.NDArray[np.float32]: ...
    def accept(self, path: _Sequence[int]) -> None: ...
    def keep(self, path: _Sequence[int]) -> None: ...
    def truncate(self, length: int) -> None: ...
    def fork(self) -> Sequence: ...
    def __len__(self) -> int: ...

@final
class SpeculativeDecoder:
    def __new__(
        cls,
        target: _Model,
        draft: _Model | None = None,
        *,
        tokenizer: _Model | None = None,
        chat_template: str | PathLike[str] | None = None,
        device: str | None = None,
        dtype: str | None = None,
        quantize: str | None = None,
        kv_cache_dtype: str | None = None,
        revision: str | None = None,
        num_threads: int | None = None,
        context_length: int | None = None,
        table: str | PathLike[str] | None = None,
        kernels: str | None = None,
        progress: _Progress | None = None,
    ) -> Self: ...
    @classmethod
    def from_pretrained(
        cls, repo_id: _Model, filename: str | None = None, **kwargs: Any
    ) -> SpeculativeDecoder: ...
    @staticmethod
    def with_models(
        target: LanguageModel, draft: LanguageModel | None, tokenizer: Tokenizer | _Model
    ) -> SpeculativeDecoder: ...
    def generate(
        self,
        prompt: _Prompt,
        config: SpeculativeConfig | None = None,
        *,
        # begin generated: keywords
        gamma: int = ...,
        temperature: float | None = ...,
        top_k: int | None = ...,
        top_p: float | None = ...,
        max_new_tokens: int | None = ...,
        adaptive: bool = ...,
        min_p: float | None = ...,
        repetition_penalty: float | None = ...,
        presence_penalty: float = ...,
        frequency_penalty: float = ...,
        logit_bias: Mapping[int, float] | None = ...,
        seed: int | None = ...,
        stop: str | _Sequence[str] | None = ...,
        ignore_eos: bool = ...,
        logprobs: int | None = ...,
        draft: _Draft | None = ...,
        verification: _Verification = ...,
        prediction: str | None = ...,
        response_format: dict[str, Any] | None = ...,
        # end generated: keywords
    ) -> Generation: ...
    def stream(
        self,
        prompt: _Prompt,
        config: SpeculativeConfig | None = None,
        *,
        # begin generated: keywords
        gamma: int = ...,
        temperature: float | None = ...,
        top_k: int | None = ...,
        top_p: float | None = ...,
        max_new_tokens: int | None = ...,
        adaptive: bool = ...,
        min_p: float | None = ...,
        repetition_penalty: float | None = ...,
        presence_penalty: float = ...,
        frequency_penalty: float = ...,
        logit_bias: Mapping[int, float] | None = ...,
        seed: int | None = ...,
        stop: str | _Sequence[str] | None = ...,
        ignore_eos: bool = ...,
        logprobs: int | None = ...,
        draft: _Draft | None = ...,
        verification: _Verification = ...,
        prediction: str | None = ...,
        response_format: dict[str, Any] | None = ...,
        # end generated: keywords
    ) -> Stream: ...
    async def generate_async(
        self,
        prompt: _Prompt,
        config: SpeculativeConfig | None = None,
        *,
        # begin generated: keywords
        gamma: int = ...,
        temperature: float | None = ...,
        top_k: int | None = ...,
        top_p: float | None = ...,
        max_new_tokens: int | None = ...,
        adaptive: bool = ...,
        min_p: float | None = ...,
        repetition_penalty: float | None = ...,
        presence_penalty: float = ...,
        frequency_penalty: float = ...,
        logit_bias: Mapping[int, float] | None = ...,
        seed: int | None = ...,
        stop: str | _Sequence[str] | None = ...,
        ignore_eos: bool = ...,
        logprobs: int | None = ...,
        draft: _Draft | None = ...,
        verification: _Verification = ...,
        prediction: str | None = ...,
        response_format: dict[str, Any] | None = ...,
        # end generated: keywords
    ) -> Generation: ...
    def stream_async(
        self,
        prompt: _Prompt,
        config: SpeculativeConfig | None = None,
        *,
        # begin generated: keywords
        gamma: int = ...,
        temperature: float | None = ...,
        top_k: int | None = ...,
        top_p: float | None = ...,
        max_new_tokens: int | None = ...,
        adaptive: bool = ...,
        min_p: float | None = ...,
        repetition_penalty: float | None = ...,
        presence_penalty: float = ...,
        frequency_penalty: float = ...,
        logit_bias: Mapping[int, float] | None = ...,
        seed: int | None = ...,
        stop: str | _Sequence[str] | None = ...,
        ignore_eos: bool = ...,
        logprobs: int | None = ...,
        draft: _Draft | None = ...,
        verification: _Verification = ...,
        prediction: str | None = ...,
        response_format: dict[str, Any] | None = ...,
        # end generated: keywords
    ) -> AsyncStream: ...
    def generate_batch(
        self,
        prompts: _Sequence[_Prompt],
        config: SpeculativeConfig | None = None,
        *,
        # begin generated: keywords
        gamma: int = ...,
        temperature: float | None = ...,
        top_k: int | None = ...,
        top_p: float | None = ...,
        max_new_tokens: int | None = ...,
        adaptive: bool = ...,
        min_p: float | None = ...,
        repetition_penalty: float | None = ...,
        presence_penalty: float = ...,
        frequency_penalty: float = ...,
        logit_bias: Mapping[int, float] | None = ...,
        seed: int | None = ...,
        stop: str | _Sequence[str] | None = ...,
        ignore_eos: bool = ...,
        logprobs: int | None = ...,
        draft: _Draft | None = ...,
        verification: _Verification = ...,
        prediction: str | None = ...,
        response_format: dict[str, Any] | None = ...,
        # end generated: keywords
    ) -> list[Generation]: ...
    def chat(
        self,
        messages: _Messages,
        config: SpeculativeConfig | None = None,
        *,
        tools: _Tools | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        # begin generated: keywords
        gamma: int = ...,
        temperature: float | None = ...,
        top_k: int | None = ...,
        top_p: float | None = ...,
        max_new_tokens: int | None = ...,
        adaptive: bool = ...,
        min_p: float | None = ...,
        repetition_penalty: float | None = ...,
        presence_penalty: float = ...,
        frequency_penalty: float = ...,
        logit_bias: Mapping[int, float] | None = ...,
        seed: int | None = ...,
        stop: str | _Sequence[str] | None = ...,
        ignore_eos: bool = ...,
        logprobs: int | None = ...,
        draft: _Draft | None = ...,
        verification: _Verification = ...,
        prediction: str | None = ...,
        response_format: dict[str, Any] | None = ...,
        # end generated: keywords
    ) -> Generation: ...
    def stream_chat(
        self,
        messages: _Messages,
        config: SpeculativeConfig | None = None,
        *,
        tools: _Tools | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        # begin generated: keywords
        gamma: int = ...,
        temperature: float | None = ...,
        top_k: int | None = ...,
        top_p: float | None = ...,
        max_new_tokens: int | None = ...,
        adaptive: bool = ...,
        min_p: float | None = ...,
        repetition_penalty: float | None = ...,
        presence_penalty: float = ...,
        frequency_penalty: float = ...,
        logit_bias: Mapping[int, float] | None = ...,
        seed: int | None = ...,
        stop: str | _Sequence[str] | None = ...,
        ignore_eos: bool = ...,
        logprobs: int | None = ...,
        draft: _Draft | None = ...,
        verification: _Verification = ...,
        prediction: str | None = ...,
        response_format: dict[str, Any] | None = ...,
        # end generated: keywords
    ) -> Stream: ...
    async def chat_async(
        self,
        messages: _Messages,
        config: SpeculativeConfig | None = None,
        *,
        tools: _Tools | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        # begin generated: keywords
        gamma: int = ...,
        temperature: float | None = ...,
        top_k: int | None = ...,
        top_p: float | None = ...,
        max_new_tokens: int | None = ...,
        adaptive: bool = ...,
        min_p: float | None = ...,
        repetition_penalty: float | None = ...,
        presence_penalty: float = ...,
        frequency_penalty: float = ...,
        logit_bias: Mapping[int, float] | None = ...,
        seed: int | None = ...,
        stop: str | _Sequence[str] | None = ...,
        ignore_eos: bool = ...,
        logprobs: int | None = ...,
        draft: _Draft | None = ...,
        verification: _Verification = ...,
        prediction: str | None = ...,
        response_format: dict[str, Any] | None = ...,
        # end generated: keywords
    ) -> Generation: ...
    def stream_chat_async(
        self,
        messages: _Messages,
        config: SpeculativeConfig | None = None,
        *,
        tools: _Tools | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        # begin generated: keywords
        gamma: int = ...,
        temperature: float | None = ...,
        top_k: int | None = ...,
        top_p: float | None = ...,
        max_new_tokens: int | None = ...,
        adaptive: bool = ...,
        min_p: float | None = ...,
        repetition_penalty: float | None = ...,
        presence_penalty: float = ...,
        frequency_penalty: float = ...,
        logit_bias: Mapping[int, float] | None = ...,
        seed: int | None = ...,
        stop: str | _Sequence[str] | None = ...,
        ignore_eos: bool = ...,
        logprobs: int | None = ...,
        draft: _Draft | None = ...,
        verification: _Verification = ...,
        prediction: str | None = ...,
        response_format: dict[str, Any] | None = ...,
        # end generated: keywords
    ) -> AsyncStream: ...
    def chat_batch(
        self,
        conversations: _Sequence[_Messages],
        config: SpeculativeConfig | None = None,
        *,
        tools: _Tools | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        # begin generated: keywords
        gamma: int = ...,
        temperature: float | None = ...,
        top_k: int | None = ...,
        top_p: float | None = ...,
        max_new_tokens: int | None = ...,
        adaptive: bool = ...,
        min_p: float | None = ...,
        repetition_penalty: float | None = ...,
        presence_penalty: float = ...,
        frequency_penalty: float = ...,
        logit_bias: Mapping[int, float] | None = ...,
        seed: int | None = ...,
        stop: str | _Sequence[str] | None = ...,
        ignore_eos: bool = ...,
        logprobs: int | None = ...,
        draft: _Draft | None = ...,
        verification: _Verification = ...,
        prediction: str | None = ...,
        response_format: dict[str, Any] | None = ...,
        # end generated: keywords
    ) -> list[Generation]: ...
    def chat_prompt(
        self,
        messages: _Messages,
        *,
        tools: _Tools | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        add_generation_prompt: bool | None = None,
        continue_final_message: bool = False,
    ) -> list[int]: ...
    def logits(self, ids: _TokenIds) -> npt.NDArray[np.float32]: ...
    def learn(self, text: _Prompt) -> None: ...
    def save_table(self, path: str | PathLike[str]) -> None: ...
    def sequence(self, model: Literal["target", "draft"] = "target") -> Sequence: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    def info(self) -> dict[str, Any]: ...

@final
class Benchmark:
    def __new__(cls, decoder: SpeculativeDecoder) -> Self: ...
    def run_comparison(
        self, prompt: _Prompt, config: SpeculativeConfig | None = None, num_runs: int = 3
    ) -> Comparison: ...

def run_cli(argv: _Sequence[str]) -> int: ...
def run_benchmark(argv: _Sequence[str]) -> int: ...
