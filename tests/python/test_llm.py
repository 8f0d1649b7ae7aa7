"""The plugin for llm, on its command line."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import llm
import pytest
from serving import chatting_target
from specdec_rs import SpeculativeDecoder

QUESTION = "You may copy"
GREEDY = ["-o", "temperature", "0", "-o", "max_tokens", "20"]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chatting_target(tmp_path_factory.mktemp("llm"))


@pytest.fixture(scope="module")
def alone(target: Path) -> SpeculativeDecoder:
    return SpeculativeDecoder(target, device="cpu", num_threads=1)


@pytest.fixture
def user(target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a user of llm who has added the model as "mine"."""
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    monkeypatch.setenv("SPECDEC_NUM_THREADS", "1")
    assert run("specdec", "add", str(target), "--name", "mine") == "specdec/mine"
    return tmp_path


def run(*arguments: str, entered: str = "", status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "llm", *arguments],
        input=entered,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ,
    )
    assert done.returncode == status, done.stderr
    return (done.stdout if status == 0 else done.stderr).removesuffix("\n")


def answer(alone: SpeculativeDecoder, messages: list[dict[str, Any]], **settings: Any) -> str:
    return alone.chat(messages, **{"temperature": 0, "max_new_tokens": 20, **settings}).text


def test_models_are_listed(user: Path) -> None:
    models = run("models")
    assert "specdec/mine" in models
    assert "specdec/smollm2-135m (aliases: smollm2-135m)" in models
    run("specdec", "remove", "mine")
    assert "specdec/mine" not in run("models")
    assert "no model specdec/mine" in run("specdec", "remove", "mine", status=1)


def test_a_prompt_a_system_message_and_a_conversation(
    user: Path, alone: SpeculativeDecoder
) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": QUESTION},
    ]
    first = run("-m", "specdec/mine", QUESTION, "-s", "Be brief.", *GREEDY)
    assert first == answer(alone, messages)
    (logged,) = json.loads(run("logs", "-n", "1", "--json"))
    assert logged["output_tokens"] == logged["response_json"]["stats"]["new_tokens"] == 20
    messages += [
        {"role": "assistant", "content": logged["response"]},
        {"role": "user", "content": "And then?"},
    ]
    assert run("-c", "And then?", *GREEDY) == answer(alone, messages)


def test_a_chat(user: Path, alone: SpeculativeDecoder) -> None:
    first = answer(alone, [{"role": "user", "content": QUESTION}])
    messages = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": first},
        {"role": "user", "content": "And then?"},
    ]
    chat = run("chat", "-m", "specdec/mine", *GREEDY, entered=f"{QUESTION}\nAnd then?\nexit\n")
    assert first in chat
    assert answer(alone, messages) in chat.split(first, 1)[1]


def test_options(user: Path, alone: SpeculativeDecoder) -> None:
    messages = [{"role": "user", "content": QUESTION}]
    options = {"temperature": 1.5, "top_p": 0.9, "top_k": 9, "min_p": 0.01, "seed": 3}
    given = [word for name, value in options.items() for word in ("-o", name, str(value))]
    expected = answer(alone, messages, **options)
    for draft in ("none", "ngram"):
        arguments = [*given, "-o", "max_tokens", "20", "-o", "draft", draft]
        assert run("-m", "specdec/mine", QUESTION, *arguments) == expected
    assert "temperature" in run("-m", "specdec/mine", "Hi", "-o", "temperature", "-1", status=1)
    assert "Extra inputs" in run("-m", "specdec/mine", "Hi", "-o", "nonsense", "1", status=1)


def test_a_schema(user: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "boolean"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    found = run("-m", "specdec/mine", "Choose.", "--schema", json.dumps(schema))
    assert json.loads(found)["a"] in (True, False)


def test_an_answer_is_streamed(user: Path, alone: SpeculativeDecoder) -> None:
    expected = answer(alone, [{"role": "user", "content": QUESTION}])
    response = llm.get_model("specdec/mine").prompt(QUESTION, temperature=0, max_tokens=20)
    chunks = list(response)
    assert len(chunks) > 2
    assert "".join(chunks) == expected

    async def several() -> list[str]:
        model = llm.get_async_model("specdec/mine")
        prompts = [model.prompt(QUESTION, temperature=0, max_tokens=20) for _ in range(3)]
        return await asyncio.gather(*(prompt.text() for prompt in prompts))

    assert asyncio.run(several()) == [expected] * 3


def test_a_model_that_is_gone_is_named(user: Path) -> None:
    run("specdec", "add", "no-owner/no-such-model")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        error = run("-m", "specdec/no-owner/no-such-model", "Hi", status=1)
    finally:
        del os.environ["HF_HUB_OFFLINE"]
    assert "no-owner/no-such-model" in error
    assert "Traceback" not in error
