"""The server as its clients see it."""

import asyncio
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from conftest import PAIR, ROOT
from serving import Running, chatting_target, serving
from specdec_rs import SpeculativeDecoder

MESSAGES: Any = [
    {"role": "system", "content": "You may copy."},
    {"role": "user", "content": "Permission is hereby granted"},
]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chatting_target(tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def server(target: Path) -> Iterator[Running]:
    with serving(target, "--draft", str(PAIR / "draft")) as running:
        yield running


@pytest.fixture(scope="module")
def alone(target: Path) -> SpeculativeDecoder:
    """A decoder whose output the server's answers must match."""
    return SpeculativeDecoder(target, "none", device="cpu", num_threads=1)


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url + "/v1", api_key="any", max_retries=0) as client:
        yield client


def test_a_conversation(client: openai.OpenAI, alone: SpeculativeDecoder) -> None:
    answer = client.chat.completions.create(
        model="any", messages=MESSAGES, max_tokens=24, temperature=0
    )
    expected = alone.chat(MESSAGES, max_new_tokens=24, temperature=0)
    assert answer.choices[0].message.content == expected.text
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == expected.finish_reason
    assert answer.usage is not None
    assert answer.usage.completion_tokens == len(expected.tokens)
    assert answer.usage.prompt_tokens == expected.stats.prompt_tokens
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + len(expected.tokens)


def test_a_stream_is_the_answer_in_chunks(client: openai.OpenAI) -> None:
    options: Any = {"model": "any", "messages": MESSAGES, "max_tokens": 40, "seed": 5}
    whole = client.chat.completions.create(**options)
    chunks = list(
        client.chat.completions.create(
            **options, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    deltas = [chunk.choices[0] for chunk in chunks if chunk.choices]
    text = "".join(choice.delta.content or "" for choice in deltas)
    assert text == whole.choices[0].message.content
    assert len(deltas) > 3
    reasons = [choice.finish_reason for choice in deltas]
    assert reasons[-1] == whole.choices[0].finish_reason
    assert set(reasons[:-1]) == {None}
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert len({chunk.id for chunk in chunks}) == 1


def test_several_choices_differ_and_repeat(client: openai.OpenAI) -> None:
    def texts(seed: int) -> list[str | None]:
        answer = client.chat.completions.create(
            model="any", messages=MESSAGES, max_tokens=16, seed=seed, n=4
        )
        assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
        assert answer.usage is not None
        assert answer.usage.completion_tokens <= 64
        return [choice.message.content for choice in answer.choices]

    first = texts(11)
    assert len(set(first)) > 1
    assert texts(11) == first
    # Each choice is what its seed generates.
    assert texts(12)[:3] == first[1:]
    streamed = [""] * 4
    for chunk in client.chat.completions.create(
        model="any", messages=MESSAGES, max_tokens=16, seed=11, n=4, stream=True
    ):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == first


def test_logprobs(client: openai.OpenAI, alone: SpeculativeDecoder) -> None:
    chat = client.chat.completions.create(
        model="any", messages=MESSAGES, max_tokens=8, temperature=0, logprobs=True, top_logprobs=3
    )
    expected = alone.chat(MESSAGES, max_new_tokens=8, temperature=0, logprobs=3)
    logprobs = chat.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    found = [entry.logprob for entry in logprobs.content]
    assert found == pytest.approx([token.logprob for token in expected.details], abs=1e-6)
    for entry in logprobs.content:
        # Greedy decoding picks the most probable token.
        assert len(entry.top_logprobs) == 3
        assert entry.top_logprobs[0].token == entry.token
    spoken = b"".join(bytes(entry.bytes or []) for entry in logprobs.content)
    assert spoken.decode() == chat.choices[0].message.content
    completion = client.completions.create(
        model="any", prompt="You may copy", max_tokens=6, temperature=0, logprobs=2, echo=False
    )
    written = completion.choices[0].logprobs
    assert written is not None
    assert written.tokens is not None
    assert "".join(written.tokens) == completion.choices[0].text
    assert written.text_offset is not None
    assert written.text_offset[0] == 0
    assert [len(top) for top in written.top_logprobs or []] == [2] * 6


def test_completions_of_every_kind_of_prompt(
    client: openai.OpenAI, alone: SpeculativeDecoder
) -> None:
    texts = ["You may copy", "Permission is"]
    tokens = [alone.tokenizer.encode(text) for text in texts]
    expected = [alone.generate(text, max_new_tokens=12, temperature=0).text for text in texts]
    prompts: list[tuple[Any, list[str]]] = [
        (texts[0], expected[:1]),
        (texts, expected),
        (tokens[0], expected[:1]),
        (tokens, expected),
    ]
    for prompt, answers in prompts:
        answer = client.completions.create(model="any", prompt=prompt, max_tokens=12, temperature=0)
        assert [choice.text for choice in answer.choices] == answers
    echoed = client.completions.create(
        model="any", prompt=texts, max_tokens=12, temperature=0, echo=True, n=2
    )
    both = [text + answer for text, answer in zip(texts, expected, strict=True)]
    assert [choice.text for choice in echoed.choices] == [both[0]] * 2 + [both[1]] * 2
    # Without max_tokens, the length limit is that of OpenAI's API.
    assert client.completions.create(model="any", prompt=[5, 6]).usage.completion_tokens <= 16  # type: ignore[union-attr]


def test_stop_formats_and_predictions(client: openai.OpenAI, alone: SpeculativeDecoder) -> None:
    whole = alone.chat(MESSAGES, max_new_tokens=24, temperature=0).text
    stop = whole[10:14]
    for given in (stop, ["never to be seen", stop]):
        answer = client.chat.completions.create(
            model="any", messages=MESSAGES, max_tokens=24, temperature=0, stop=given
        )
        assert answer.choices[0].message.content == whole[: whole.index(stop)]
        assert answer.choices[0].finish_reason == "stop"
    formatted = client.chat.completions.create(
        model="any",
        messages=MESSAGES,
        max_tokens=200,
        response_format={
            "type": "json_schema",
            "json_schema": {
                "name": "answer",
                "schema": {
                    "type": "object",
                    "properties": {"a": {"enum": ["b", "c"]}},
                    "required": ["a"],
                    "additionalProperties": False,
                },
            },
        },
    )
    assert json.loads(formatted.choices[0].message.content or "")["a"] in ("b", "c")
    predicted = client.chat.completions.create(
        model="any",
        messages=MESSAGES,
        max_tokens=24,
        temperature=0,
        prediction={"type": "content", "content": whole},
        extra_body={"adaptive": False, "gamma": 4, "draft": "prediction"},
    )
    assert predicted.choices[0].message.content == whole
    assert predicted.usage is not None
    details = predicted.usage.completion_tokens_details
    assert details is not None
    assert (details.accepted_prediction_tokens or 0) > 8


def test_concurrent_clients_get_what_each_would_alone(
    server: Running, alone: SpeculativeDecoder
) -> None:
    prompts = [f"{number} times: Permission is hereby granted" for number in range(40)]
    expected = [alone.generate(prompt, max_new_tokens=20, temperature=0).text for prompt in prompts]

    async def ask_all() -> list[str]:
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="any") as client:
            answers = [
                client.completions.create(model="any", prompt=prompt, max_tokens=20, temperature=0)
                for prompt in prompts
            ]
            return [answer.choices[0].text for answer in await asyncio.gather(*answers)]

    assert asyncio.run(ask_all()) == expected


def test_models_and_tokens(client: openai.OpenAI, server: Running, target: Path) -> None:
    (model,) = client.models.list().data
    # Clients are not told where it lies.
    assert model.id == target.name
    assert client.models.retrieve(model.id) == model
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("another")
    tokens = server.json("/tokenize", {"content": "You may copy"})["tokens"]
    assert server.json("/detokenize", {"tokens": tokens, "skip_special_tokens": True}) == {
        "content": "You may copy",
        "prompt": "You may copy",
    }
    conversation = server.json("/tokenize", {"messages": MESSAGES})
    answer = client.chat.completions.create(model="any", messages=MESSAGES, max_tokens=1)
    assert answer.usage is not None
    assert conversation["count"] == answer.usage.prompt_tokens
    assert server.json("/health") == {"status": "ok"}


REFUSED: list[tuple[str, Any, int, str | None]] = [
    ("/v1/chat/completions", b"{", 400, None),
    ("/v1/chat/completions", b"\xff\xfe", 400, None),
    ("/v1/chat/completions", b"[" * 100_000, 400, None),
    ("/v1/chat/completions", {}, 400, None),
    ("/v1/chat/completions", {"messages": []}, 400, "messages"),
    ("/v1/chat/completions", {"messages": [{"role": 5}]}, 400, "messages[0].role"),
    ("/v1/chat/completions", {"messages": MESSAGES, "n": 0}, 400, "n"),
    ("/v1/chat/completions", {"messages": MESSAGES, "n": 10**9}, 400, "n"),
    ("/v1/chat/completions", {"messages": MESSAGES, "temperature": "hot"}, 400, "temperature"),
    ("/v1/chat/completions", {"messages": MESSAGES, "temperature": 2.5}, 400, "temperature"),
    ("/v1/chat/completions", {"messages": MESSAGES, "top_p": 0}, 400, "top_p"),
    ("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": -2}, 400, "max_tokens"),
    ("/v1/chat/completions", {"messages": MESSAGES, "top_logprobs": 2}, 400, "top_logprobs"),
    ("/v1/chat/completions", {"messages": MESSAGES, "draft": "magic"}, 400, "draft"),
    ("/v1/chat/completions", {"messages": MESSAGES, "stop": ["a"] * 99}, 400, "stop"),
    ("/v1/chat/completions", {"messages": MESSAGES, "stop": "a" * 1001}, 400, "stop"),
    ("/v1/chat/completions", {"messages": MESSAGES, "cache_salt": ""}, 400, "cache_salt"),
    ("/v1/chat/completions", {"messages": MESSAGES, "tools": [{}]}, 400, "tools"),
    (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        400,
        "messages[0].content[0]",
    ),
    (
        "/v1/chat/completions",
        {"messages": MESSAGES, "response_format": {"type": "yaml"}},
        400,
        "response_format",
    ),
    ("/v1/completions", {"prompt": []}, 400, "prompt"),
    ("/v1/completions", {"prompt": {}}, 400, "prompt"),
    ("/v1/completions", {"prompt": [5, 10**6]}, 400, "prompt token"),
    ("/v1/completions", {"prompt": [5] * 5000}, 400, None),
    ("/v1/completions", {"prompt": "a", "suffix": "b"}, 400, "suffix"),
    ("/v1/completions", {"prompt": "a", "echo": True, "logprobs": 1}, 400, "echo"),
    ("/v1/completions", {"prompt": "a", "model": 5}, 400, "model"),
    ("/v1/completions", {"prompt": "a", "top_k": -2}, 400, "top_k"),
    ("/v1/completions", {"prompt": "a", "prediction": {"type": "x", "content": ""}}, 400, None),
    ("/v1/completions", {"prompt": "a", "logit_bias": {"x": 1}}, 400, "logit_bias"),
    ("/v1/completions", {"prompt": "a" * (5 << 20)}, 413, None),
    ("/v1/completions", {"prompt": "a b " * (1 << 19)}, 400, "messages"),
    (
        "/v1/completions",
        {
            "prompt": "a",
            "response_format": {"type": "json_schema", "schema": {"multipleOf": 99999989}},
        },
        400,
        "response_format",
    ),
    (
        "/v1/completions",
        {"prompt": "a", "response_format": {"type": "lark", "lark": "start: nothing"}},
        400,
        "response_format",
    ),
    ("/tokenize", {}, 400, "content"),
    ("/tokenize", {"content": "a", "prompt": "a"}, 400, "content"),
    ("/detokenize", {"tokens": [10**6]}, 400, "tokens"),
    ("/v1/nothing", {}, 404, None),
    ("/health", {}, 405, None),
]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_tokens": -7}, "invalid max_tokens = -7: expected an integer >= 0, or -1 for no"),
        ({"max_tokens": "many"}, 'invalid max_tokens = "many": expected an integer'),
        ({"stream": 3}, "invalid stream = 3: expected true or false"),
        ({"stop": {"a": 1}}, 'invalid stop = {"a":1}: expected a string, or a list of strings'),
        ({"draft": "ngrams"}, "(did you mean ngram?)"),
        ({"draft": "table"}, "this one needs an n-gram table"),
        ({"logprobs": True, "top_logprobs": 50}, "invalid top_logprobs = 50: expected an integer"),
        ({"messages": {}}, "invalid messages = {}: expected a list"),
        ({"messages": [{"role": 5}]}, "messages[0].role"),
        (b"", "the request body is empty"),
        (b'{"messages": [', "not valid JSON: it ends too early"),
    ],
)
def test_errors_are_in_words_of_json(server: Running, fields: Any, message: str) -> None:
    body = {"messages": MESSAGES} | fields if isinstance(fields, dict) else fields
    error = server.json("/v1/chat/completions", body, 400)["error"]
    assert message in error["message"]
    for word in ("usize", "u32", "f64", "`", "EOF", "struct", "sequence"):
        assert word not in error["message"]


@pytest.mark.parametrize(("path", "body", "status", "param"), REFUSED)
def test_errors_name_the_field(
    server: Running, path: str, body: Any, status: int, param: str | None
) -> None:
    error = server.json(path, body, status)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    if param:
        assert error["param"] == param


def test_other_origins_are_rejected(server: Running, target: Path) -> None:
    foreign = {"Origin": "https://elsewhere.example"}
    assert server.request("/v1/models", headers=foreign)[0] == 403
    assert server.request("/v1/models", headers={"Origin": server.url})[0] == 200
    rebound = {"Host": "evil.example:80", "Origin": "http://evil.example:80"}
    assert server.request("/v1/models", headers=rebound)[0] == 403
    with serving(target, "--cors-origin", foreign["Origin"]) as open_server:
        status, headers, _ = open_server.request("/v1/models", headers=foreign)
        assert status == 200
        assert headers["access-control-allow-origin"] == foreign["Origin"]
    with serving(target, "--cors-origin", foreign["Origin"].upper() + ":443/") as open_server:
        assert open_server.request("/v1/models", headers=foreign)[0] == 200


def test_keys(target: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# the team's\nfirst-key\n\n  #second\nsecond-key\n")
    with serving(target, "--api-key-file", str(keys), key="third-key") as server:
        for key in ("first-key", "second-key", "third-key"):
            assert (
                server.request("/v1/models", headers={"Authorization": f"Bearer {key}"})[0] == 200
            )
        for header in (
            "Bearer first",
            "Bearer ",
            "first-key",
            "Basic first-key",
            "Bearer first-key ",
            "Bearer # the team's",
        ):
            status, headers, body = server.request("/v1/models", headers={"Authorization": header})
            # Trailing whitespace of a header is trimmed in transit.
            if header.strip() != "Bearer first-key":
                assert (status, headers["www-authenticate"]) == (401, "Bearer"), header
                assert b"first-key" not in body
        assert server.request("/health", headers={"Authorization": ""})[0] == 200
        log = server.log.read_text()
    assert "-key" not in log.replace("api-key", "")


def cached_tokens(server: Running, key: str, **fields: object) -> int:
    """The tokens of the prompt that the server says it had computed before."""
    body = {"prompt": list(range(2, 102)), "max_tokens": 0} | fields
    headers = {"Authorization": f"Bearer {key}"}
    status, _, answer = server.request("/v1/completions", body, headers)
    assert status == 200, answer
    return int(json.loads(answer)["usage"]["prompt_tokens_details"]["cached_tokens"])


def test_keys_and_salts_share_no_cache(target: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("key-of-one\nkey-of-two\n")
    with serving(target, "--api-key-file", str(keys)) as server:
        assert [cached_tokens(server, "key-of-one") for _ in range(2)] == [0, 99]
        assert [cached_tokens(server, "key-of-two") for _ in range(2)] == [0, 99]
        salted = [cached_tokens(server, "key-of-one", cache_salt="a") for _ in range(2)]
        assert salted == [0, 99]
        assert cached_tokens(server, "key-of-one", cache_salt="b") == 0
        # Token by token, one user finds nothing of what another sent.
        secret = [*range(2, 102), 7, 8, 9]
        assert cached_tokens(server, "key-of-one", prompt=secret) == 99
        for guess in range(2, 12):
            prompt = [*secret[:100], guess, 1]
            # Its own guesses share one token more with each other.
            assert cached_tokens(server, "key-of-two", prompt=prompt) <= 100
    with serving(target, "--api-key-file", str(keys), "--share-cache") as server:
        assert cached_tokens(server, "key-of-one") == 0
        assert cached_tokens(server, "key-of-two") == 99
        assert cached_tokens(server, "key-of-two", cache_salt="a") == 0


def test_public_addresses_need_a_key(target: Path) -> None:
    command = [sys.executable, "-m", "specdec_rs", "serve", "--target", str(target), "--port", "0"]
    done = subprocess.run(
        [*command, "--host", "0.0.0.0"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "--allow-unauthenticated" in done.stderr
    with serving(target, "--host", "0.0.0.0", key="secret") as server:
        port = urlsplit(server.url).port
        server.url = f"http://127.0.0.1:{port}"
        assert server.request("/v1/models")[0] == 200


LONG = {"prompt": [5, 6], "max_tokens": 900, "ignore_eos": True, "draft": "none", "stream": True}


class Streaming:
    """A stream whose first chunk has arrived; the end of the block disconnects."""

    def __init__(self, server: Running, body: object = LONG) -> None:
        parts = urlsplit(server.url)
        self.connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        self.connection.request("POST", "/v1/completions", json.dumps(body))
        self.answer = self.connection.getresponse()
        assert self.answer.readline().startswith(b"data: ")

    def __enter__(self) -> http.client.HTTPResponse:
        return self.answer

    def __exit__(self, *_: object) -> None:
        self.answer.close()
        self.connection.close()


def test_a_full_queue_refuses(target: Path) -> None:
    with serving(target, "--parallel", "1", "--queue", "0") as server:
        with Streaming(server):
            status, headers, body = server.request("/v1/completions", {"prompt": "a"})
            assert (status, headers["retry-after"]) == (429, "1")
            assert json.loads(body)["error"]["code"] == "queue_full"
        server.wait_until_idle()
        assert server.request("/v1/completions", {"prompt": "a"})[0] == 200
    # A request that can never be admitted is rejected at once.
    with serving(target, "--cache-tokens", "300") as server:
        large = {"prompt": [5], "max_tokens": 600}
        assert server.json("/v1/completions", large, 400)["error"]["param"] == "max_new_tokens"
        assert server.request("/v1/completions", {"prompt": [5], "max_tokens": 100})[0] == 200
        chat = {"messages": MESSAGES}
        assert server.json("/v1/chat/completions", chat)["choices"]


@pytest.mark.skipif(sys.platform != "linux", reason="others have one loopback address")
def test_one_client_leaves_places_to_others(target: Path) -> None:
    with serving(target, "--parallel", "1", "--queue", "4") as server:
        with Streaming(server, LONG | {"n": 4}):
            status, _, body = server.request("/v1/completions", {"prompt": "a"})
            error = json.loads(body)["error"]
            assert (status, error["code"]) == (429, "queue_full")
            assert error["message"].startswith("too many of your requests")
            # Without keys, a client is known by its address.
            parts = urlsplit(server.url)
            other = http.client.HTTPConnection(
                parts.hostname or "", parts.port, timeout=60, source_address=("127.0.0.2", 0)
            )
            other.request("POST", "/v1/completions", json.dumps({"prompt": "a", "max_tokens": 1}))
            assert other.getresponse().status == 200
            other.close()
        # One request may not ask for more than a client's places.
        status, _, body = server.request("/v1/completions", {"prompt": "a", "n": 5})
        assert (status, json.loads(body)["error"]["param"]) == (400, "n")


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured in /proc")
def test_kept_prefixes_take_no_more_memory_than_the_cache_may(target: Path) -> None:
    def resident(server: Running) -> int:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) << 10

    # 8 MiB of this model; each text, however short, takes a huge page of 2.
    with serving(target, "--cache-tokens", "4096") as server:
        texts = [f"Number {index} of many texts that begin alike" for index in range(100)]
        for text in texts[:10]:
            server.json("/v1/completions", {"prompt": text[::-1], "max_tokens": 8})
        before = resident(server)
        for text in texts:
            server.json("/v1/completions", {"prompt": text[::-1], "max_tokens": 8})
        assert resident(server) - before < 32 << 20
        assert server.metrics()["vllm:kv_cache_usage_perc"] <= 1


def test_a_disconnect_cancels_the_request(server: Running) -> None:
    server.wait_until_idle()
    written = server.metrics()["specdec_generation_tokens_total"]
    with ExitStack() as streams:
        for _ in range(4):
            streams.enter_context(Streaming(server))
    # Clients that wait for a whole answer are noticed, too.
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        body = json.dumps(LONG | {"stream": False}).encode()
        head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        time.sleep(0.1)
    server.wait_until_idle()
    assert server.metrics()["specdec_generation_tokens_total"] - written < 5 * 900


def test_a_request_times_out(target: Path) -> None:
    with serving(target, "--timeout", "0") as server:
        error = server.json("/v1/completions", LONG | {"stream": False}, 504)["error"]
        assert error["code"] == "timeout"
        server.wait_until_idle()
        status, _, body = server.request("/v1/completions", LONG)
        # Before the stream begins, or within it.
        assert status in (504, 200)
        assert b'"timeout"' in body
        assert b"[DONE]" not in body


def test_running_requests_finish_at_shutdown(target: Path) -> None:
    with serving(target) as server:
        with Streaming(server) as stream:
            server.process.send_signal(signal.SIGTERM)
            rest = stream.read()
        assert rest.rstrip().endswith(b"data: [DONE]")
        assert b'"length"' in rest
        assert server.process.wait(60) == 0
    with serving(target, "--drain", "0") as server, Streaming(server):
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0


def test_a_second_signal_ends_the_server_at_once(target: Path) -> None:
    with serving(target) as server, Streaming(server):
        server.process.send_signal(signal.SIGTERM)
        for _ in range(500):
            if "shutting down" in server.log.read_text():
                break
            time.sleep(0.02)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 130


def test_clients_of_a_killed_server_are_answered_by_the_next(target: Path) -> None:
    asked: Any = {"model": "any", "prompt": "a", "max_tokens": 900, "temperature": 0}
    asked |= {"extra_body": {"ignore_eos": True, "draft": "none"}}
    lost: list[Exception] = []
    answers: list[str] = []

    def ask_until_answered(client: openai.OpenAI, stream: bool) -> None:
        while True:
            try:
                answer: Any = client.completions.create(**asked, stream=stream)
                chunks = answer if stream else [answer]
                answers.append("".join(chunk.choices[0].text for chunk in chunks))
                return
            except openai.APIConnectionError as error:
                lost.append(error)
                time.sleep(0.05)

    with ExitStack() as clients:
        with serving(target) as server:

            def new_client() -> openai.OpenAI:
                client = openai.OpenAI(base_url=server.url + "/v1", api_key="any", max_retries=0)
                return clients.enter_context(client)

            expected = new_client().completions.create(**asked).choices[0].text
            threads = [
                threading.Thread(target=ask_until_answered, args=(new_client(), stream))
                for stream in [True, False] * 3
            ]
            for thread in threads:
                thread.start()
            while server.metrics()["vllm:num_requests_running"] < len(threads):
                time.sleep(0.001)
            server.process.kill()
            port = urlsplit(server.url).port or 0
        with serving(target, port=port):
            for thread in threads:
                thread.join()
    # Each client lost its connection to the first server, and some could not connect in between.
    assert len(lost) >= len(threads)
    assert answers == [expected] * len(threads)


def test_answers_fill_the_table_with_learn(target: Path, tmp_path: Path) -> None:
    file = tmp_path / "answers.table"
    asked = {"prompt": "You may copy", "max_tokens": 60, "temperature": 0, "ignore_eos": True}
    drafted = asked | {"draft": "table", "adaptive": False, "gamma": 4, "return_tokens": True}

    def accepted(server: Running) -> tuple[str, int]:
        choice = server.json("/v1/completions", drafted)["choices"][0]
        return choice["text"], choice["stats"]["accepted"]

    with serving(target) as server:
        text = server.json("/v1/completions", asked)["choices"][0]["text"]
        # Nothing was learned, and never will be.
        assert server.json("/v1/completions", drafted, 400)["error"]["param"] == "draft"
    with serving(target, "--learn", str(file)) as server:
        assert server.json("/v1/completions", asked)["choices"][0]["text"] == text
        same, learned = accepted(server)
        assert (same, learned > 20) == (text, True)
    # The next server continues with the file.
    assert file.stat().st_size > 1000
    with serving(target, "--learn", str(file)) as server:
        same, learned = accepted(server)
        assert (same, learned > 20) == (text, True)
    command = [sys.executable, "-m", "specdec_rs", "serve", "--target", str(target), "--port", "0"]
    for wrong, named, status in (
        (["--learn", str(tmp_path / "missing" / "table")], "missing", 1),
        (["--learn", str(file), "--draft", "ngram"], "--draft ngram", 2),
    ):
        refused = subprocess.run([*command, *wrong], capture_output=True, text=True, timeout=60)
        assert (refused.returncode, named in refused.stderr) == (status, True)


def test_a_profile_applies_where_requests_name_nothing(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECDEC_PROFILES", str(tmp_path))
    command = [sys.executable, "-m", "specdec_rs", "tune", "--target", str(target), "--show"]
    shown = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    profile = Path(json.loads(shown.stdout)["file"])
    best = {"model": None, "draft": "ngram", "gamma": 2, "table": None, "speedup": 1.5}
    profile.write_text(json.dumps(best))
    asked = {"prompt": "You may copy", "max_tokens": 60, "temperature": 0, "ignore_eos": True}
    asked |= {"adaptive": False, "return_tokens": True}

    def drafts(server: Running, **more: object) -> tuple[set[str], int]:
        """Return the sources of the drafts and the maximum number drafted per step."""
        stats = server.json("/v1/completions", asked | more)["choices"][0]["stats"]
        return set(stats["sources"]), len(stats["drafted_per_position"])

    with serving(target) as server:
        assert drafts(server) == ({"ngram"}, 2)
        assert drafts(server, draft="none") == (set(), 0)
        assert drafts(server, gamma=3) == ({"ngram"}, 3)
        # The profile is for the drafts that it names.
        assert drafts(server, draft="ngram")[1] > 2
        predicted = {"type": "content", "content": "You may copy" * 9}
        assert drafts(server, prediction=predicted)[1] > 2
    with serving(target, "--no-profile") as server:
        assert drafts(server)[1] > 2


def test_metrics_count_requests_and_tokens(target: Path) -> None:
    with serving(target) as server:
        body = {"prompt": "You may copy", "max_tokens": 300, "temperature": 0, "ignore_eos": True}
        options = {"gamma": 3, "adaptive": False, "draft": "ngram"}
        for _ in range(2):
            answer = server.json("/v1/completions", body | options)
        assert server.request("/v1/completions", {"prompt": []})[0] == 400
        metrics = server.metrics()
        prompt = answer["usage"]["prompt_tokens"]
        for ours, others in (
            ("specdec_generation_tokens_total", "llamacpp:tokens_predicted_total"),
            ("specdec_prompt_tokens_total", "vllm:prompt_tokens_total"),
            ("specdec_drafted_tokens_total", "vllm:spec_decode_num_draft_tokens_total"),
            ("specdec_accepted_tokens_total", "llamacpp:n_drafted_accepted_total"),
        ):
            assert metrics[ours] == metrics[others] > 0
        assert metrics["specdec_generation_tokens_total"] == 600
        assert metrics["specdec_prompt_tokens_total"] == 2 * prompt
        assert metrics["vllm:time_to_first_token_seconds_count"] == 2
        steps = metrics["specdec_steps_total"]
        accepted = metrics["specdec_accepted_tokens_total"]
        assert steps + accepted == 600
        assert metrics['specdec_source_accepted_tokens_total{source="ngram"}'] == accepted
        assert metrics['specdec_choices_ended_total{reason="length"}'] == 2
        assert metrics['specdec_requests_refused_total{reason="invalid_value"}'] == 1
        assert 0 < metrics["vllm:kv_cache_usage_perc"] < 1
        assert metrics["specdec_speedup"] > 0


def test_the_dashboard_uses_existing_metrics(server: Running) -> None:
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text())
    targets = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    shown = {name for expr in targets for name in re.findall(r"(?:specdec_|vllm:)\w+", expr)}
    server.json("/v1/completions", {"prompt": "You may", "draft": "ngram", "adaptive": False})
    server.request("/v1/completions", b"{")
    counted = {sample.partition("{")[0] for sample in server.metrics()}
    assert shown <= counted
    assert len(shown) > 15


def test_requests_have_ids(server: Running) -> None:
    _, headers, _ = server.request("/health", headers={"X-Request-Id": "mine"})
    assert headers["x-request-id"] == "mine"
    names = {server.request("/health")[1]["x-request-id"] for _ in range(3)}
    assert len(names) == 3
    assert "request_id=mine" in server.log.read_text().replace('"', "")
