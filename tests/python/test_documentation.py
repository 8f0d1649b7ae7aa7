"""The Python code in README.md and docs/ runs as written."""

import re
from pathlib import Path

import pytest
import specdec_rs
from conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not blocks(page):
        pytest.skip("the page has no Python code")
    try:
        specdec_rs.SpeculativeDecoder("smollm2-135m", "none")
    except specdec_rs.ModelNotFound as error:
        pytest.skip(str(error))
    monkeypatch.chdir(tmp_path)
    # In order and in one namespace, as a reader would type them.
    names: dict[str, object] = {}
    for number, block in enumerate(blocks(page)):
        exec(compile(block, f"{page.name}, block {number}", "exec"), names)
    assert "decoder" in names
