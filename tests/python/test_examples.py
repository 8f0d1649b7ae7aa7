"""The examples and docstrings run."""

import asyncio
import doctest
import importlib.util
import subprocess
import sys

import pytest
import specdec_rs
from conftest import PAIR, ROOT


def run(example: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "examples" / example), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("example", "last_line"),
    [
        ("quickstart.py", "greedy output identical: True"),
        ("async_generation.py", "gave up after 0.01 s"),
    ],
)
def test_example(example: str, last_line: str) -> None:
    done = run(example, PAIR / "target", PAIR / "draft")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == last_line


def test_example_with_torch() -> None:
    done = run("own_torch_model.py", PAIR / "target")
    if importlib.util.find_spec("torch"):
        assert done.stdout.splitlines()[-1] == "same tokens: True", done.stderr
    else:
        assert (done.returncode, done.stderr) == (
            1,
            "this example needs PyTorch: pip install torch\n",
        )


def test_docstrings(chatting: specdec_rs.SpeculativeDecoder) -> None:
    names = {"decoder": chatting, "asyncio": asyncio}
    results = doctest.testmod(specdec_rs, extraglobs=names)
    assert results.attempted >= 50
    assert results.failed == 0


def test_console_scripts_return_their_exit_code() -> None:
    for command in (
        ["-m", "specdec_rs"],
        ["-c", "from specdec_rs.__main__ import *; exit(benchmark())"],
    ):
        done = subprocess.run(
            [sys.executable, *command, "--nonsense"], capture_output=True, text=True
        )
        assert done.returncode == 2
