"""Past one machine, with Ray: `pip install "specdec_rs[ray]"`.

A deployment for Ray Serve, whose replicas are found again by the beginning of a prompt, and a
predictor for Ray Data:

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
from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.config import AutoscalingConfig, RequestRouterConfig
from ray.serve.request_router import (
    PendingRequest,
    RequestRouter,
    RunningReplica,
)
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from specdec_rs import SpecdecError, SpeculativeDecoder

if TYPE_CHECKING:
    from ray.data import Dataset

Prompt = str | list[int] | list[dict[str, str]]
"""A text, token ids, or a conversation."""

_ATTEMPTS = 5
"""Replicas that a request is given to, one after the other, as they die."""

_PREFIX = 256
"""Characters of a prompt's beginning by which its replica is chosen; of token ids a quarter."""


class Engine:
    """A replica: a decoder whose requests share passes of the target."""

    def __init__(self, target: str, draft: str | None, options: dict[str, Any]) -> None:
        """Loads the models, with the options of `SpeculativeDecoder`."""
        self._decoder = SpeculativeDecoder(target, draft, **options)

    async def stream(self, prompt: Prompt, config: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Yields {"text", "tokens"} for each step, and last {"finish_reason", "stats"}."""
        plain: Any = prompt
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], dict):
            plain = self._decoder.chat_prompt(plain)
        stream = self._decoder.stream_async(plain, **config)
        async for chunk in stream:
            yield {"text": chunk.text, "tokens": [token.as_dict() for token in chunk.tokens]}
        generation = stream.generation
        assert generation is not None
        yield {"finish_reason": generation.finish_reason, "stats": generation.stats.as_dict()}


class PrefixRouter(RequestRouter):
    """Sends prompts that begin alike to the same replica, which has read the beginning before.

    Each prompt ranks the replicas in an order of its own (rendezvous hashing): with a replica more
    or less only its own prompts move. Where one is full the next in the order gets the prompt.
    """

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """The replicas, the first choice first."""
        begins = _beginning(pending_request.args[0]) if pending_request else ""

        def weight(replica: RunningReplica) -> bytes:
            name = f"{replica.replica_id.unique_id}\0{begins}"
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


def _beginning(prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return prompt[:_PREFIX]
    if prompt and isinstance(prompt[0], dict):
        return json.dumps(prompt)[:_PREFIX]
    return json.dumps(prompt[: _PREFIX // 4])


class Front:
    """Gives requests to replicas, and those of one that died to another, where they go on.

    What is written depends on the prompt and the seed alone. So another replica writes the same
    text again, of which a client gets what it has not seen.
    """

    def __init__(self, engines: Any) -> None:
        """Takes the replicas' handle."""
        self._engines = engines.options(stream=True)

    async def stream(self, prompt: Prompt, **config: Any) -> AsyncIterator[dict[str, Any]]:
        """Yields {"text", "tokens"}, and last {"finish_reason", "stats"}.

        The keywords are those of `SpeculativeConfig`.
        """
        if config.get("seed") is None:
            config["seed"] = secrets.randbits(63)
        repeats = config.get("verification", "coupled") == "coupled"
        sent = _Sent()
        for attempt in range(_ATTEMPTS):
            sent.begin_again()
            try:
                async for piece in self._engines.stream.remote(prompt, config):
                    news = sent.news(piece)
                    if news is not None:
                        yield news
                return
            except RayActorError:
                if attempt + 1 == _ATTEMPTS or (sent.anything and not repeats):
                    raise

    async def generate(self, prompt: Prompt, **config: Any) -> dict[str, Any]:
        """The whole answer: {"text", "tokens", "finish_reason", "stats"}."""
        whole: dict[str, Any] = {"text": "", "tokens": []}
        async for piece in self.stream(prompt, **config):
            if "text" in piece:
                whole["text"] += piece["text"]
                whole["tokens"] += piece["tokens"]
            else:
                whole |= piece
        return whole

    async def __call__(self, request: Request) -> Response:
        """Answers POST with {"prompt" or "messages", "stream", settings}; 400 for what is wrong."""
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
            pieces = self.stream(given[0], **body)
            # What is wrong shows before the first piece.
            first = await anext(pieces)
        except TypeError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        except RayTaskError as error:
            if isinstance(error.cause, SpecdecError | TypeError):
                return JSONResponse({"error": str(error.cause)}, status_code=400)
            raise

        async def events() -> AsyncIterator[str]:
            yield f"data: {json.dumps(first)}\n\n"
            async for piece in pieces:
                yield f"data: {json.dumps(piece)}\n\n"
            yield "data: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")


class _Sent:
    """What a client has of an answer that may be written more than once."""

    def __init__(self) -> None:
        self.text = ""
        self._tokens = 0
        self.begin_again()

    @property
    def anything(self) -> bool:
        """Whether the client has a part of the answer."""
        return self._tokens > 0

    def begin_again(self) -> None:
        """The answer is written from its beginning."""
        self._written = ""
        self._written_tokens = 0

    def news(self, piece: dict[str, Any]) -> dict[str, Any] | None:
        """What of a piece the client doesn't have; None: nothing."""
        if "text" not in piece:
            return piece
        self._written += piece["text"]
        self._written_tokens += len(piece["tokens"])
        text = self._written[len(self.text) :]
        new = max(0, self._written_tokens - self._tokens)
        tokens = piece["tokens"][len(piece["tokens"]) - new :] if new else []
        self.text += text
        self._tokens = max(self._tokens, self._written_tokens)
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
    """An application for `serve.run`: replicas of a decoder behind a front.

    Args:
        target: The target model, as `SpeculativeDecoder` takes it; every node must reach it.
        draft: The draft.
        name: Of the deployments.
        replicas: The fewest and the most.
        ongoing: Requests that each replica should have at once: with more there will be more
            replicas. Twice as many are the most that it takes.
        actor_options: What Ray reserves for a replica, as {"num_cpus": 4}.
        options: Further options of `SpeculativeDecoder`.
    """
    fewest, most = replicas
    scaling = AutoscalingConfig(
        min_replicas=fewest, max_replicas=most, target_ongoing_requests=ongoing
    )
    router = RequestRouterConfig(
        request_router_class=f"{__name__}:PrefixRouter"  # type: ignore[arg-type]
    )
    # Its types know it as a decorator alone.
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
    """For `Dataset.map_batches`: answers the prompts of a column, a batch in common passes."""

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
        """Loads the models; `config` holds fields of `SpeculativeConfig`."""
        self._decoder = SpeculativeDecoder(target, draft, **options)
        self._prompts, self._answers = prompts, answers
        self._config = config or {}

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Adds the column of answers."""
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
    """A dataset with answers to its prompts; the further options are `BatchPredictor`'s."""
    return dataset.map_batches(
        BatchPredictor,
        fn_constructor_args=(target, draft),
        fn_constructor_kwargs=options,
        concurrency=concurrency,
        batch_size=batch_size,
    )
