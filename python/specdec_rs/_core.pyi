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
_Draft: TypeAlias = Literal[
    "auto",
    "none",
    "ngram",
    "model",
    "prediction",
    "table",
    "corpus",
    "recycling",
]
_Verification: TypeAlias = Literal["coupled", "rejection", "block"]
# end generated: choices
_Progress: TypeAlias = bool | Callable[[str, int, int | None], object]

_Message: TypeAlias = Mapping[str, Any]
_Messages: TypeAlias = _Sequence[_Message]
_Tools: TypeAlias = _Sequence[Mapping[str, Any]]

class SpecdecError(Exception):
    """The base of all exceptions that this package raises."""

class ModelNotFound(SpecdecError):
    """A model that does not exist or cannot be reached."""

class UnsupportedModel(SpecdecError):
    """A well-formed model of a kind that this package does not run."""

class CorruptModel(SpecdecError):
    """A file whose contents contradict themselves or its format."""

class VocabularyMismatch(SpecdecError):
    """A draft whose vocabulary has no token in common with the target's."""

class InvalidConfig(SpecdecError, ValueError):
    """A setting out of its range."""

class ContextOverflow(SpecdecError):
    """More tokens than the model's context holds."""

class DeviceUnavailable(SpecdecError):
    """A device that this build or machine does not have."""

class OutOfMemory(SpecdecError, MemoryError):
    """Not enough memory or disk space."""

class FileError(SpecdecError, OSError):
    """A file that the operating system refused to read or write."""

@final
class SpeculativeConfig:
    r"""The settings of a generation. They are immutable; None stands for the model's default.

    Args:
        gamma: Maximum number of tokens drafted per step (exactly this many if not `adaptive`); 0 disables speculation.
        temperature: Divides the logits: 0 is greedy decoding, 1 samples the model's own distribution.
        top_k: Sample among the k most probable tokens; 0 is off.
        top_p: Sample among the most probable tokens whose probabilities add up to this share; 1 is off.
        max_new_tokens: Maximum number of new tokens.
        adaptive: Let each step draft only as many tokens as save time, up to `gamma`.
        min_p: Sample among tokens at least this fraction as probable as the most probable one; 0 is off.
        repetition_penalty: Divides the logits of tokens in the prompt or the output so far; 1 is off.
        presence_penalty: Subtracted from the logits of tokens in the output so far; 0 is off.
        frequency_penalty: Subtracted from the logits of tokens once for each time that they occur in the output so far; 0 is off.
        logit_bias: Numbers added to the logits of tokens, by their ids.
        seed: Makes sampling repeatable; if it is left out, each request uses a new one. Rejection and block verification repeat a text only if the drafts are the same (not `adaptive`).
        stop: Generation stops before the first of these strings.
        ignore_eos: Continue past end-of-text tokens.
        logprobs: Return each token's log-probability, and those of this many of the most probable alternatives.
        draft: The source of drafts; by default, the one that the decoder was loaded with. A prediction is used in addition to any source but "none".
        verification: How drafts are verified: "coupled" (with a seed, exactly the text of plain sampling), "rejection" or "block" (the same distribution, and more accepted tokens).
        prediction: A text that the output is likely to resemble, to draft from.
        response_format: Constrains the output to JSON, a JSON schema, a regular expression or a grammar.

    Raises:
        InvalidConfig: A setting is out of its range.

    A response_format is {"type": "json_object"}, {"type": "json_schema", "json_schema": {"schema": {...}}},
    {"type": "regex", "regex": "..."} or {"type": "lark", "lark": "..."}.

    Example:
        >>> SpeculativeConfig(8, temperature=0, stop="\n").replace(gamma=4)
        SpeculativeConfig(gamma=4, temperature=0.0, stop=('\n',))
    """

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
    ) -> SpeculativeConfig:
        """A copy with some fields changed.

        Args:
            **changes: The fields.

        Returns:
            The copy.

        Raises:
            InvalidConfig: A field is out of its range.

        Example:
            >>> SpeculativeConfig(temperature=0).replace(gamma=4)
            SpeculativeConfig(gamma=4, temperature=0.0)
        """
    def as_dict(self) -> dict[str, Any]:
        """All fields by name."""
    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, Any]]: ...
    # begin generated: settings
    @property
    def gamma(self) -> int:
        """Maximum number of tokens drafted per step (exactly this many if not `adaptive`); 0 disables speculation."""

    @property
    def temperature(self) -> float | None:
        """Divides the logits: 0 is greedy decoding, 1 samples the model's own distribution."""

    @property
    def top_k(self) -> int | None:
        """Sample among the k most probable tokens; 0 is off."""

    @property
    def top_p(self) -> float | None:
        """Sample among the most probable tokens whose probabilities add up to this share; 1 is off."""

    @property
    def max_new_tokens(self) -> int | None:
        """Maximum number of new tokens."""

    @property
    def adaptive(self) -> bool:
        """Let each step draft only as many tokens as save time, up to `gamma`."""

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
        """Subtracted from the logits of tokens once for each time that they occur in the output so far; 0 is off."""

    @property
    def logit_bias(self) -> dict[int, float] | None:
        """Numbers added to the logits of tokens, by their ids."""

    @property
    def seed(self) -> int | None:
        """Makes sampling repeatable; if it is left out, each request uses a new one. Rejection and block verification repeat a text only if the drafts are the same (not `adaptive`)."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Generation stops before the first of these strings."""

    @property
    def ignore_eos(self) -> bool:
        """Continue past end-of-text tokens."""

    @property
    def logprobs(self) -> int | None:
        """Return each token's log-probability, and those of this many of the most probable alternatives."""

    @property
    def draft(self) -> _Draft | None:
        """The source of drafts; by default, the one that the decoder was loaded with. A prediction is used in addition to any source but "none"."""

    @property
    def verification(self) -> _Verification:
        """How drafts are verified: "coupled" (with a seed, exactly the text of plain sampling), "rejection" or "block" (the same distribution, and more accepted tokens)."""

    @property
    def prediction(self) -> str | None:
        """A text that the output is likely to resemble, to draft from."""

    @property
    def response_format(self) -> dict[str, Any] | None:
        """Constrains the output to JSON, a JSON schema, a regular expression or a grammar."""

    # end generated: settings
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Token:
    """A generated token."""
    @property
    def id(self) -> int:
        """Its id."""
    @property
    def text(self) -> str:
        """The text it completed; empty in the middle of a character, and for special tokens."""
    @property
    def logprob(self) -> float | None:
        """Natural logarithm of the target's probability for it; None unless asked for."""
    @property
    def top_logprobs(self) -> list[tuple[int, float]]:
        """The most probable alternatives as (id, logprob), best first."""
    @property
    def top_texts(self) -> list[str]:
        """What each of the tokens in top_logprobs stands for alone."""
    @property
    def source(self) -> str:
        """The source that proposed it: "target", or the name of a draft source."""
    @property
    def step(self) -> int:
        """The step that accepted it, from 0."""
    def as_dict(self) -> dict[str, Any]:
        """All properties by name."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class Chunk:
    """What one step adds to a generation."""
    @property
    def text(self) -> str:
        """Text that is certain now."""
    @property
    def tokens(self) -> list[Token]:
        """The step's tokens."""
    def as_dict(self) -> dict[str, Any]:
        """All properties by name."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class Stats:
    """Counts and times of a generation; times are in seconds."""

    # begin generated: statistics
    @property
    def prompt_tokens(self) -> int:
        """Tokens in the prompt."""

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that were cached by an earlier request."""

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
        """For each position of a draft, from 0, the number of steps whose draft reached it."""

    @property
    def accepted_per_position(self) -> list[int]:
        """For each position of a draft, from 0, the number of steps that accepted the draft up to it."""

    @property
    def sources(self) -> dict[str, dict[str, int]]:
        """Drafted and accepted tokens, by the source that proposed them."""

    @property
    def predicted_speedup(self) -> float | None:
        """The controller's estimate of the speedup, not a measurement; none if it made no choice."""

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
        """Spent in the target while decoding."""

    @property
    def acceptance_rate(self) -> float:
        """Share of the drafted tokens that were accepted; 0 without drafts."""

    @property
    def tokens_per_step(self) -> float:
        """Tokens generated per forward pass of the target."""

    @property
    def tokens_per_second(self) -> float:
        """Tokens per second, once the prompt was prefilled."""

    @property
    def speedup(self) -> float | None:
        """Speedup over generating as many tokens without drafts; none if no draft was accepted, fewer than 32 tokens were generated, or no step without a draft was measured."""

    # end generated: statistics
    def as_dict(self) -> dict[str, Any]:
        """All properties by name."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class Generation:
    """A finished generation; `str()` of it is its text."""
    @property
    def text(self) -> str:
        """The text, without special tokens and stop string."""
    @property
    def tokens(self) -> list[int]:
        """The ids of the tokens, an end-of-text token included."""
    @property
    def details(self) -> list[Token]:
        """The tokens with their texts, log-probabilities and sources."""
    @property
    def finish_reason(self) -> Literal["stop", "length", "cancelled"]:
        """Why it ended: "stop", "length" or "cancelled"."""
    @property
    def logprobs(self) -> list[float] | None:
        """The log-probability of each token; None unless asked for."""
    @property
    def stats(self) -> Stats:
        """The counts and times."""
    def _repr_html_(self) -> str: ...
    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values, ready for JSON."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class Measurement:
    """One side of a comparison; times are in seconds."""
    @property
    def tokens_per_second(self) -> float:
        """Median over the runs of new tokens per second, prefill left out."""
    @property
    def decode_seconds(self) -> float:
        """Median time of decoding, after prefill."""
    @property
    def draft_seconds(self) -> float:
        """Median time of drafting."""
    @property
    def verify_seconds(self) -> float:
        """Median time of the target's forward passes while decoding."""
    @property
    def latencies(self) -> list[float]:
        """Each run from request to last token."""
    @property
    def time_to_first_token(self) -> float:
        """Median time to the first token."""
    @property
    def acceptance_rate(self) -> float:
        """Share of the drafted tokens that were accepted, over all runs."""
    @property
    def tokens_per_step(self) -> float:
        """New tokens per forward pass of the target, over all runs."""
    @property
    def steps(self) -> int:
        """The target's forward passes while decoding, over all runs."""
    @property
    def drafted(self) -> int:
        """Drafted tokens, over all runs."""
    @property
    def accepted(self) -> int:
        """Drafted tokens that were accepted, over all runs."""
    @property
    def new_tokens(self) -> int:
        """New tokens of the first run."""
    @property
    def accepted_lengths(self) -> list[int]:
        """Steps of the first run that accepted 0, 1, 2, ... drafted tokens."""
    def as_dict(self) -> dict[str, Any]:
        """All properties by name."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class Comparison:
    """Plain and speculative decoding of the same prompt."""
    @property
    def speedup(self) -> float:
        """Median over the runs of speculative over plain tokens per second. If speculative.accepted is 0, no draft saved time: the value shows their cost, and noise."""
    @property
    def speedup_range(self) -> list[float]:
        """The speedups of the slowest and the fastest pair."""
    @property
    def baseline(self) -> Measurement:
        """Without speculation."""
    @property
    def speculative(self) -> Measurement:
        """With speculation."""
    @property
    def identical(self) -> bool:
        """Whether both ways gave the same tokens. If the verification only preserves the distribution, greedy decoding is compared instead."""
    @property
    def text(self) -> str:
        """The text of the first speculative run."""
    def as_dict(self) -> dict[str, Any]:
        """All properties by name."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class BatchInvariance:
    """Batch invariance: the logits of several rows in one forward pass against those of one row per pass."""
    @property
    def rows(self) -> int:
        """Rows that were compared."""
    @property
    def identical(self) -> bool:
        """Whether their logits are bit-identical."""
    @property
    def largest_difference(self) -> float:
        """The largest difference between two logits."""
    @property
    def largest_logit(self) -> float:
        """The largest logit, by its absolute value."""
    def as_dict(self) -> dict[str, Any]:
        """All properties by name."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class Divergence:
    """Where two texts that should be identical diverge."""
    @property
    def prompt(self) -> int:
        """Index of the prompt."""
    @property
    def seed(self) -> int | None:
        """The seed; None for greedy decoding."""
    @property
    def position(self) -> int:
        """Number of generated tokens before the divergence."""
    @property
    def plain(self) -> int | None:
        """The next token without speculation; None if the text ends."""
    @property
    def speculative(self) -> int | None:
        """The next token with speculation; None if the text ends."""
    @property
    def margin(self) -> float | None:
        """By how much the target prefers the one to the other; None if one of them has probability 0."""
    @property
    def by_rounding(self) -> bool:
        """Whether the target's own rounding explains it."""
    def as_dict(self) -> dict[str, Any]:
        """All properties by name."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class Identity:
    """Texts that should be identical."""
    @property
    def texts(self) -> int:
        """Pairs of texts compared."""
    @property
    def drafted(self) -> int:
        """Tokens that were drafted for them; without any, speculation was not tested."""
    @property
    def divergences(self) -> list[Divergence]:
        """The pairs that differ."""
    def as_dict(self) -> dict[str, Any]:
        """All properties by name."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class DistributionTest:
    """A chi-squared test of whether tokens follow the target's distribution."""
    @property
    def verification(self) -> _Verification:
        """How drafts were verified."""
    @property
    def drafted(self) -> int:
        """Tokens that were drafted for the texts; without any, speculation was not tested."""
    @property
    def tokens(self) -> int:
        """Tokens whose distribution left a choice."""
    @property
    def chi_squared(self) -> float:
        """Pearson's statistic."""
    @property
    def degrees(self) -> int:
        """Its degrees of freedom; 0 if there are too few tokens to tell."""
    @property
    def p_value(self) -> float:
        """The probability of a larger statistic by chance; 1 if there are too few tokens to tell."""
    @property
    def total_variation(self) -> float:
        """Total variation distance between the tokens' quantiles in their distributions and the uniform distribution."""
    @property
    def expected_variation(self) -> float:
        """The expected total variation distance if tokens follow their distributions."""
    @property
    def detectable(self) -> float | None:
        """The total variation distance that the test notices with a probability of at least 0.95; None if there are too few tokens to tell."""
    @property
    def holds(self) -> bool | None:
        """Whether chance can explain the statistic; None if that was not tested."""
    def as_dict(self) -> dict[str, Any]:
        """All properties by name."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class SourceReport:
    """What an audit finds about one draft source."""
    @property
    def draft(self) -> _Draft:
        """The source, such as "ngram" or "model"."""
    @property
    def greedy(self) -> Identity:
        """Greedy texts against those without speculation."""
    @property
    def seeded(self) -> Identity | None:
        """Sampled texts against those with the same seeds but without speculation; None if the settings are greedy."""
    @property
    def distributions(self) -> list[DistributionTest]:
        """Whether sampled tokens follow the target's distribution, for each kind of verification."""
    @property
    def laws(self) -> list[DistributionTest]:
        """The old name of distributions, kept for one release."""
    @property
    def drafted_per_position(self) -> list[int]:
        """For each position of a draft, from 0, the steps whose draft reached it."""
    @property
    def accepted_per_position(self) -> list[int]:
        """For each position of a draft, the steps that accepted its token."""
    def as_dict(self) -> dict[str, Any]:
        """All properties by name."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class AuditReport:
    """Whether speculation is lossless, and the tests of it."""
    @property
    def lossless(self) -> bool:
        """Whether something was tested and every test passed. It vouches only for what was tested: see verdict."""
    @property
    def greedy(self) -> bool | None:
        """Whether greedy texts are the target's own; None if that was not tested."""
    @property
    def seeded(self) -> bool | None:
        """Whether sampled texts with a seed are the target's own; None if that was not tested."""
    @property
    def distribution(self) -> bool | None:
        """Whether sampled tokens follow the target's distribution; None if that was not tested."""
    @property
    def verdict(self) -> str:
        """The result in words, with what was not tested."""
    @property
    def rows(self) -> BatchInvariance:
        """Whether the target computes the same logits for rows together and one by one."""
    @property
    def sources(self) -> list[SourceReport]:
        """Each draft source that was tested."""
    def as_dict(self) -> dict[str, Any]:
        """All properties by name."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class Audit:
    """Tests that speculation with a decoder's models is lossless on this machine.

    Args:
        decoder: The decoder.

    Example:
        >>> report = Audit(decoder).run(["You may"], SpeculativeConfig(max_new_tokens=8), samples=1)
        >>> report.lossless
        True
    """
    def __new__(cls, decoder: SpeculativeDecoder) -> Self: ...
    def run(
        self,
        prompts: _Sequence[_Prompt],
        config: SpeculativeConfig | None = None,
        samples: int = 32,
    ) -> AuditReport:
        """Tests every draft source, or the one that `config` names.

        Args:
            prompts: Texts or token ids; each is continued greedily with every source.
            config: The settings of the sampled texts; None is the model's defaults.
            samples: Sampled texts for each kind of verification.

        Returns:
            What was found.

        Raises:
            InvalidConfig: A setting is out of its range, or there is no prompt.

        Example:
            >>> report = Audit(decoder).run(["You may"], SpeculativeConfig(max_new_tokens=8), samples=1)
        """

@final
class Stream(Iterator[Chunk]):
    """A generation in progress: an iterator of chunks.

    Example:
        >>> stream = decoder.stream("You may", max_new_tokens=8)
        >>> text = "".join(chunk.text for chunk in stream)
        >>> stream.generation.text == text
        True
    """
    def __iter__(self) -> Self: ...
    def __next__(self) -> Chunk: ...
    def cancel(self) -> None:
        """Cancels the generation within one step, from any thread."""
    @property
    def generation(self) -> Generation | None:
        """The complete generation once the stream has ended; None before."""

@final
class AsyncStream(AsyncIterator[Chunk]):
    """A generation in progress, batched with others: an asynchronous iterator of chunks.

    It starts when the first chunk is awaited, and continues without waiting for the next await.

    Example:
        >>> async def text():
        ...     return "".join([chunk.text async for chunk in decoder.stream_async("You may")])
        >>> asyncio.run(text())  # doctest: +SKIP
    """
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, Chunk]: ...
    def cancel(self) -> None:
        """Ends the generation within one step, from any thread; chunks generated until then can still be read."""
    @property
    def generation(self) -> Generation | None:
        """The complete generation once the stream has ended; None before."""

@final
class Tokenizer:
    """Converts text to token ids and back.

    Args:
        model: A hub name, a folder or a .gguf file whose tokenizer is loaded.

    Raises:
        ModelNotFound: There is no such model, or it has no tokenizer.

    Example:
        >>> tokenizer = Tokenizer("smollm2-135m")  # doctest: +SKIP
    """
    def __new__(cls, model: _Model) -> Self: ...
    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """The token ids of a text.

        Args:
            text: The text.
            add_special_tokens: Add the tokens that the model expects around a text.

        Returns:
            The ids.

        Example:
            >>> ids = decoder.tokenizer.encode("the free software")
        """
    def decode(self, ids: _TokenIds, skip_special_tokens: bool = True) -> str:
        """The text of token ids.

        Args:
            ids: Token ids.
            skip_special_tokens: Leave special tokens out.

        Returns:
            The text; invalid UTF-8 becomes U+FFFD, and ids outside of the vocabulary have no text.

        Raises:
            InvalidConfig: An id is negative or too large.

        Example:
            >>> tokenizer = decoder.tokenizer
            >>> tokenizer.decode(tokenizer.encode("the free software", add_special_tokens=False))
            'the free software'
        """
    @overload
    def convert_ids_to_tokens(self, ids: int | np.integer[Any]) -> str:
        """Tokens as the vocabulary spells them.

        Args:
            ids: A token id, or several.

        Returns:
            The token, or a list of tokens.

        Raises:
            InvalidConfig: An id is not in the vocabulary.

        Example:
            >>> tokenizer = decoder.tokenizer
            >>> tokenizer.convert_ids_to_tokens(tokenizer.eos_token_id) == tokenizer.eos_token
            True
        """
    @overload
    def convert_ids_to_tokens(self, ids: _TokenIds) -> list[str]:
        """Tokens as the vocabulary spells them.

        Args:
            ids: A token id, or several.

        Returns:
            The token, or a list of tokens.

        Raises:
            InvalidConfig: An id is not in the vocabulary.

        Example:
            >>> tokenizer = decoder.tokenizer
            >>> tokenizer.convert_ids_to_tokens(tokenizer.eos_token_id) == tokenizer.eos_token
            True
        """
    @overload
    def convert_tokens_to_ids(self, tokens: str) -> int | None:
        """The ids of tokens as the vocabulary spells them.

        Args:
            tokens: A token, or several.

        Returns:
            The id, or a list of ids; None for a string that is not a token.

        Example:
            >>> tokenizer = decoder.tokenizer
            >>> tokenizer.convert_tokens_to_ids([tokenizer.eos_token]) == [tokenizer.eos_token_id]
            True
        """
    @overload
    def convert_tokens_to_ids(self, tokens: list[str]) -> list[int | None]:
        """The ids of tokens as the vocabulary spells them.

        Args:
            tokens: A token, or several.

        Returns:
            The id, or a list of ids; None for a string that is not a token.

        Example:
            >>> tokenizer = decoder.tokenizer
            >>> tokenizer.convert_tokens_to_ids([tokenizer.eos_token]) == [tokenizer.eos_token_id]
            True
        """
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
    ) -> list[int]:
        """A conversation as the model reads it, by its chat template.

        Args:
            messages: Dicts with a "role" and a "content"; every field reaches the chat template.
            tokenize: Return token ids; otherwise the text.
            add_generation_prompt: End where the answer starts; None is True unless `continue_final_message`.
            continue_final_message: End with the last message's text, which the answer continues.
            tools: Functions that the model may call, as OpenAI's API describes them.
            **kwargs: The chat template's own variables.

        Returns:
            Token ids or a text.

        Raises:
            InvalidConfig: The chat template refuses the conversation.
            UnsupportedModel: The model has no chat template.

        Example:
            >>> messages = [{"role": "user", "content": "Hi!"}]
            >>> text = decoder.tokenizer.apply_chat_template(messages, tokenize=False)
        """
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
    ) -> str:
        """A conversation as the model reads it, by its chat template.

        Args:
            messages: Dicts with a "role" and a "content"; every field reaches the chat template.
            tokenize: Return token ids; otherwise the text.
            add_generation_prompt: End where the answer starts; None is True unless `continue_final_message`.
            continue_final_message: End with the last message's text, which the answer continues.
            tools: Functions that the model may call, as OpenAI's API describes them.
            **kwargs: The chat template's own variables.

        Returns:
            Token ids or a text.

        Raises:
            InvalidConfig: The chat template refuses the conversation.
            UnsupportedModel: The model has no chat template.

        Example:
            >>> messages = [{"role": "user", "content": "Hi!"}]
            >>> text = decoder.tokenizer.apply_chat_template(messages, tokenize=False)
        """
    @property
    def chat_template(self) -> str | None:
        """The chat template in Jinja; None if the model has none."""
    @property
    def vocab_size(self) -> int:
        """Number of tokens in the vocabulary."""
    @property
    def eos_token_id(self) -> int | None:
        """The id of the token that ends a text, or a turn of a conversation; None without one."""
    @property
    def eos_token_ids(self) -> list[int]:
        """The ids of all tokens that end a generation."""
    @property
    def bos_token_id(self) -> int | None:
        """The id of the token that starts a text; None without one."""
    @property
    def eos_token(self) -> str | None:
        """The token that ends a text, or a turn of a conversation; None without one."""
    @property
    def bos_token(self) -> str | None:
        """The token that starts a text; None without one."""

@final
class Sequence:
    """A token sequence in a model's cache, for your own decoding loop.

    Example:
        >>> sequence = decoder.sequence()
        >>> next_token = int(sequence.extend([5, 6, 7])[-1].argmax())
        >>> sequence.truncate(2)
        >>> len(sequence)
        2
    """
    def extend(self, ids: _TokenIds, rows: int = 1) -> npt.NDArray[np.float32]:
        """Appends tokens.

        Args:
            ids: Token ids.
            rows: How many of the last tokens to return logits for.

        Returns:
            The logits: float32 [rows, vocab_size].

        Raises:
            InvalidConfig: There are fewer ids than rows, or an id is not in the vocabulary.
            ContextOverflow: The tokens do not fit the model's context.

        Example:
            >>> decoder.sequence().extend([5, 6, 7], rows=2).shape
            (2, 512)
        """
    def extend_tree(
        self, ids: _TokenIds, parents: _Sequence[int | None]
    ) -> npt.NDArray[np.float32]:
        """Appends a tree of tokens, of which `accept` keeps one path.

        Args:
            ids: Token ids.
            parents: For each, the index of the token that it follows; None is the end of the sequence.

        Returns:
            The logits of all tokens: float32 [len(ids), vocab_size].

        Raises:
            InvalidConfig: A parent comes after its child, or an id is not in the vocabulary.
            ContextOverflow: The tokens do not fit the model's context.

        Example:
            >>> sequence = decoder.sequence()
            >>> logits = sequence.extend([5, 6])
            >>> sequence.extend_tree([7, 8, 9], [None, None, 0]).shape
            (3, 512)
            >>> sequence.accept([0, 2])
            >>> len(sequence)
            4
        """
    def accept(self, path: _Sequence[int]) -> None:
        """Accepts a path of a tree's tokens, and rolls back the others.

        Args:
            path: The tokens' indices, from the root.

        Raises:
            InvalidConfig: It is not a path of the tree.

        Example:
            >>> sequence = decoder.sequence()
            >>> logits = sequence.extend_tree([5, 6], [None, None])
            >>> sequence.accept([1])
        """
    def keep(self, path: _Sequence[int]) -> None:
        """The old name of `accept`, kept for one release."""
    def truncate(self, length: int) -> None:
        """Removes all but the first tokens, and any tree after them.

        Args:
            length: How many tokens stay.

        Raises:
            InvalidConfig: There are fewer tokens.

        Example:
            >>> sequence = decoder.sequence()
            >>> logits = sequence.extend([5, 6, 7])
            >>> sequence.truncate(1)
        """
    def fork(self) -> Sequence:
        """A new sequence with the same tokens.

        Returns:
            The sequence.

        Example:
            >>> sequence = decoder.sequence()
            >>> logits = sequence.extend([5, 6, 7])
            >>> len(sequence.fork())
            3
        """
    def __len__(self) -> int: ...

@final
class SpeculativeDecoder:
    """Speculative decoding: the target's exact output, faster. Usable from many threads at once.

    Args:
        target: A hub name ("owner/name", "owner/name:Q4_K_M"), a folder, a .gguf file, "pypi:PACKAGE==VERSION",
            or a default model's alias.
        draft: A model or a draft head, named like the target; "auto" (None: all sources that need no model, and a head
            in the target or beside it), one of these sources (as "ngram"), or "none"; the target's own layer for
            multi-token prediction ("mtp"); or the target itself with some of its layers ("self:0-9,26-29"),
            quantized further ("self:q4_0") or seeing only the end of a long text ("self:window=1024").
        lora: A LoRA adapter, or a list of them, to merge into the target: folders in PEFT's layout, .gguf files or hub
            names. (A folder with an adapter can be the target itself: then its base model is loaded, too.)
        tokenizer: A model whose tokenizer is used instead of the target's.
        chat_template: A chat template to use instead of the model's own: a file, a known name ("chatml", "llama3", ...),
            or Jinja source.
        device: "cpu", "cuda", "cuda:INDEX" or "metal"; None is SPECDEC_DEVICE, or the best available.
        dtype: Store all weights in this type.
        quantize: Quantize on loading: "q8_0", "q4_0", ...
        kv_cache_dtype: Store keys and values as "f32", "f16" or "q8_0" (on the CPU); None chooses by the type of
            the weights.
        revision: Branch, tag or commit of a hub model.
        num_threads: Threads that compute on the CPU; None is SPECDEC_NUM_THREADS, or all available.
        context_length: Maximum number of tokens in a sequence; None is the model's.
        table: An n-gram table that `save_table` saved, to draft from.
        corpus: A folder of texts to look drafts up in: a code base, templates. Its index is made once, and kept in the cache.
        kernels: "candle" computes with Candle's kernels, the reference; None with the fastest ones.
        progress: True or False to show a progress bar or none; None shows one on a terminal and in a notebook; or a
            function (label, done, total), called some ten times a second.

    Raises:
        ModelNotFound: There is no such model, or it can't be reached.
        UnsupportedModel: The model is of a kind that this package does not run.
        CorruptModel: A file of the model is damaged.
        DeviceUnavailable: This build or machine does not have the device.
        OutOfMemory: The weights do not fit.
        InvalidConfig: An argument is out of its range.

    Example:
        >>> decoder = SpeculativeDecoder("smollm2-135m")  # doctest: +SKIP
        >>> print(decoder.generate("Once upon a time,"))  # doctest: +SKIP
    """
    def __new__(
        cls,
        target: _Model,
        draft: _Model | None = None,
        *,
        lora: _Model | _Sequence[_Model] | None = None,
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
        corpus: str | PathLike[str] | None = None,
        kernels: str | None = None,
        progress: _Progress | None = None,
    ) -> Self: ...
    @classmethod
    def from_pretrained(
        cls, repo_id: _Model, filename: str | None = None, **kwargs: Any
    ) -> SpeculativeDecoder:
        """Loads a model of a hub repository or folder, with one of its GGUF files if `filename` names one.

        Args:
            repo_id: The repository or folder.
            filename: A GGUF file's name, its quantization ("Q4_K_M"), or a pattern that matches one file.
            **kwargs: The constructor's other arguments.

        Returns:
            The decoder.

        Raises:
            ModelNotFound: No file matches, or several do.

        Example:
            >>> SpeculativeDecoder.from_pretrained(
            ...     "bartowski/SmolLM2-135M-Instruct-GGUF", "*Q4_K_M.gguf"
            ... )  # doctest: +SKIP
        """
    @staticmethod
    def with_models(
        target: LanguageModel, draft: LanguageModel | None, tokenizer: Tokenizer | _Model
    ) -> SpeculativeDecoder:
        """Decodes with your own models: objects with the methods of `LanguageModel`.

        Args:
            target: The model whose text is generated.
            draft: A model that drafts; None drafts without a model.
            tokenizer: A `Tokenizer`, or the model or folder to load it from.

        Returns:
            The decoder.

        Raises:
            ModelNotFound: There is no such tokenizer.

        Example:
            >>> SpeculativeDecoder.with_models(MyModel(), None, "smollm2-135m")  # doctest: +SKIP
        """
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
    ) -> Generation:
        """Continues a prompt.

        Args:
            prompt: A text, or token ids, which are used as they are.
            config: The settings; None is the model's defaults.
            **overrides: Settings that replace those of `config`.

        Returns:
            The text with its tokens and statistics.

        Raises:
            InvalidConfig: A setting is out of its range, or the prompt has no tokens.
            ContextOverflow: The prompt is longer than the model's context.

        Example:
            >>> generation = decoder.generate("You may", temperature=0, max_new_tokens=8)
            >>> len(generation.tokens)
            8
        """
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
    ) -> Stream:
        """Continues a prompt, chunk by chunk.

        Args:
            prompt: A text, or token ids, which are used as they are.
            config: The settings; None is the model's defaults.
            **overrides: Settings that replace those of `config`.

        Returns:
            An iterator of chunks; once it has ended, its `generation` is the complete result.

        Raises:
            InvalidConfig: A setting is out of its range, or the prompt has no tokens.
            ContextOverflow: The prompt is longer than the model's context.

        Example:
            >>> text = ""
            >>> for chunk in decoder.stream("You may", max_new_tokens=8):
            ...     text += chunk.text
        """
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
    ) -> Generation:
        """Continues a prompt without blocking the event loop. Cancelling the task ends the generation.

        Args:
            prompt: A text, or token ids, which are used as they are.
            config: The settings; None is the model's defaults.
            **overrides: Settings that replace those of `config`.

        Returns:
            The text with its tokens and statistics.

        Raises:
            InvalidConfig: A setting is out of its range, or the prompt has no tokens.
            ContextOverflow: The prompt is longer than the model's context.

        Example:
            >>> generation = asyncio.run(decoder.generate_async("You may", max_new_tokens=8))
        """
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
    ) -> AsyncStream:
        """Continues a prompt, chunk by chunk, without blocking the event loop.

        Args:
            prompt: A text, or token ids, which are used as they are.
            config: The settings; None is the model's defaults.
            **overrides: Settings that replace those of `config`.

        Returns:
            An asynchronous iterator of chunks; once it has ended, its `generation` is the complete result.

        Raises:
            InvalidConfig: A setting is out of its range, or the prompt has no tokens.
            ContextOverflow: The prompt is longer than the model's context.

        Example:
            >>> async def text():
            ...     return "".join([chunk.text async for chunk in decoder.stream_async("You may")])
            >>> asyncio.run(text())  # doctest: +SKIP
        """
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
    ) -> list[Generation]:
        """Continues several prompts in one batch.

        Args:
            prompts: Texts or token ids.
            config: The settings; None is the model's defaults.
            **overrides: Settings that replace those of `config`.

        Returns:
            The generations in the order of the prompts.

        Raises:
            InvalidConfig: A setting is out of its range, or a prompt has no tokens.
            ContextOverflow: A prompt is longer than the model's context.

        Example:
            >>> len(decoder.generate_batch(["You may", "The free"], max_new_tokens=8))
            2
        """
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
    ) -> Generation:
        """Answers a conversation, rendered by the model's chat template.

        Args:
            messages: Dicts with a "role" and a "content"; every field reaches the chat template.
            config: The settings; None is the model's defaults.
            tools: Functions that the model may call, as OpenAI's API describes them.
            chat_template_kwargs: The chat template's own variables, such as {"enable_thinking": False}.
            **overrides: Settings that replace those of `config`.

        Returns:
            The answer with its tokens and statistics.

        Raises:
            InvalidConfig: A setting is out of its range, or the chat template refuses the conversation.
            UnsupportedModel: The model has no chat template.
            ContextOverflow: The conversation is longer than the model's context.

        Example:
            >>> answer = decoder.chat([{"role": "user", "content": "Hi!"}], max_new_tokens=8)
        """
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
    ) -> Stream:
        """Answers a conversation, chunk by chunk.

        Args:
            messages: Dicts with a "role" and a "content"; every field reaches the chat template.
            config: The settings; None is the model's defaults.
            tools: Functions that the model may call, as OpenAI's API describes them.
            chat_template_kwargs: The chat template's own variables, such as {"enable_thinking": False}.
            **overrides: Settings that replace those of `config`.

        Returns:
            An iterator of chunks; once it has ended, its `generation` is the complete result.

        Raises:
            InvalidConfig: A setting is out of its range, or the chat template refuses the conversation.
            UnsupportedModel: The model has no chat template.
            ContextOverflow: The conversation is longer than the model's context.

        Example:
            >>> text = ""
            >>> for chunk in decoder.stream_chat([{"role": "user", "content": "Hi!"}], max_new_tokens=8):
            ...     text += chunk.text
        """
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
    ) -> Generation:
        """Answers a conversation without blocking the event loop. Cancelling the task ends the generation.

        Args:
            messages: Dicts with a "role" and a "content"; every field reaches the chat template.
            config: The settings; None is the model's defaults.
            tools: Functions that the model may call, as OpenAI's API describes them.
            chat_template_kwargs: The chat template's own variables, such as {"enable_thinking": False}.
            **overrides: Settings that replace those of `config`.

        Returns:
            The answer with its tokens and statistics.

        Raises:
            InvalidConfig: A setting is out of its range, or the chat template refuses the conversation.
            UnsupportedModel: The model has no chat template.
            ContextOverflow: The conversation is longer than the model's context.

        Example:
            >>> messages = [{"role": "user", "content": "Hi!"}]
            >>> answer = asyncio.run(decoder.chat_async(messages, max_new_tokens=8))
        """
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
    ) -> AsyncStream:
        """Answers a conversation, chunk by chunk, without blocking the event loop.

        Args:
            messages: Dicts with a "role" and a "content"; every field reaches the chat template.
            config: The settings; None is the model's defaults.
            tools: Functions that the model may call, as OpenAI's API describes them.
            chat_template_kwargs: The chat template's own variables, such as {"enable_thinking": False}.
            **overrides: Settings that replace those of `config`.

        Returns:
            An asynchronous iterator of chunks; once it has ended, its `generation` is the complete result.

        Raises:
            InvalidConfig: A setting is out of its range, or the chat template refuses the conversation.
            UnsupportedModel: The model has no chat template.
            ContextOverflow: The conversation is longer than the model's context.

        Example:
            >>> async def text():
            ...     stream = decoder.stream_chat_async([{"role": "user", "content": "Hi!"}])
            ...     return "".join([chunk.text async for chunk in stream])
            >>> asyncio.run(text())  # doctest: +SKIP
        """
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
    ) -> list[Generation]:
        """Answers several conversations in one batch.

        Args:
            conversations: Lists of messages.
            config: The settings; None is the model's defaults.
            tools: Functions that the model may call, as OpenAI's API describes them.
            chat_template_kwargs: The chat template's own variables, such as {"enable_thinking": False}.
            **overrides: Settings that replace those of `config`.

        Returns:
            The answers in the order of the conversations.

        Raises:
            InvalidConfig: A setting is out of its range, or the chat template refuses a conversation.
            UnsupportedModel: The model has no chat template.
            ContextOverflow: A conversation is longer than the model's context.

        Example:
            >>> conversations = [[{"role": "user", "content": text}] for text in ("Hi!", "Bye!")]
            >>> len(decoder.chat_batch(conversations, max_new_tokens=8))
            2
        """
    def chat_prompt(
        self,
        messages: _Messages,
        *,
        tools: _Tools | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        add_generation_prompt: bool | None = None,
        continue_final_message: bool = False,
    ) -> list[int]:
        """The prompt that `chat` uses for a conversation.

        Args:
            messages: Dicts with a "role" and a "content"; every field reaches the chat template.
            tools: Functions that the model may call, as OpenAI's API describes them.
            chat_template_kwargs: The chat template's own variables, such as {"enable_thinking": False}.
            add_generation_prompt: End where the answer starts; None is True unless `continue_final_message`.
            continue_final_message: End with the last message's text, which the answer continues.

        Returns:
            The token ids.

        Raises:
            InvalidConfig: The chat template refuses the conversation.
            UnsupportedModel: The model has no chat template.

        Example:
            >>> messages = [
            ...     {"role": "user", "content": "Name a colour."},
            ...     {"role": "assistant", "content": "The colour"},
            ... ]
            >>> ids = decoder.chat_prompt(messages, continue_final_message=True)
            >>> generation = decoder.generate(ids, max_new_tokens=8)
        """
    def logits(self, ids: _TokenIds) -> npt.NDArray[np.float32]:
        """The target's logits after each token, computed from an empty cache.

        Args:
            ids: Token ids.

        Returns:
            float32 [len(ids), vocab_size].

        Raises:
            ContextOverflow: There are more tokens than the model's context holds.
            OutOfMemory: The array does not fit.

        Example:
            >>> decoder.logits([5, 6, 7]).shape
            (3, 512)
        """
    def learn(self, text: _Prompt) -> None:
        """Adds a text that resembles future answers to the decoder's n-gram table.

        Args:
            text: A text, or token ids.

        Example:
            >>> decoder.learn("The cat sat on the mat.")
        """
    def save_table(self, path: str | PathLike[str]) -> None:
        """Saves the n-gram table to a file, for the constructor's `table`.

        Args:
            path: The file.

        Raises:
            FileError: The file can't be written.

        Example:
            >>> decoder.save_table("texts.table")  # doctest: +SKIP
        """
    def sequence(self, model: Literal["target", "draft"] = "target") -> Sequence:
        """An empty token sequence, for your own decoding loop.

        Args:
            model: "target" or "draft".

        Returns:
            The sequence.

        Raises:
            InvalidConfig: The decoder has no draft model.

        Example:
            >>> sequence = decoder.sequence()
            >>> sequence.extend([5, 6, 7]).shape
            (1, 512)
        """
    @property
    def tokenizer(self) -> Tokenizer:
        """The target's tokenizer."""
    def info(self) -> dict[str, Any]:
        """Facts about the target, and under "draft" about the draft model.

        Returns:
            architecture, parameters, bytes, quantization, device, kernels, threads, context_length, vocab_size,
            draft.

        Example:
            >>> decoder.info()["architecture"]
            'llama'
        """

@final
class Benchmark:
    """Compares a decoder with itself without speculation.

    Args:
        decoder: The decoder.

    Example:
        >>> config = SpeculativeConfig(max_new_tokens=8)
        >>> Benchmark(decoder).run_comparison("You may", config, num_runs=1).identical
        True
    """
    def __new__(cls, decoder: SpeculativeDecoder) -> Self: ...
    def run_comparison(
        self, prompt: _Prompt, config: SpeculativeConfig | None = None, num_runs: int = 3
    ) -> Comparison:
        """Runs both ways in turn, alternating which one runs first.

        Args:
            prompt: A text or token ids.
            config: The settings; None is the model's defaults.
            num_runs: How often each way runs.

        Returns:
            Both ways' times, and whether they gave the same tokens.

        Raises:
            InvalidConfig: A setting is out of its range.

        Example:
            >>> config = SpeculativeConfig(max_new_tokens=8)
            >>> comparison = Benchmark(decoder).run_comparison("You may", config, num_runs=1)
        """

def run_cli(argv: _Sequence[str]) -> int:
    """Runs `specdec` with these arguments, the program's name first; returns its exit status."""

def run_benchmark(argv: _Sequence[str]) -> int:
    """Runs `benchmark` with these arguments, the program's name first; returns its exit status."""
