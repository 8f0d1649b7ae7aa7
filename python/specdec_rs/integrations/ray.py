"""Beyond one machine, with Ray: a deployment for Ray Serve and a predictor for Ray Data.

Needs the extra `ray` (`pip install ".[ray]"`). The deployment routes prompts with a common prefix
to the same replica, which has it in its prefix cache:

>>> from ray import serve
>>> from specdec_rs.integrations.ray import deployment, predict
>>> serve.run(deployment("smollm2-135m", replicas=(1, 4)))  # doctest: +SKIP
>>> predict(dataset, "smollm2-135m", concurrency=2)  # doctest: +SKIP
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import numpy as np

from specdec_rs import SpecdecError, SpeculativeDecoder

try:
    from ray import serve
except ModuleNotFoundError as error:
    if error.name not in ("ray", "starlette"):
        raise
    raise ModuleNotFoundError(
        f"{__name__} needs Ray Serve: pip install 'ray[serve,data]'", name=error.name
    ) from error

# What Ray Serve itself needs.
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.config import AutoscalingConfig, RequestRouterConfig
from ray.serve.request_router import (
    PendingRequest,
    RequestRouter,
    RunningReplica,
)
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

if TYPE_CHECKING:
    from ray.data import Dataset

Prompt = str | list[int] | list[dict[str, str]]
"""A text, token ids, or a list of messages."""

_MAX_ATTEMPTS = 5
"""How many replicas a request is sent to if they die."""

_PREFIX_CHARS = 256
"""Characters of a prompt's prefix that choose its replica; for token ids, a quarter as many ids."""


class Engine:
    """A replica: a decoder whose requests share forward passes of the target."""

    def __init__(self, target: str, draft: str | None, options: dict[str, Any]) -> None:
        """Load the models, with the options of `SpeculativeDecoder`."""
        self._decoder = SpeculativeDecoder(target, draft, **options)

    async def stream(self, prompt: Prompt, config: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Yield {"text", "tokens"} for each step, then {"finish_reason", "stats"}."""
        text_or_ids: Any = prompt
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], dict):
            text_or_ids = self._decoder.chat_prompt(text_or_ids)
        stream = self._decoder.stream_async(text_or_ids, **config)
        async for chunk in stream:
            yield {"text": chunk.text, "tokens": [token.as_dict() for token in chunk.tokens]}
        generation = stream.generation
        assert generation is not None
        yield {"finish_reason": generation.finish_reason, "stats": generation.stats.as_dict()}


class PrefixRouter(RequestRouter):
    """Routes prompts with a common prefix to the same replica, which has it in its prefix cache.

    Each prefix ranks the replicas in its own order (rendezvous hashing), so adding or removing a
    replica only moves the prompts of that replica. If a replica is full, the next one in the order
    gets the prompt.
    """

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """Return the replicas in order of preference."""
        prefix = _prefix(pending_request.args[0]) if pending_request else ""

        def weight(replica: RunningReplica) -> bytes:
            name = f"{replica.replica_id.unique_id}\0{prefix}"
            return hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()

        return [[replica] for replica in sorted(candidate_replicas, key=weight)]


def _is_prompt(value: object) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list)
        and (
            all(isinstance(item, int) for item in value)
            or all(isinstance(item, dict) for item in value)
        )
    )


def _prefix(prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return prompt[:_PREFIX_CHARS]
    if prompt and isinstance(prompt[0], dict):
        return json.dumps(prompt)[:_PREFIX_CHARS]
    return json.dumps(prompt[: _PREFIX_CHARS // 4])


class Front:
    """Sends requests to replicas, and resumes them on another replica if one dies.

    The output depends only on the prompt and the seed, so another replica generates the same text
    again, and the client receives the part that it does not have yet.
    """

    def __init__(self, engines: Any) -> None:
        """Store the handle of the replicas."""
        self._engines = engines.options(stream=True)

    async def stream(self, prompt: Prompt, **config: Any) -> AsyncIterator[dict[str, Any]]:
        """Yield {"text", "tokens"} for each step, then {"finish_reason", "stats"}.

        The keywords are those of `SpeculativeConfig`.
        """
        if config.get("seed") is None:
            config["seed"] = secrets.randbits(63)
        repeats = config.get("verification", "coupled") == "coupled"
        sent = _SentOutput()
        for attempt in range(_MAX_ATTEMPTS):
            sent.restart()
            try:
                async for chunk in self._engines.stream.remote(prompt, config):
                    unsent = sent.remove_sent(chunk)
                    if unsent is not None:
                        yield unsent
                return
            except RayActorError:
                if attempt + 1 == _MAX_ATTEMPTS or (sent.has_tokens and not repeats):
                    raise

    async def generate(self, prompt: Prompt, **config: Any) -> dict[str, Any]:
        """Return the whole answer: {"text", "tokens", "finish_reason", "stats"}."""
        whole: dict[str, Any] = {"text": "", "tokens": []}
        async for chunk in self.stream(prompt, **config):
            if "text" in chunk:
                whole["text"] += chunk["text"]
                whole["tokens"] += chunk["tokens"]
            else:
                whole |= chunk
        return whole

    async def __call__(self, request: Request) -> Response:
        """Answer POST with {"prompt" or "messages", "stream", settings}; 400 if it is invalid."""
        try:
            body = await request.json()
            stream = body.pop("stream", False)
            given = [body.pop(name) for name in ("prompt", "messages") if name in body]
        except (ValueError, AttributeError, TypeError):
            given = []
        if len(given) != 1 or not _is_prompt(given[0]):
            expected = 'expected JSON with either "prompt" or "messages"'
            return JSONResponse({"error": expected}, status_code=400)
        try:
            if not stream:
                return JSONResponse(await self.generate(given[0], **body))
            chunks = self.stream(given[0], **body)
            # Invalid settings fail before the first chunk, while the status can still be 400.
            first = await anext(chunks)
        except TypeError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        except RayTaskError as error:
            if isinstance(error.cause, SpecdecError | TypeError):
                return JSONResponse({"error": str(error.cause)}, status_code=400)
            raise

        async def events() -> AsyncIterator[str]:
            yield f"data: {json.dumps(first)}\n\n"
            async for chunk in chunks:
                yield f"data: {json.dumps(chunk)}\n\n"
            yield "data: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")


class _SentOutput:
    """What a client has received of an answer that may be generated more than once."""

    def __init__(self) -> None:
        self.text = ""
        self._tokens = 0
        self.restart()

    @property
    def has_tokens(self) -> bool:
        """Whether the client has received any tokens."""
        return self._tokens > 0

    def restart(self) -> None:
        """Note that the answer is generated again from the start."""
        self._generated = ""
        self._generated_tokens = 0

    def remove_sent(self, chunk: dict[str, Any]) -> dict[str, Any] | None:
        """Return the part of a chunk that the client has not received, or None if it has all."""
        if "text" not in chunk:
            return chunk
        self._generated += chunk["text"]
        self._generated_tokens += len(chunk["tokens"])
        text = self._generated[len(self.text) :]
        new = max(0, self._generated_tokens - self._tokens)
        tokens = chunk["tokens"][len(chunk["tokens"]) - new :] if new else []
        self.text += text
        self._tokens = max(self._tokens, self._generated_tokens)
        return {"text": text, "tokens": tokens} if text or tokens else None


def deployment(
    target: str,
    draft: str | None = None,
    *,
    name: str = "specdec",
    replicas: tuple[int, int] = (1, 4),
    ongoing: int = 8,
    actor_options: dict[str, Any] | None = None,
    **options: Any,
) -> serve.Application:
    """Build an application for `serve.run`: a front end and replicas of a decoder.

    Args:
        target: The target model, as in `SpeculativeDecoder`; every node must be able to load it.
        draft: The draft, as in `SpeculativeDecoder`.
        name: The name of the deployments.
        replicas: The minimum and maximum number of replicas.
        ongoing: Concurrent requests per replica above which Ray adds replicas. A replica accepts
            at most twice as many.
        actor_options: The resources that Ray reserves for a replica, such as {"num_cpus": 4}.
        options: Further options of `SpeculativeDecoder`.
    """
    min_replicas, max_replicas = replicas
    scaling = AutoscalingConfig(
        min_replicas=min_replicas, max_replicas=max_replicas, target_ongoing_requests=ongoing
    )
    router = RequestRouterConfig(
        request_router_class=f"{__name__}:PrefixRouter"  # type: ignore[arg-type]
    )
    # Its type annotations only allow use as a decorator.
    make: Any = serve.deployment
    engine = make(Engine).options(
        name=f"{name}-engine",
        autoscaling_config=scaling,
        max_ongoing_requests=2 * ongoing,
        request_router_config=router,
        ray_actor_options=actor_options or {"num_cpus": 1},
    )
    front = make(Front).options(
        name=name,
        max_ongoing_requests=1000,
        ray_actor_options={"num_cpus": 0},
    )
    application: serve.Application = front.bind(engine.bind(target, draft, options))
    return application


class BatchPredictor:
    """For `Dataset.map_batches`: answers a column of prompts; a batch shares forward passes."""

    def __init__(
        self,
        target: str,
        draft: str | None = None,
        *,
        prompts: str = "prompt",
        answers: str = "answer",
        config: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """Load the models; `config` holds fields of `SpeculativeConfig`."""
        self._decoder = SpeculativeDecoder(target, draft, **options)
        self._prompts, self._answers = prompts, answers
        self._config = config or {}

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Add the column of answers."""
        prompts = [str(prompt) for prompt in batch[self._prompts]]
        answers = self._decoder.generate_batch(prompts, **self._config)
        texts = np.array([answer.text for answer in answers], dtype=object)
        return {**batch, self._answers: texts}


def predict(
    dataset: Dataset,
    target: str,
    draft: str | None = None,
    *,
    concurrency: int | tuple[int, int] = 1,
    batch_size: int = 32,
    **options: Any,
) -> Dataset:
    """Add answers to a dataset of prompts, with the options of `BatchPredictor`."""
    return dataset.map_batches(
        BatchPredictor,
        fn_constructor_args=(target, draft),
        fn_constructor_kwargs=options,
        concurrency=concurrency,
        batch_size=batch_size,
    )
