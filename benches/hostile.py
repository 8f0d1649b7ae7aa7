"""What a hostile client costs the others of a server: throughput, time to first token, memory.

    python benches/hostile.py [--target MODEL] [--seconds 300] [--clients 8]
    python benches/hostile.py --url http://127.0.0.1:8080 --process PID

Well-behaved clients ask one question after the other, alone and then beside one client that sends
the worst of everything at once: texts longer than the context, response formats that are hard to
compile or to follow, long stop strings, slow bodies, idle connections, and disconnects. The script
starts its own server, unless --url names one. --known-by says how the clients differ: each has a
key, or an address of the loopback network (Linux), or they all look like one.
"""

import argparse
import contextlib
import http.client
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HOSTILE = "hostile-client"

TOPICS = [
    "sleep",
    "bread",
    "rivers",
    "chess",
    "paper",
    "winter",
    "gardens",
    "trains",
    "music",
    "glass",
    "bees",
    "maps",
]


@dataclass
class Server:
    """A server under test."""

    host: str
    port: int
    process: int
    known_by: str

    def headers(self, client: str) -> dict[str, str]:
        """Return the headers of a client's requests."""
        return {"Authorization": f"Bearer {client}"} if self.known_by == "key" else {}

    def source(self, client: str) -> tuple[str, int] | None:
        """Return the address that a client's connections come from."""
        if self.known_by != "address":
            return None
        return (f"127.0.1.{1 + [HOSTILE, *clients_of(200)].index(client)}", 0)

    def connect(self, client: str) -> http.client.HTTPConnection:
        """Return a client's connection."""
        return http.client.HTTPConnection(
            self.host, self.port, timeout=120, source_address=self.source(client)
        )

    def memory(self) -> float:
        """Return the greatest resident memory so far, in MB."""
        for line in Path(f"/proc/{self.process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return 0.0


@dataclass
class Load:
    """What the well-behaved clients measured."""

    tokens: int = 0
    first: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def percentile(self, percent: int) -> float:
        """Return a percentile of the times to the first token, in seconds."""
        if len(self.first) < 2:
            return float("nan")
        return statistics.quantiles(self.first, n=100, method="inclusive")[percent - 1]


def ask(server: Server, client: str, number: int, load: Load, until: float) -> None:
    """Ask a question and count the tokens of the answer that arrive in time."""
    topic = TOPICS[number % len(TOPICS)]
    body = {
        "model": "default",
        "messages": [{"role": "user", "content": f"Question {number}: write about {topic}."}],
        "max_tokens": 64,
        "temperature": 0,
        "stream": True,
    }
    began = time.perf_counter()
    connection = server.connect(client)
    try:
        headers = server.headers(client)
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        if answer.status != 200:
            with load.lock:
                load.failures.append(f"{answer.status}: {answer.read(200)!r}")
            time.sleep(0.2)
            return
        first = None
        for line in answer:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            text = "".join(one["delta"].get("content") or "" for one in chunk.get("choices", []))
            now = time.perf_counter()
            if text and now < until:
                with load.lock:
                    # Chunks hold several tokens: the lengths of texts are compared instead.
                    load.tokens += len(text)
                    if first is None:
                        first = now - began
                        load.first.append(first)
    except (OSError, http.client.HTTPException) as error:
        with load.lock:
            load.failures.append(repr(error))
        time.sleep(0.2)
    finally:
        connection.close()


def clients_of(count: int) -> list[str]:
    """Return the names of the well-behaved clients, which are their keys."""
    return [f"client-{index}" for index in range(count)]


def well_behaved(server: Server, clients: int, seconds: float) -> Load:
    """Run the clients for some time."""
    load, until = Load(), time.perf_counter() + seconds
    names = clients_of(clients)

    def client(index: int) -> None:
        number = index
        while time.perf_counter() < until:
            ask(server, names[index], number, load, until)
            number += clients

    threads = [threading.Thread(target=client, args=(index,)) for index in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return load


def post(server: Server, body: dict[str, Any] | bytes) -> None:
    """Send a request and read its answer."""
    connection = server.connect(HOSTILE)
    data = body if isinstance(body, bytes) else json.dumps({"model": "default"} | body)
    try:
        connection.request("POST", "/v1/completions", data, server.headers(HOSTILE))
        connection.getresponse().read()
    finally:
        connection.close()


# Written once: the client's own work must not be what is measured.
LONG = [json.dumps({"prompt": one * 4_000_000, "max_tokens": 1}).encode() for one in "abc "]
LONG_STOP = json.dumps({"prompt": "Once", "max_tokens": 50, "stop": "a" * 4_000_000}).encode()


def open_socket(server: Server, timeout: float) -> socket.socket:
    """Open a connection of the hostile client."""
    return socket.create_connection(
        (server.host, server.port), timeout=timeout, source_address=server.source(HOSTILE)
    )


def long_texts(server: Server, rng: random.Random) -> None:
    """Send texts that fit no context."""
    post(server, rng.choice(LONG))


def formats(server: Server, rng: random.Random) -> None:
    """Send formats that are hard to compile, or to follow; each is new."""
    names = [f"field{rng.randrange(10**6)}" for _ in range(300)]
    hard = [
        {"type": "lark", "lark": f"start: /{rng.choice('abcdef')}*/ /x{rng.randrange(99)}*/ /x/"},
        {"type": "lark", "lark": "start: /c*/ /c/"},
        {"type": "regex", "regex": f"(a|aa|{rng.randrange(10**6)})*(b?){{{200}}}.*x{{50}}"},
        {
            "type": "json_schema",
            "json_schema": {
                "name": "a",
                "schema": {
                    "type": "object",
                    "properties": {
                        name: {"type": "string", "pattern": f"^{name}.*z$"} for name in names
                    },
                },
            },
        },
        {
            "type": "json_schema",
            "json_schema": {
                "name": "a",
                "schema": {
                    "type": "integer",
                    "multipleOf": rng.randrange(10**7, 10**8),
                },
            },
        },
    ]
    post(
        server,
        {
            "prompt": "Write: ",
            "max_tokens": 40,
            "n": 8,
            "response_format": rng.choice(hard),
        },
    )


def stops(server: Server, rng: random.Random) -> None:
    """Ask for many choices with long stop strings and penalties."""
    body = {
        "prompt": "Once upon a time",
        "max_tokens": 50,
        "n": 8,
        "temperature": 1,
        "frequency_penalty": 0.5,
        "logit_bias": {str(rng.randrange(1000)): 1 for _ in range(300)},
    }
    post(server, body | {"stop": [chr(97 + one) * 900 for one in range(16)]})
    post(server, LONG_STOP)


def slow_bodies(server: Server, rng: random.Random) -> None:
    """Begin requests that never arrive in full."""
    open_ones = []
    for _ in range(20):
        connection = open_socket(server, timeout=20)
        lines = ["POST /v1/completions HTTP/1.1", "Host: localhost", "Content-Length: 4000000"]
        lines += [f"{name}: {value}" for name, value in server.headers(HOSTILE).items()]
        head = "\r\n".join([*lines, "", ""])
        connection.sendall(head.encode() + b'{"prompt": "' + b"a" * rng.randrange(100_000))
        open_ones.append(connection)
    for _ in range(20):
        time.sleep(0.5)
        for connection in open_ones:
            with contextlib.suppress(OSError):
                connection.sendall(b"a")
    for connection in open_ones:
        connection.close()


def idle_connections(server: Server, rng: random.Random) -> None:
    """Open as many connections as there may be, half of them with half a request."""
    open_ones = []
    with contextlib.suppress(OSError):
        for _ in range(1500):
            connection = open_socket(server, timeout=5)
            if rng.random() < 0.5:
                connection.sendall(b"GET /health HTTP/1.1\r\nX: ")
            open_ones.append(connection)
    time.sleep(10)
    for connection in open_ones:
        connection.close()


def disconnects(server: Server, rng: random.Random) -> None:
    """Leave in the middle of answers."""
    body = json.dumps(
        {"model": "default", "prompt": "Once", "max_tokens": 500, "stream": True, "n": 4}
    )
    connection = server.connect(HOSTILE)
    connection.request("POST", "/v1/completions", body, server.headers(HOSTILE))
    time.sleep(rng.random() * 0.3)
    connection.close()


WORST = [long_texts, formats, stops, slow_bodies, idle_connections, disconnects]


@contextlib.contextmanager
def hostile(server: Server, kinds: list[str]) -> Iterator[dict[str, int]]:
    """Send the worst of each kind for the block, one thread a kind; yields how often."""
    ended, counts = threading.Event(), dict.fromkeys(kinds, 0)

    def repeat(act: Callable[[Server, random.Random], None]) -> None:
        rng = random.Random(act.__name__)
        while not ended.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                act(server, rng)
            counts[act.__name__] += 1
            # The client's own work must not be what is measured.
            ended.wait(0.1)

    acts = [act for act in WORST if act.__name__ in kinds]
    threads = [threading.Thread(target=repeat, args=(act,), daemon=True) for act in acts]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        ended.set()


@contextlib.contextmanager
def started(options: argparse.Namespace) -> Iterator[Server]:
    """Start a server for the block."""
    command = [os.environ.get("SPECDEC", "specdec"), "serve", "--port", "0", *options.serve]
    command += ["--target", options.target]
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as file:
        file.write("\n".join([*clients_of(options.clients), HOSTILE]))
        file.flush()
        if options.known_by == "key":
            command += ["--api-key-file", file.name]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        yield from running(process, options.known_by)


def running(process: subprocess.Popen[str], known_by: str) -> Iterator[Server]:
    """Yield a server that was started, and end it afterwards."""
    try:
        assert process.stdout is not None
        address = urlsplit(process.stdout.readline().removeprefix("listening at ").strip())
        yield Server(address.hostname or "", address.port or 0, process.pid, known_by)
    finally:
        process.terminate()
        process.wait()


def show(name: str, load: Load, seconds: float, server: Server) -> None:
    """Print a row of the table."""
    print(
        f"| {name} | {load.tokens / seconds:.0f} | {1000 * load.percentile(50):.0f} "
        f"| {1000 * load.percentile(95):.0f} | {len(load.failures)} | {server.memory():.0f} |",
        flush=True,
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", default="default", help="model of the server to start")
    parser.add_argument("--url", help="a running server in its place")
    parser.add_argument("--process", type=int, default=0, help="its process, for its memory")
    parser.add_argument(
        "--known-by", choices=["key", "address", "nothing"], default="key", help="of the clients"
    )
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--kinds", nargs="*", default=[act.__name__ for act in WORST])
    parser.add_argument("--serve", nargs="*", default=[], help="arguments of the server")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if options.url:
            address = urlsplit(options.url)
            host, port = address.hostname or "", address.port or 80
            server = Server(host, port, options.process, options.known_by)
        else:
            server = stack.enter_context(started(options))
        well_behaved(server, options.clients, min(10, options.seconds))
        print("| | characters/s | first token p50, ms | p95, ms | failures | peak memory, MB |")
        print("|---|---|---|---|---|---|")
        alone = well_behaved(server, options.clients, options.seconds)
        show("alone", alone, options.seconds, server)
        with hostile(server, options.kinds) as counts:
            beside = well_behaved(server, options.clients, options.seconds)
        show("beside the hostile client", beside, options.seconds, server)
        throughput = beside.tokens / max(1, alone.tokens)
        first = beside.percentile(95) / alone.percentile(95)
        print(f"throughput {throughput:.2f}, first token p95 {first:.2f} x of alone")
        print(f"what the hostile client did: {counts}", file=sys.stderr)
        for failure in sorted(set(beside.failures))[:5]:
            print(failure, file=sys.stderr)


if __name__ == "__main__":
    main()
