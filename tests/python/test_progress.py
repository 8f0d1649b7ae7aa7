"""Progress bars in notebooks."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from conftest import PAIR
from specdec_rs import SpeculativeDecoder
from specdec_rs._progress import notebook_bar


class Bar:
    """Stands for tqdm's bars."""

    made: list["Bar"]

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.n = 0
        self.closed = False
        Bar.made.append(self)

    def update(self, amount: int) -> None:
        self.n += amount

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend to be a notebook's kernel, with tqdm."""
    Bar.made = []
    ipython = ModuleType("IPython")
    vars(ipython)["get_ipython"] = lambda: SimpleNamespace(kernel=object())
    auto = ModuleType("tqdm.auto")
    vars(auto)["tqdm"] = Bar
    for name, module in {"IPython": ipython, "tqdm": ModuleType("tqdm"), "tqdm.auto": auto}.items():
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("progress", [None, True])
def test_a_notebook_shows_bars(notebook: None, progress: bool | None) -> None:
    SpeculativeDecoder(PAIR / "target", PAIR / "draft", device="cpu", progress=progress)
    assert len(Bar.made) == 2
    for bar, model in zip(Bar.made, ("target", "draft"), strict=True):
        assert model in bar.options["desc"]
        assert 0 < bar.n == bar.options["total"]
        assert bar.closed


def test_false_shows_none(notebook: None) -> None:
    SpeculativeDecoder(PAIR / "draft", device="cpu", progress=False)
    assert Bar.made == []


def test_there_is_no_notebook_bar_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert notebook_bar() is None
    shell = ModuleType("IPython")
    vars(shell)["get_ipython"] = lambda: SimpleNamespace()
    monkeypatch.setitem(sys.modules, "IPython", shell)
    assert notebook_bar() is None


def test_without_tqdm_there_is_no_notebook_bar(
    notebook: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    assert notebook_bar() is None


def test_a_bar_of_unknown_size_is_closed_by_the_next(notebook: None) -> None:
    bar = notebook_bar()
    assert bar is not None
    bar("first", 0, None)
    bar("first", 10, None)
    bar("second", 0, 5)
    assert [made.closed for made in Bar.made] == [True, False]
    assert Bar.made[0].n == 10
    bar.close()
    bar.close()
    assert Bar.made[1].closed
