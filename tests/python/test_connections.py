"""Clients that keep a server waiting: idle, half-sent or slow requests take nobody else's place."""

import json
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from serving import Running, chatting_target, serving

Connect = Callable[[], socket.socket]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chatting_target(tmp_path_factory.mktemp("model"))


@contextmanager
def connecting(server: Running) -> Iterator[Connect]:
    """A function that opens connections, all of which are closed after the block."""
    parts = urlsplit(server.url)
    connections: list[socket.socket] = []

    def connect() -> socket.socket:
        connection = socket.create_connection((parts.hostname, parts.port), timeout=60)
        connections.append(connection)
        return connection

    try:
        yield connect
    finally:
        for connection in connections:
            connection.close()


def post(length: int, body: bytes) -> bytes:
    """A completion request with some of its body."""
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
    return head.encode() + body


def status(connection: socket.socket) -> int:
    """The status of the answer that arrives."""
    return int(connection.recv(4096).split()[1])


def test_idle_connections_make_room_for_new_ones(target: Path) -> None:
    with serving(target, "--max-connections", "20") as server, connecting(server) as connect:
        idle = [connect() for _ in range(60)]
        assert server.request("/health")[0] == 200
        # The first have been idle for longest.
        assert idle[0].recv(1) == b""
        answer = server.json("/v1/completions", {"prompt": "You", "max_tokens": 2})
        assert answer["usage"]["completion_tokens"] == 2
        for _ in range(200):
            if "too many connections" in server.log.read_text():
                break
            time.sleep(0.05)
        assert "idle ones were closed" in server.log.read_text()


def test_health_is_answered_while_all_connections_are_busy(target: Path) -> None:
    with serving(target, "--max-connections", "4") as server, connecting(server) as connect:
        # Their answers are longer than what the system keeps of a stream that nobody reads.
        answer = {"prompt": "You", "max_tokens": 400, "ignore_eos": True, "n": 40, "logprobs": 5}
        body = json.dumps(answer | {"stream": True}).encode()
        busy = [connect() for _ in range(4)]
        for connection in busy:
            connection.sendall(post(len(body), body))
        assert [status(connection) for connection in busy] == [200] * 4
        refused, _, body = server.request("/v1/models")
        assert (refused, json.loads(body)["error"]["code"]) == (503, "too_many_connections")
        assert server.request("/health")[0] == 200
        assert server.request("/metrics")[0] == 200
        for connection in busy:
            connection.close()
        for _ in range(200):
            if server.request("/v1/models")[0] == 200:
                return
            time.sleep(0.05)
        raise AssertionError("the connections of clients that left stay busy")


def test_half_sent_bodies_make_room(target: Path) -> None:
    with serving(target, "--max-connections", "4") as server, connecting(server) as connect:
        half_sent = [connect() for _ in range(4)]
        for connection in half_sent:
            connection.sendall(post(100, b"").replace(b"Host", b"Expect: 100-continue\r\nHost"))
        # The server has read their headers, and waits for their bodies.
        assert [status(connection) for connection in half_sent] == [100] * 4
        assert server.request("/v1/models")[0] == 200
        # One of them was closed: whose headers were read first is the threads' affair.
        closed, _, _ = select.select(half_sent, [], [], 10)
        assert [connection.recv(1) for connection in closed] == [b""]


def test_slow_clients_are_given_up(target: Path) -> None:
    with serving(target, "--client-timeout", "1") as server, connecting(server) as connect:
        silent, header, body = connect(), connect(), connect()
        header.sendall(b"GET /health HTTP/1.1\r\nX: ")
        body.sendall(post(100, b"{"))
        assert silent.recv(100) == b""
        assert header.recv(100) == b""
        assert status(body) == 408
        # An answer takes the time that it needs.
        answer = {"prompt": "You", "max_tokens": 400, "ignore_eos": True, "n": 4}
        assert server.json("/v1/completions", answer)["usage"]["completion_tokens"] == 1600


def test_bodies_have_bounded_memory_together(target: Path) -> None:
    with serving(target, "--max-body", "20000") as server, connecting(server) as connect:
        # Six of them are all that a client may send. One that arrives together with a request in
        # between is itself refused.
        sending = []
        for _ in range(200):
            sending.append(connect())
            sending[-1].sendall(post(20_000, b"{" + b" " * 19_990))
            refused, _, body = server.request("/v1/completions", b" " * 15_000)
            if refused == 429:
                break
        error = json.loads(body)["error"]
        assert (refused, error["code"]) == (429, "bodies_full")
        assert error["message"].startswith("too many of your request bodies")
        for connection in sending:
            connection.close()
        for _ in range(200):
            if server.request("/v1/completions", {"prompt": "You", "max_tokens": 1})[0] == 200:
                return
            time.sleep(0.05)
        raise AssertionError("the memory of bodies is not given back")


def test_half_sent_headers_do_not_delay_the_shutdown(target: Path) -> None:
    with serving(target, "--drain", "600") as server, connecting(server) as connect:
        connect().sendall(b"GET /health HTTP/1.1\r\nX: ")
        connect()
        assert server.request("/health")[0] == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
