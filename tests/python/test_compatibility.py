"""What clients, templates and files of other engines mean here: followed, or refused by name."""

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PAIR
from serving import SCHEMA, Running, chatting_target, serving

MESSAGES = [{"role": "user", "content": "Hi"}]


def model(folder: Path, **files: dict[str, Any]) -> Path:
    """Copy the pair's target and merge into JSON files (`name__json={...}`; None removes a key)."""
    target = folder / "target"
    shutil.copytree(PAIR / "target", target)
    for name, changes in files.items():
        path = target / name.replace("__", ".")
        old = json.loads(path.read_text()) if path.exists() else {}
        if path.exists():
            path.chmod(0o644)
        merged = {key: value for key, value in (old | changes).items() if value is not None}
        path.write_text(json.dumps(merged))
    return target


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(chatting_target(tmp_path_factory.mktemp("compatibility"))) as running:
        yield running


def prompt(server: Running, messages: list[dict[str, Any]], **more: Any) -> str:
    """Return what a conversation becomes, as text."""
    tokens = server.json("/tokenize", {"messages": messages, **more})["tokens"]
    text: str = server.json("/detokenize", {"tokens": tokens})["content"]
    return text


@pytest.mark.parametrize(
    "more",
    [
        {"response_format": {"type": "json_object", "schema": SCHEMA}},
        {"response_format": {"type": "json_schema", "schema": SCHEMA}},
        {"guided_json": SCHEMA},
        {"guided_json": json.dumps(SCHEMA)},
        {"json_schema": SCHEMA},
        {"structured_outputs": {"json": SCHEMA}},
        {"guided_regex": r"\{\"a\": [1-9]\}"},
        {"regex": r"\{\"a\": [1-9]\}"},
        {"guided_choice": ['{"a": 1}', '{"a": 2}']},
        {"structured_outputs": {"choice": ['{"a": 1}', '{"a": 2}']}},
    ],
    ids=lambda more: next(iter(more)),
)
def test_formats_of_other_servers_are_followed(server: Running, more: dict[str, Any]) -> None:
    body = {"messages": MESSAGES, "max_tokens": 60, "temperature": 0, **more}
    answer = server.json("/v1/chat/completions", body)
    value = json.loads(answer["choices"][0]["message"]["content"])
    assert list(value) == ["a"]
    assert value["a"] in range(1, 10)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("grammar", 'root ::= "yes"'),
        ("guided_grammar", "start: /a/"),
        ("mirostat", 2),
        ("min_tokens", 5),
        ("stop_token_ids", [1]),
        ("functions", [{"name": "f"}]),
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("enable_thinking", False),
        ("reasoning_effort", "low"),
        ("system", "Be brief."),
        ("options", {"temperature": 0}),
        ("include_stop_str_in_output", True),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(
    server: Running, field: str, value: Any
) -> None:
    error = server.json("/v1/chat/completions", {"messages": MESSAGES, field: value}, 400)["error"]
    assert error["param"] == field


@pytest.mark.parametrize(
    "more",
    [
        {"max_tokens": 3.0, "seed": 5.0, "top_k": 40.0, "n": 1.0},
        {"max_tokens": -1, "stop": ["a", "e", " "]},
        {"n_predict": 3, "seed": -1, "repeat_penalty": 1.1},
        {"mirostat": 0, "min_tokens": 0, "typical_p": 1.0, "tools": [], "tool_choice": "auto"},
        {"tools": [{"type": "function"}], "tool_choice": "none"},
        {"logit_bias": [[5, -1.0], [6, False]]},
        {"user": "me", "metadata": {}, "store": False, "cache_prompt": True},
    ],
)
def test_spellings_and_sentinels_of_others_are_understood(
    server: Running, more: dict[str, Any]
) -> None:
    body = {"messages": MESSAGES, "max_tokens": 3, **more}
    status, headers, answer = server.request("/v1/chat/completions", body)
    assert status == 200, answer
    assert "x-specdec-ignored-fields" not in headers


def test_unknown_fields_are_named(server: Running, tmp_path: Path) -> None:
    body = {
        "messages": MESSAGES,
        "max_tokens": 1,
        "temprature": 0,
        "chat_template_kwargs": {"x": 1},
    }
    status, headers, _ = server.request("/v1/chat/completions", body)
    assert status == 200
    assert headers["x-specdec-ignored-fields"] == "temprature, chat_template_kwargs.x"
    with serving(chatting_target(tmp_path), "--strict") as strict:
        error = strict.json("/v1/chat/completions", body, 400)["error"]
        assert error["param"] == "temprature"
        assert "did you mean temperature?" in error["message"]


def test_numbers_are_refused_in_the_users_terms(server: Running) -> None:
    for value, expected in ((-2, "expected an integer >= 0"), ("8", "expected an integer >= 0")):
        body = {"messages": MESSAGES, "max_tokens": value}
        error = server.json("/v1/chat/completions", body, 400)["error"]
        assert expected in error["message"]
        assert "usize" not in error["message"]
    error = server.json("/v1/chat/completions", {}, 400)["error"]
    assert (error["param"], error["message"]) == ("messages", "messages is missing")


def test_the_template_decides_what_it_reads(server: Running) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    text = prompt(server, [{"role": "user", "content": parts}])
    assert text.endswith("user: one\ntwo\nassistant: ")
    text = prompt(server, [{"role": "developer", "content": "Rules."}, *MESSAGES])
    assert "system: Rules.\n" in text
    text = prompt(server, MESSAGES, add_generation_prompt=False)
    assert text.endswith("user: Hi\n")
    begun = [*MESSAGES, {"role": "assistant", "content": "Well, "}]
    text = prompt(server, begun, continue_final_message=True, add_generation_prompt=False)
    assert text.endswith("assistant: Well, ")


def test_names_of_this_machine_are_answered(server: Running) -> None:
    port = server.url.rsplit(":", 1)[1]
    body = {"messages": MESSAGES, "max_tokens": 1}
    for host, expected in (
        ("localhost", 200),
        ("host.docker.internal", 200),
        (socket.gethostname(), 200),
        ("mybox.local", 200),
        ("evil.example", 403),
    ):
        status, _, _ = server.request("/v1/chat/completions", body, {"Host": f"{host}:{port}"})
        assert status == expected, host


def test_the_bearer_scheme_is_read_in_any_letters(tmp_path: Path) -> None:
    with serving(chatting_target(tmp_path), key="secret") as server:
        for header in ({"Authorization": "bearer secret"}, {"X-Api-Key": "secret"}):
            server.key = None
            assert server.request("/v1/models", headers=header)[0] == 200, header
        assert server.request("/v1/models", headers={"Authorization": "Basic secret"})[0] == 401


def test_special_tokens_may_stand_in_their_own_file(tmp_path: Path) -> None:
    token = {"content": "<|endoftext|>", "lstrip": False, "rstrip": False}
    template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
    nothing = {"bos_token_id": None, "eos_token_id": None}
    target = model(
        tmp_path,
        tokenizer_config__json={"bos_token": None, "eos_token": None, "chat_template": template},
        special_tokens_map__json={"bos_token": "<|bos|>", "eos_token": token},
        config__json=nothing,
        generation_config__json=nothing,
    )
    with serving(target) as server:
        assert prompt(server, MESSAGES) == "<|bos|>Hi<|endoftext|>"
        body = {"prompt": "Hi", "max_tokens": 4, "temperature": 0, "logit_bias": {"0": 100}}
        answer = server.json("/v1/completions", body)
        assert answer["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("place", ["decoder", "special", "file"])
def test_added_tokens_may_stand_beside_the_tokenizer(tmp_path: Path, place: str) -> None:
    vocabulary = json.loads((PAIR / "target" / "tokenizer.json").read_text())["model"]["vocab"]
    size = len(vocabulary)
    names = ["<|im_start|>", "<|im_end|>"]
    decoder = {
        str(size + index): {"content": name, "special": True} for index, name in enumerate(names)
    }
    places: dict[str, dict[str, Any]] = {
        "decoder": {"tokenizer_config__json": {"added_tokens_decoder": decoder}},
        "special": {"tokenizer_config__json": {"additional_special_tokens": names}},
        "file": {"added_tokens__json": {name: size + index for index, name in enumerate(names)}},
    }
    files = places[place]
    with serving(model(tmp_path, **files)) as server:
        body = {"prompt": "<|im_start|>b<|im_end|>", "add_special_tokens": False}
        assert server.json("/tokenize", body)["tokens"] == [size, vocabulary["b"], size + 1]


@pytest.mark.parametrize(
    "settings",
    [
        {"quant_method": "bitsandbytes"},
        {"quant_method": "compressed-tensors"},
        {"quant_method": "hqq"},
        {"quant_method": "gptq", "bits": 8},
        {"quant_method": "awq", "version": "gemv"},
    ],
)
def test_quantized_checkpoints_are_named_as_such(tmp_path: Path, settings: dict[str, Any]) -> None:
    method = settings["quant_method"]
    target = model(tmp_path, config__json={"quantization_config": settings})
    command = [sys.executable, "-m", "specdec_rs", "generate", "Hi", "--target", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert method in done.stderr
    assert "unsupported" in done.stderr
    assert "corrupt" not in done.stderr


@pytest.mark.parametrize("name", ["llama-gptq", "llama-awq", "llama-fp8"])
def test_quantized_checkpoints_that_are_read_are_used_as_they_are(name: str) -> None:
    folder = PAIR.parent / "hf" / name
    command = [sys.executable, "-m", "specdec_rs", "inspect", str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    stored = {entry["type"]: entry["parameters"] for entry in json.loads(done.stdout)["storage"]}
    packed = stored["F8_E4M3" if name == "llama-fp8" else "INT4"]
    assert packed == 2 * (2 * 64 * 32 + 2 * 32 * 32 + 3 * 64 * 32)


def test_sampling_defaults_come_from_the_model(tmp_path: Path) -> None:
    target = chatting_target(tmp_path)
    file = target / "generation_config.json"
    file.chmod(0o644)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"temperature": 0.0}))
    with serving(target) as server:
        body = {"messages": MESSAGES, "max_tokens": 12}
        answers = {
            server.json("/v1/chat/completions", body)["choices"][0]["message"]["content"]
            for _ in range(3)
        }
        assert len(answers) == 1
