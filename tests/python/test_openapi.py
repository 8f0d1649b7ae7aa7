"""The server keeps to its own description, whatever is sent to it.

What is sent is the same in every run; SPECDEC_EXAMPLES=2000 sends so many others for each path.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from serving import Running, chatting_target, serving
from specdec_rs import SpeculativeConfig

EXAMPLES = os.environ.get("SPECDEC_EXAMPLES")

# Not whether all that fits the description is accepted: a number may be no token of the model's,
# and a text no regular expression.
CHECKS = [
    not_a_server_error,
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    target = chatting_target(tmp_path_factory.mktemp("openapi"))
    with serving(target, "--context-length", "128") as running:
        yield running


def served_description() -> Any:
    """Return what a server says of itself; pytest needs it to collect the operations."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(chatting_target(Path(folder))) as running,
    ):
        return running.json("/openapi.json")


schema = schemathesis.openapi.from_dict(served_description())


@schema.parametrize()
@settings(
    max_examples=int(EXAMPLES or 60),
    derandomize=EXAMPLES is None,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_what_is_sent_is_answered_as_described(
    case: schemathesis.Case[Any], server: Running
) -> None:
    case.call_and_validate(base_url=server.url, checks=CHECKS)


def test_every_path_and_field_is_described(server: Running) -> None:
    described = server.json("/openapi.json")
    assert described["info"]["version"]
    assert set(described["paths"]) == {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/models",
        "/v1/models/{model}",
        "/tokenize",
        "/detokenize",
        "/health",
        "/metrics",
        "/openapi.json",
    }
    settings = described["components"]["schemas"]["SettingFields"]["properties"]
    # Those of which requests have fields of other names or kinds.
    others = {"max_new_tokens", "logprobs"}
    assert set(settings) == set(SpeculativeConfig().as_dict()) - others
