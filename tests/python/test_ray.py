"""Ray Serve and Ray Data on a real cluster of two nodes."""

import asyncio
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import chatting_target
from specdec_rs import SpeculativeDecoder

ray = pytest.importorskip("ray", reason='no Ray: pip install ".[ray]"')
serve = pytest.importorskip("ray.serve")

from ray.cluster_utils import Cluster  # noqa: E402
from ray.util.state import list_actors  # noqa: E402
from specdec_rs.integrations.ray import (  # noqa: E402
    PrefixRouter,
    _prefix,
    deployment,
    predict,
)

# Ray warns about its own sockets and processes at exit, and about what it imports. Warnings of ours
# stay errors.
pytestmark = pytest.mark.filterwarnings("ignore", "error:::specdec_rs", "error:::test_ray")

PROMPTS = [f"{number} times: Permission is hereby granted" for number in range(24)]
CONFIG = {"max_new_tokens": 150, "ignore_eos": True, "temperature": 0.8, "seed": 3}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chatting_target(tmp_path_factory.mktemp("ray"))


@pytest.fixture(scope="module")
def alone(target: Path) -> SpeculativeDecoder:
    return SpeculativeDecoder(target, "none", device="cpu", num_threads=1)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": True}
    )
    cluster.add_node(num_cpus=2)
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        assert len(ray.nodes()) == 2
        yield cluster
    finally:
        serve.shutdown()
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def front(nodes: Any, target: Path) -> Any:
    application = deployment(
        str(target), "auto", replicas=(2, 2), ongoing=16, device="cpu", num_threads=1
    )
    return serve.run(application, route_prefix="/")


def replicas() -> dict[str, int]:
    """Return the engines' actor ids and process ids."""
    actors = list_actors(filters=[("state", "=", "ALIVE")], detail=True)
    engines = [actor for actor in actors if "specdec-engine" in actor.class_name]
    return {actor.actor_id: actor.pid or 0 for actor in engines}


async def text_of(front: Any, prompt: Any, **config: Any) -> str:
    stream = front.options(stream=True).stream.remote(prompt, **CONFIG, **config)
    return "".join([chunk.get("text", "") async for chunk in stream])


def test_answers_match_a_single_decoder(front: Any, alone: SpeculativeDecoder) -> None:
    async def main() -> list[str]:
        return await asyncio.gather(*(text_of(front, prompt) for prompt in PROMPTS))

    expected = [alone.generate(prompt, **CONFIG).text for prompt in PROMPTS]  # type: ignore[arg-type]
    assert asyncio.run(main()) == expected
    answer = front.generate.remote(PROMPTS[0], **CONFIG).result()
    assert answer["text"] == expected[0]
    assert answer["finish_reason"] == "length"
    assert len(answer["tokens"]) == answer["stats"]["new_tokens"] == 150
    messages = [{"role": "user", "content": "Permission"}]
    answer = front.generate.remote(messages, **CONFIG).result()
    assert answer["text"] == alone.chat(messages, **CONFIG).text  # type: ignore[arg-type]


def test_a_killed_replica_loses_no_request(front: Any, alone: SpeculativeDecoder) -> None:
    before = replicas()
    assert len(before) == 2

    async def main() -> list[str]:
        waiting = [asyncio.create_task(text_of(front, prompt)) for prompt in PROMPTS * 2]
        await asyncio.sleep(0.3)
        os.kill(next(iter(before.values())), signal.SIGKILL)
        return await asyncio.gather(*waiting)

    expected = [alone.generate(prompt, **CONFIG).text for prompt in PROMPTS]  # type: ignore[arg-type]
    assert asyncio.run(main()) == expected * 2
    for _ in range(300):
        after = replicas()
        if len(after) == 2:
            break
        time.sleep(0.1)
    # Another replica replaced it.
    assert len(after) == 2
    assert after.keys() != before.keys()


def post(body: bytes) -> tuple[int, str]:
    request = urllib.request.Request("http://127.0.0.1:8000/", body)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_http(front: Any, alone: SpeculativeDecoder) -> None:
    body = {"prompt": PROMPTS[0], **CONFIG}
    expected = alone.generate(PROMPTS[0], **CONFIG).text  # type: ignore[arg-type]
    status, text = post(json.dumps(body).encode())
    assert status == 200
    assert json.loads(text)["text"] == expected
    status, text = post(json.dumps(body | {"stream": True}).encode())
    events = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert "".join(chunk.get("text", "") for chunk in chunks) == expected
    assert chunks[-1]["finish_reason"] == "length"
    for invalid in (
        b"{",
        b"[]",
        b"{}",
        json.dumps(body | {"temperature": -1}).encode(),
        json.dumps(body | {"temperatur": 1, "stream": True}).encode(),
    ):
        status, text = post(invalid)
        assert status == 400, text
        assert json.loads(text)["error"]


def test_prompts_with_a_common_prefix_share_a_replica(front: Any) -> None:
    long = "You may copy, distribute and modify " * 20

    def cached(prompt: str) -> int:
        answer = front.generate.remote(prompt, **CONFIG).result()
        return int(answer["stats"]["cached_tokens"])

    # Every chosen replica must have the prefix cached. The replacement of the killed replica may be
    # chosen only after the routers know it.
    for attempt in range(5):
        cached(f"{long}{attempt}")
        if all(cached(f"{long}{attempt}.{number}") > 100 for number in range(6)):
            break
        time.sleep(1)
    else:
        raise AssertionError("a different replica each time")

    class Named:
        def __init__(self, name: str) -> None:
            self.replica_id = self
            self.unique_id = name

    async def order(prompt: Any, names: str) -> list[str]:
        replicas: Any = [Named(name) for name in names]
        request: Any = type("Pending", (), {"args": [prompt]})
        choose = PrefixRouter.choose_replicas
        router: Any = None
        ranks: Any = await choose(router, replicas, request)
        return [replica.unique_id for (replica,) in ranks]

    async def main() -> None:
        orders = {prompt: await order(prompt, "abcd") for prompt in PROMPTS}
        assert {ranks[0] for ranks in orders.values()} == set("abcd")
        for prompt, ranks in orders.items():
            # Without one replica, the others keep their order.
            assert await order(prompt, "abd") == [name for name in ranks if name != "c"]

    asyncio.run(main())
    assert _prefix("a" * 999) == _prefix("a" * 300)
    assert _prefix([5] * 999) == _prefix([5] * 300)


def test_a_dataset_is_answered(nodes: Any, target: Path, alone: SpeculativeDecoder) -> None:
    serve.shutdown()
    dataset = ray.data.from_items([{"prompt": prompt} for prompt in PROMPTS])
    answered = predict(
        dataset,
        str(target),
        "auto",
        concurrency=2,
        batch_size=6,
        config=CONFIG,
        device="cpu",
        num_threads=1,
    )
    rows = answered.take_all()
    expected = {prompt: alone.generate(prompt, **CONFIG).text for prompt in PROMPTS}  # type: ignore[arg-type]
    assert {row["prompt"]: row["answer"] for row in rows} == expected
