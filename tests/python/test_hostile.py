"""Requests that once took a server's memory or time: they are refused, or keep nobody waiting.

SPECDEC_LONG=1 sends them in the sizes and numbers that once did harm.
"""

import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from serving import Running, chatting_target, serving

LONG = "SPECDEC_LONG" in os.environ


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chatting_target(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def server(target: Path) -> Iterator[Running]:
    with serving(target, "--timeout", "60") as running:
        yield running


def memory(server: Running, name: str) -> int:
    """Return the server's memory of a kind, in MB."""
    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) >> 10
    raise AssertionError("the server has exited")


def patterns(count: int, salt: int) -> dict[str, Any]:
    """Return a format that takes long to compile."""
    properties = {f"^a{salt}x{number}(b|c)*$": {"type": "integer"} for number in range(count)}
    schema = {"type": "object", "patternProperties": properties}
    return {"type": "json_schema", "json_schema": {"schema": schema}}


def test_texts_beyond_any_context_take_no_memory(server: Running) -> None:
    before = memory(server, "VmRSS")
    length = 4_000_000 if LONG else 2_000_000
    texts = [text * (length // len(text)) for text in ("a", "the ", " ", "abcdefgh" * 9)]
    bodies = [{"prompt": text, "max_tokens": 1} for text in texts] * 3
    with ThreadPoolExecutor(len(bodies)) as pool:
        answers = list(pool.map(lambda body: server.request("/v1/completions", body), bodies))
    codes = {json.loads(answer)["error"]["code"] for _, _, answer in answers}
    assert codes <= {"context_length_exceeded", "bodies_full"}
    assert server.request("/health")[0] == 200
    # The bodies themselves, with room for what the allocator keeps.
    assert memory(server, "VmHWM") - before < 40 * len(bodies)


def test_formats_that_take_the_compiler_long_are_refused(server: Running) -> None:
    remainders = {"type": "integer", "multipleOf": 99_999_989}
    for form in (
        patterns(300, 0),
        {"type": "json_schema", "json_schema": {"schema": remainders}},
        {"type": "json_schema", "json_schema": {"schema": {"multipleOf": 3.3333333}}},
        {"type": "lark", "lark": f"start: %json {json.dumps(remainders)}"},
        {"type": "regex", "regex": "a" * 300_000},
    ):
        body = {"prompt": "a", "max_tokens": 2, "n": 8, "response_format": form}
        error = server.json("/v1/completions", body, 400)["error"]
        assert error["param"] == "response_format"
        assert len(error["message"]) < 1024


def test_a_parser_without_end_keeps_nobody_waiting(server: Running) -> None:
    errors: list[dict[str, Any]] = []

    def ask() -> None:
        form = {"type": "lark", "lark": "start: /c*/ /c/"}
        body = {"prompt": "a", "max_tokens": 5, "response_format": form}
        errors.append(server.json("/v1/completions", body, 400)["error"])

    thread = threading.Thread(target=ask)
    thread.start()
    answered = 0
    while thread.is_alive():
        server.json("/v1/completions", {"prompt": "a", "max_tokens": 5})
        answered += 1
    thread.join()
    assert "the parser too long" in errors[0]["message"]
    # Each takes some milliseconds, and the parser is given seconds.
    assert answered > 10


def test_a_shutdown_waits_for_no_compiler(target: Path) -> None:
    count = 200 if LONG else 60
    with serving(target, "--drain", "1", "--timeout", "300") as server:

        def ask(salt: int) -> None:
            body = {"prompt": "a", "max_tokens": 2, "response_format": patterns(99, salt)}
            try:
                server.request("/v1/completions", body)
            except OSError:
                assert server.process.poll() is not None or stopping.is_set()

        stopping = threading.Event()
        with ThreadPoolExecutor(count) as pool:
            for salt in range(count):
                pool.submit(ask, salt)
            for _ in range(500):
                if server.metrics()["vllm:num_requests_waiting"] > count / 2:
                    break
            assert server.metrics()["vllm:num_requests_waiting"] > count / 2
            stopping.set()
            server.process.send_signal(signal.SIGTERM)
            # All of them together would take longer.
            assert server.process.wait(20) == 0


def test_long_stop_strings_are_refused(server: Running) -> None:
    for stop in ("a" * 4_000, ["b", "a" * 1001], ["a"] * 17):
        body = {"prompt": "a", "max_tokens": 2, "stop": stop}
        assert server.json("/v1/completions", body, 400)["error"]["param"] == "stop"
    body = {"prompt": "a", "max_tokens": 50, "n": 8, "ignore_eos": True}
    longest = {"stop": [chr(97 + one) * 1000 for one in range(16)]}
    plain = server.json("/v1/completions", body | {"seed": 1})
    stopped = server.json("/v1/completions", body | longest | {"seed": 1})
    assert stopped["choices"] == plain["choices"]
