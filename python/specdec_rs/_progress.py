"""Progress bars in notebooks."""

import importlib
import sys
from typing import Any


class NotebookBar:
    """Shows the progress of one task after another with tqdm's bars."""

    def __init__(self, tqdm: Any) -> None:
        """Make a bar of this class for each task."""
        self._tqdm = tqdm
        self._bar: Any = None

    def __call__(self, label: str, done: int, total: int | None) -> None:
        """Show that so many bytes of a task are done; the first call of a task has `done` = 0."""
        if self._bar is None or done == 0:
            self.close()
            self._bar = self._tqdm(
                total=total, desc=label, unit="B", unit_scale=True, unit_divisor=1024, leave=False
            )
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Remove the bar of a task that has ended."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def notebook_bar() -> NotebookBar | None:
    """Return a bar if this process is a notebook's kernel and tqdm is installed."""
    ipython = sys.modules.get("IPython")
    if ipython is None or not hasattr(ipython.get_ipython(), "kernel"):
        return None
    try:
        auto = importlib.import_module("tqdm.auto")
    except ImportError:
        return None
    return NotebookBar(auto.tqdm)
