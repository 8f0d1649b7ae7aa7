"""What drafting with a model's own layer for multi-token prediction costs, and what it can gain.

    python3 benches/heads.py MODEL.gguf... [--llama-server PROGRAM] [--repeats N]

Plain decoding and fixed drafts of three tokens take turns, in one decoder. Costs are relative to a
plain step: of a drafted token, and of verifying three (a pass over four rows). The implied speedup
is that of drafts whose tokens are right with probability 0.8. With --llama-server, llama.cpp's
server decodes the same file, plain and with its own drafts of three tokens; its steps are what it
costs. Random weights do: `random_model.py qwen3.5-0.8b-mtp` writes some.
"""

import argparse
import json
import random
import socket
import statistics
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from specdec_rs import SpeculativeDecoder

DRAFTED = 3
ACCEPTANCE = 0.8
EXPECTED = sum(ACCEPTANCE**i for i in range(DRAFTED + 1))
TOKENS = 64


def prompt() -> list[int]:
    """Return some tokens, the same in every run."""
    numbers = random.Random(1)
    return [numbers.randrange(1000, 40000) for _ in range(200)]


def ours(model: str, repeats: int) -> list[tuple[float, float, float]]:
    """Seconds of a plain step, of a drafted token, and of verifying three, for each repeat."""
    decoder = SpeculativeDecoder(model, draft="mtp", device="cpu")
    results = []
    for _ in range(repeats + 1):
        seconds = []
        for draft, gamma in (("none", 0), ("model", DRAFTED)):
            stats = decoder.generate(
                prompt(),
                draft=draft,
                gamma=gamma,
                adaptive=False,
                temperature=0,
                max_new_tokens=TOKENS,
                ignore_eos=True,
            ).stats
            if draft == "none":
                seconds.append(stats.decode_seconds / (stats.new_tokens - 1))
            else:
                seconds.append(stats.draft_seconds / stats.drafted)
                seconds.append(stats.verify_seconds / stats.steps)
        results.append((seconds[0], seconds[1], seconds[2]))
    # The first warms up.
    return results[1:]


class Server:
    """llama.cpp's server."""

    def __init__(self, program: str, model: str, options: list[str]) -> None:
        """Start it."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [program, "-m", model, "--port", str(self.port), "-c", "2048", "-np", "1"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command + options, **quiet)
        while True:
            try:
                self.generate(1)
                break
            except (urllib.error.HTTPError, urllib.error.URLError):
                if self.process.poll() is not None:
                    raise SystemExit(f"{program} ended: {' '.join(options)}") from None
                time.sleep(0.1)

    def generate(self, tokens: int) -> float:
        """Return the seconds of a step."""
        body = {"prompt": prompt(), "n_predict": tokens, "ignore_eos": True, "temperature": 0}
        body["cache_prompt"] = False
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/completion", json.dumps(body).encode()
        )
        request.add_header("content-type", "application/json")
        timings = json.loads(urllib.request.urlopen(request).read())["timings"]
        steps = timings["predicted_n"] - timings.get("draft_n_accepted", 0)
        return timings["predicted_ms"] / 1e3 / steps

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()


def theirs(program: str, model: str, repeats: int) -> tuple[float, float]:
    """Seconds of a step, plain and with a draft."""
    drafts = ["--spec-type", "draft-mtp", "--spec-draft-n-max", str(DRAFTED)]
    servers = [Server(program, model, []), Server(program, model, drafts)]
    seconds: list[list[float]] = [[], []]
    for _ in range(repeats):
        for server, own in zip(servers, seconds, strict=True):
            own.append(server.generate(TOKENS))
    for server in servers:
        server.stop()
    plain, drafted = (statistics.median(own) for own in seconds)
    return plain, drafted


def main() -> None:
    """Measure all models in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="MODEL.gguf")
    parser.add_argument("--llama-server")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    for model in arguments.models:
        runs = ours(model, arguments.repeats)
        plain = statistics.median(run[0] for run in runs)
        draft = statistics.median(run[1] / run[0] for run in runs)
        verify = statistics.median(run[2] / run[0] for run in runs)
        speedup = EXPECTED / (verify + DRAFTED * draft)
        print(
            f"{Path(model).stem:<20} plain step {1e3 * plain:.1f} ms, "
            f"drafted token {100 * draft:.1f} %, verifying {DRAFTED}: {verify:.2f}, "
            f"implied speedup {speedup:.2f}",
            flush=True,
        )
        if arguments.llama_server:
            plain, drafted = theirs(arguments.llama_server, model, arguments.repeats)
            print(
                f"{'':<20} llama.cpp: plain step {1e3 * plain:.1f} ms, with a draft "
                f"{drafted / plain:.2f} of it, implied speedup {EXPECTED * plain / drafted:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
