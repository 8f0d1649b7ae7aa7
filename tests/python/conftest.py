"""Fixtures: a decoder with the tiny pair of models; what needs more than a clone is skipped."""

import os
from pathlib import Path

import pytest
from specdec_rs import SpeculativeDecoder

ROOT = Path(__file__).parents[2]
PAIR = ROOT / "tests" / "data" / "pair"

# Where SPECDEC_SHARED is set, as in CI, every test must run, but for those that are skipped for a
# reason that begins like one of these.
MAY_BE_SKIPPED: tuple[str, ...] = ("asks the real hub", "no transformers", "no LlamaIndex")
SHARED = os.environ.get("SPECDEC_SHARED")

_skipped: dict[str, str] = {}


def pytest_configure(config: pytest.Config) -> None:
    marker = (
        "default_models: needs the default models, which are pulled if they are not in the cache"
    )
    config.addinivalue_line("markers", marker)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if SHARED:
        return
    skip = pytest.mark.skip(reason="needs the default models (SPECDEC_SHARED is not set)")
    for item in items:
        if item.get_closest_marker("default_models"):
            item.add_marker(skip)


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        _skipped[report.nodeid] = report.longrepr[2].removeprefix("Skipped: ")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note(report)


def _not_allowed() -> dict[str, str]:
    if not SHARED:
        return {}
    return {
        test: reason
        for test, reason in _skipped.items()
        if not reason.startswith(MAY_BE_SKIPPED or ("\0",))
    }


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if _not_allowed() and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _skipped:
        terminalreporter.section(f"{len(_skipped)} skipped")
    for test, reason in sorted(_skipped.items()):
        terminalreporter.line(f"{test}: {reason}")
    for test in _not_allowed():
        terminalreporter.line(f"ERROR: {test} may not be skipped where SPECDEC_SHARED is set")


@pytest.fixture(scope="session")
def decoder() -> SpeculativeDecoder:
    # One thread: models this small gain nothing from more, and lose on a busy machine.
    return SpeculativeDecoder(PAIR / "target", PAIR / "draft", device="cpu", num_threads=1)


# Writes out all that it is given.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% if tools %}tools: {{ tools|tojson }}\n{% endif %}"
    "{% if style is defined %}style: {{ style }}\n{% endif %}"
    "{% for message in messages %}{{ message.role }}"
    "{% if message.name %} {{ message.name }}{% endif %}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@pytest.fixture(scope="session")
def chatting() -> SpeculativeDecoder:
    """Load the pair with a chat template."""
    return SpeculativeDecoder(
        PAIR / "target",
        PAIR / "draft",
        chat_template=CHAT_TEMPLATE,
        device="cpu",
        num_threads=1,
    )


@pytest.fixture(scope="session")
def prompts() -> list[list[int]]:
    """Fixed prompts of many lengths."""

    def token(prompt: int, index: int) -> int:
        return 2 + (prompt * 7919 + index * index * 31 + index * 101) % 510

    return [[token(prompt, index) for index in range(1 + 3 * prompt)] for prompt in range(12)]
