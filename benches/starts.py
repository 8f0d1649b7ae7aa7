"""Time from a process's start to its first token, and peak memory, with weights packed or not.

    python3 benches/starts.py MODEL.gguf... [--specdec PROGRAM] [--llama-server PROGRAM]

"first" has an empty cache of packed weights, "later" the one that an earlier process wrote. With
--llama-server, llama.cpp's server is started in turn. Models' files are in the page cache. Prints
the median of the repeats, and JSON with all of them. Where a virtual machine's host takes free
memory back, --touch GIB has that much memory given to the machine before each start.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

PROMPT = "The committee met on Tuesday to discuss the plan. " * 10
MEGABYTE = 2**20


def touch(gibibytes: int) -> None:
    """Writes to memory in a process of its own, which frees it."""
    script = "import sys; blocks = [b'\1' * 2**30 for _ in range(int(sys.argv[1]))]"
    subprocess.run([sys.executable, "-c", script, str(gibibytes)], check=True)


def peak(process: subprocess.Popen) -> float:
    """Megabytes that a process had in memory at most; it has ended, or ends now."""
    _, _, usage = os.wait4(process.pid, 0)
    return usage.ru_maxrss * 1024 / MEGABYTE


def specdec(program: str, model: str, home: str, tokens: int = 1) -> tuple[float, float]:
    """Seconds and megabytes of `specdec generate`."""
    command = [program, "generate", PROMPT, "--target", model, "-n", str(tokens), "--raw"]
    # Greedy, so that all runs need the same experts.
    command += ["--temperature", "0", "--ignore-eos", "--quiet", "--draft", "none", "--no-profile"]
    started = time.monotonic()
    process = subprocess.Popen(
        command, env=os.environ | {"HF_HOME": home}, stdout=subprocess.DEVNULL
    )
    memory = peak(process)
    return time.monotonic() - started, memory


def keep_all(program: str, model: str, home: str) -> None:
    """Runs the model until nothing more of it is packed; small models are never kept."""
    kept = [0]
    while kept[-1] != kept[-2:][0] or (not kept[-1] and len(kept) < 20):
        specdec(program, model, home, tokens=64)
        kept.append(sum(file.stat().st_size for file in Path(home).rglob("weights")))


def llama(program: str, model: str) -> tuple[float, float]:
    """Seconds and megabytes of llama.cpp's server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "-m", model, "--port", str(port), "-t", str(len(os.sched_getaffinity(0)))]
    command += ["-c", "4352", "-np", "1"]
    started = time.monotonic()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, **quiet)
    body = json.dumps({"prompt": PROMPT, "n_predict": 1}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/completion", body)
    request.add_header("content-type", "application/json")
    while True:
        try:
            urllib.request.urlopen(request).read()
            break
        except (urllib.error.HTTPError, urllib.error.URLError):
            if time.monotonic() - started > 300:
                raise
            time.sleep(0.02)
    seconds = time.monotonic() - started
    process.terminate()
    return seconds, peak(process)


def main() -> None:
    """Measures all models in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="MODEL.gguf")
    parser.add_argument("--specdec", default="specdec")
    parser.add_argument("--llama-server")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--touch", type=int, default=0, metavar="GIB")
    arguments = parser.parse_args()
    for model in arguments.models:
        runs: dict[str, list[tuple[float, float]]] = {}
        for _ in range(arguments.repeats):
            with tempfile.TemporaryDirectory() as home:
                touch(arguments.touch)
                first = specdec(arguments.specdec, model, home)
                keep_all(arguments.specdec, model, home)
                touch(arguments.touch)
                later = specdec(arguments.specdec, model, home)
            runs.setdefault("first", []).append(first)
            runs.setdefault("later", []).append(later)
            if arguments.llama_server:
                touch(arguments.touch)
                runs.setdefault("llama.cpp", []).append(llama(arguments.llama_server, model))
        for name, pairs in runs.items():
            seconds, memory = (statistics.median(values) for values in zip(*pairs, strict=True))
            print(f"{Path(model).stem:<20} {name:<10} {seconds:6.2f} s {memory:7.0f} MB")
        print(json.dumps({"model": model, "runs": runs}), flush=True)


if __name__ == "__main__":
    main()
