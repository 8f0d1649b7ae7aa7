"""Servers for tests, started the way a user starts them."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conftest import PAIR

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message.role }}: {{ message.content }}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)
# A schema that the pair's target fulfils within a few tokens.
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["a"],
    "additionalProperties": False,
}


def chatting_target(folder: Path) -> Path:
    """Copy the pair's target and add a chat template."""
    target = folder / "target"
    shutil.copytree(PAIR / "target", target)
    config = target / "tokenizer_config.json"
    config.chmod(0o644)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"chat_template": TEMPLATE}))
    return target


@dataclass
class Running:
    """A running server."""

    url: str
    process: subprocess.Popen[str]
    log: Path
    key: str | None = None

    def request(
        self, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request, bytes as they are or else JSON; return status, headers, body."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | (headers or {})
        if self.key:
            headers.setdefault("Authorization", f"Bearer {self.key}")
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    def json(self, path: str, body: object = None, status: int = 200) -> Any:
        """Return the JSON of a response that must have this status."""
        found, _, answer = self.request(path, body)
        assert found == status, answer
        return json.loads(answer)

    def metrics(self) -> dict[str, float]:
        """Return all samples by name and labels."""
        _, _, text = self.request("/metrics")
        lines = [line for line in text.decode().splitlines() if line and line[0] != "#"]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    def wait_until_idle(self) -> None:
        """Wait until no request is running or waiting."""
        for _ in range(500):
            metrics = self.metrics()
            if metrics["vllm:num_requests_running"] + metrics["vllm:num_requests_waiting"] == 0:
                return
            time.sleep(0.02)
        raise AssertionError("requests go on though nobody waits for them")


@contextmanager
def serving(
    target: Path, *arguments: str, port: int = 0, key: str | None = None
) -> Iterator[Running]:
    """Run a server for the block; it must shut down cleanly afterwards."""
    log = target.parent / f"server-{time.monotonic_ns()}.log"
    environment = os.environ | {"RUST_LOG": "info", "SPECDEC_NUM_THREADS": "1"}
    environment.pop("SPECDEC_API_KEY", None)
    if key:
        environment["SPECDEC_API_KEY"] = key
    command = [sys.executable, "-m", "specdec_rs", "serve", "--target", str(target)]
    command += ["--port", str(port)]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*command, *arguments],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=environment,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"listening at (http://\S+)\n", line)
        assert found, line + log.read_text()
        yield Running(found[1], process, log, key)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, 130, -signal.SIGKILL), log.read_text()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
