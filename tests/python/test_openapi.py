"""The server keeps to its own description, whatever is sent to it.

What is sent is the same in every run; SPECDEC_EXAMPLES=2000 sends so many others for each path.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from conftest import ROOT
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from serving import Running, chatting_target, serving

DESCRIPTION = json.loads((ROOT / "src" / "server" / "openapi.json").read_text())
schema = schemathesis.openapi.from_dict(DESCRIPTION)

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


def test_the_description_is_what_is_served(server: Running) -> None:
    served = server.json("/openapi.json")
    assert served["info"].pop("version")
    expected = DESCRIPTION | {"info": DESCRIPTION["info"].copy()}
    expected["info"].pop("version")
    assert served == expected


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


def test_every_path_is_described(server: Running) -> None:
    source = (Path(ROOT) / "src" / "server" / "app.rs").read_text()
    described = {path.replace("{model}", "{*model}") for path in DESCRIPTION["paths"]} | {"/"}
    routes = {line.split('"')[1] for line in source.splitlines() if ".route(" in line}
    assert routes == described
