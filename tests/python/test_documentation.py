"""The Python code in README.md and docs/ runs as written, and plots show the tables' figures."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


PAGES = [
    page for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if blocks(page)
]


@pytest.mark.default_models
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # In order and in one namespace, as a reader would type them.
    names: dict[str, object] = {}
    for number, block in enumerate(blocks(page)):
        exec(compile(block, f"{page.name}, block {number}", "exec"), names)
    assert ("llm" if page.name == "integrations.md" else "decoder") in names


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]


def section(page: str, heading: str) -> str:
    """Return a section of a page, without its subsections."""
    text = (ROOT / "docs" / page).read_text()
    (found,) = re.findall(
        rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ )", text, re.MULTILINE | re.DOTALL
    )
    assert isinstance(found, str)
    return found


def contains_in_order(found: list[float], wanted: list[float]) -> bool:
    rest = iter(found)
    return all(number in rest for number in wanted)


PLOTS = sorted((ROOT / "docs" / "data").glob("*.json"))


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.stem)
def test_plots_show_the_figures_of_the_tables(plot: Path) -> None:
    data = json.loads(plot.read_text())
    lines = section("performance.md", data["section"]).splitlines()
    assert data["rows"]
    for name, figures in data["rows"].items():
        rows = [line.split("|", 2)[2] for line in lines if line.startswith(f"| {name} |")]
        assert any(contains_in_order(numbers(row), figures) for row in rows), (name, rows)


def test_pictures_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "docs" / "pictures.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {plot.stem for plot in PLOTS} < {
        picture.stem for picture in (ROOT / "docs" / "pictures").glob("*.svg")
    }


def test_pairs_of_models_have_measured_figures() -> None:
    rows = [
        line.split("|") for line in section("choosing.md", "Pairs that were measured").splitlines()
    ]
    speedups = [
        number for row in rows if len(row) == 7 for number in re.findall(r"\d\.\d+", row[4])
    ]
    assert len(speedups) >= 10
    measured = re.findall(r"\d+\.\d+", (ROOT / "docs" / "performance.md").read_text())
    assert set(speedups) <= set(measured)
