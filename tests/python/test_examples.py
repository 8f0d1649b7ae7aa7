"""The examples and docstrings run."""

import asyncio
import doctest
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import specdec_rs
from conftest import PAIR, ROOT
from serving import chatting_target, serving


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


def test_example_with_langchain(tmp_path: Path) -> None:
    target = chatting_target(tmp_path)
    alone = specdec_rs.SpeculativeDecoder(target, device="cpu", num_threads=1)
    with serving(target) as server:
        done = run("langchain_chat.py", server.url)
    assert done.returncode == 0, done.stderr
    answers = [
        alone.chat(
            [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": f"List the {things} of the year."},
            ],
            temperature=0,
            max_new_tokens=40,
        ).text
        for things in ("months", "seasons")
    ]
    assert done.stdout == "".join(f"{answer}\n" for answer in answers)


@pytest.mark.default_models
def test_example_with_llama_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(
        "llama_index.llms.openai_like",
        reason="no LlamaIndex: pip install llama-index-core llama-index-llms-openai-like",
    )
    monkeypatch.chdir(tmp_path)
    with serving(Path("smollm2-135m")) as server:
        done = run("llama_index_query.py", server.url)
    assert done.stdout == "The dog sleeps on the brown log.\n", done.stderr


@pytest.mark.parametrize(
    ("program", "module", "error"),
    [
        (
            "import specdec_rs.integrations.transformers",
            "torch",
            "specdec_rs.integrations.transformers needs PyTorch and transformers: "
            "pip install torch transformers",
        ),
        (
            "import specdec_rs.integrations.llm",
            "llm",
            "specdec_rs.integrations.llm needs llm: pip install llm",
        ),
        (
            "import specdec_rs.integrations.ray",
            "ray",
            "specdec_rs.integrations.ray needs Ray Serve: pip install 'ray[serve,data]'",
        ),
        (
            "import runpy; runpy.run_path('examples/langchain_chat.py')",
            "langchain_openai",
            "this example needs LangChain: pip install langchain-openai",
        ),
        (
            "import runpy; runpy.run_path('examples/llama_index_query.py')",
            "llama_index.core",
            "this example needs LlamaIndex: "
            "pip install llama-index-core llama-index-llms-openai-like",
        ),
    ],
    ids=["transformers", "llm", "ray", "langchain", "llama_index"],
)
def test_what_is_missing_is_named(program: str, module: str, error: str) -> None:
    # Also where it is installed: None in sys.modules makes an import fail.
    program = f"import sys; sys.modules[{module!r}] = None; {program}"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].removeprefix("ModuleNotFoundError: ") == error


def test_the_package_imports_no_integration() -> None:
    program = (
        "import sys, specdec_rs, specdec_rs.integrations, specdec_rs.integrations.llama_cpp;"
        "print({'torch', 'transformers', 'llm', 'ray'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


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
