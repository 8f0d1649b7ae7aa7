"""Draws the pictures of the documentation as SVG.

python docs/pictures.py [--check]

The plots show the figures in docs/data, which are those of the tables in docs/performance.md; the
test tests/python/test_documentation.py compares them. With --check, nothing is written, and the
exit status is 1 if a picture is not up to date. The same figures give the same bytes.

Each picture has a background of its own and colours for both schemes, so it can be read on any
page, whichever scheme the browser reports.
"""

import argparse
import json
import sys
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
PICTURES = DOCS / "pictures"
WIDTH = 760

# Legible on both backgrounds by their difference in lightness, too.
STYLE = """
text { font: 14px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1f2430; }
.page { fill: #ffffff; stroke: #d5d9e2; }
.small { font-size: 12px; }
.title { font-weight: 600; }
.faint { fill: #5a6376; }
.line { stroke: #5a6376; stroke-width: 1.5; fill: none; }
.grid { stroke: #e3e6ee; }
.arrow { fill: #5a6376; }
.box { fill: #eef1f7; stroke: #5a6376; }
.target { fill: #d9e2fb; stroke: #3b57c4; }
.draft { fill: #fdeecb; stroke: #b7791f; }
.yes { fill: #d3f0db; stroke: #23803d; }
.no { fill: #fadbdb; stroke: #b83232; }
.dashed { stroke-dasharray: 5 4; }
.a { fill: #8d97ab; stroke: #8d97ab; }
.b { fill: #3b57c4; stroke: #3b57c4; }
.c { fill: #d08a1d; stroke: #d08a1d; }
.d { fill: #23803d; stroke: #23803d; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6e9f0; }
  .page { fill: #1e2129; stroke: #3c4252; }
  .faint { fill: #a9b1c3; }
  .line { stroke: #a9b1c3; }
  .grid { stroke: #343a48; }
  .arrow { fill: #a9b1c3; }
  .box { fill: #2b303c; stroke: #a9b1c3; }
  .target { fill: #26335f; stroke: #8ea4f5; }
  .draft { fill: #4d3a12; stroke: #e5b154; }
  .yes { fill: #1c4527; stroke: #5fce7f; }
  .no { fill: #562323; stroke: #f08c8c; }
  .a { fill: #7b859a; stroke: #7b859a; }
  .b { fill: #7f97f3; stroke: #7f97f3; }
  .c { fill: #e0a23c; stroke: #e0a23c; }
  .d { fill: #5fce7f; stroke: #5fce7f; }
}
polyline.curve { fill: none; stroke-width: 2.5; }
"""
ARROW = (
    '<marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto"><path class="arrow" d="M0 0L8 4L0 8z"/></marker>'
)
SERIES = "abcd"


def number(value: float) -> str:
    """Return a coordinate or a figure without superfluous digits."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


class Picture:
    """An SVG picture of the documentation's width."""

    def __init__(self, height: int, description: str) -> None:
        """Start with an empty page."""
        self._height = height
        self._description = description
        self._parts: list[str] = []

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "middle") -> None:
        """Write a line of text."""
        place = f'x="{number(x)}" y="{number(y)}"'
        self._parts.append(
            f'<text class="{kind}" {place} text-anchor="{anchor}">{escape(text)}</text>'
        )

    def box(self, x: float, y: float, width: float, height: float, kind: str) -> None:
        """Draw a box."""
        self._parts.append(
            f'<rect class="{kind}" x="{number(x)}" y="{number(y)}" width="{number(width)}" '
            f'height="{number(height)}" rx="5"/>'
        )

    def token(self, x: float, y: float, text: str, kind: str, width: float = 72) -> None:
        """Draw a box with a token in it, centred at a point."""
        self.box(x - width / 2, y - 16, width, 32, kind)
        self.text(x, y + 5, text)

    def line(self, points: list[tuple[float, float]], kind: str = "line", end: str = "") -> None:
        """Draw a line through points; `end` is "arrow" or nothing."""
        path = " ".join(f"{number(x)},{number(y)}" for x, y in points)
        marker = f' marker-end="url(#{end})"' if end else ""
        self._parts.append(f'<polyline class="{kind}" points="{path}"{marker}/>')

    def dot(self, x: float, y: float, kind: str) -> None:
        """Draw a point of a curve."""
        self._parts.append(f'<circle class="{kind}" cx="{number(x)}" cy="{number(y)}" r="3.5"/>')

    def svg(self) -> str:
        """Return the picture's text."""
        size = f'viewBox="0 0 {WIDTH} {self._height}" width="{WIDTH}" height="{self._height}"'
        page = f'<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" '
        page += f'height="{self._height - 1}" rx="8"/>'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
        title = f"<title>{escape(self._description)}</title>"
        style = f"<style>{STYLE}</style><defs>{ARROW}</defs>"
        return "\n".join([head, title, style, page, *self._parts, "</svg>", ""])


def step() -> Picture:
    """A step: draft, one verifying pass, accepted tokens."""
    picture = Picture(372, "A step: a draft of four tokens, one forward pass, three new tokens")
    columns = [250, 350, 450, 550, 650]
    picture.text(24, 48, "text so far", "title", "start")
    picture.text(180, 48, "… The cat sat on", "", "start")
    picture.token(350, 43, "the", "target", 64)
    picture.text(392, 48, "newest token", "small faint", "start")

    picture.text(24, 111, "1. draft", "title", "start")
    picture.text(24, 129, "cheap guesses", "small faint", "start")
    for x, word in zip(columns[1:], ["mat", ".", "The", "bird"], strict=True):
        picture.token(x, 110, word, "draft dashed")

    picture.text(24, 187, "2. one pass", "title", "start")
    picture.text(24, 205, "of the target", "small faint", "start")
    picture.box(205, 160, 490, 64, "box")
    for x, word in zip(columns, ["the", "mat", ".", "The", "bird"], strict=True):
        picture.text(x, 180, word, "small")
        picture.line([(x, 186), (x, 198)], "line", "arrow")
        picture.text(x, 215, f"row {columns.index(x) + 1}", "small faint")
    for x in columns[1:]:
        picture.line([(x, 128), (x, 158)], "line", "arrow")

    picture.text(24, 259, "the target's", "title", "start")
    picture.text(24, 277, "own choice", "title", "start")
    choices = [("mat", "yes"), (".", "yes"), ("Then", "target"), ("…", "box dashed")]
    for x, (word, kind) in zip(columns, [*choices, ("…", "box dashed")], strict=True):
        picture.line([(x, 226), (x, 244)], "line", "arrow")
        picture.token(x, 263, word, kind)
    picture.text(250, 298, "= draft", "small faint")
    picture.text(350, 298, "= draft", "small faint")
    picture.text(450, 298, "≠ “The”", "small faint")
    picture.text(600, 298, "of no use: an earlier token differs", "small faint")

    picture.text(24, 336, "3. accept", "title", "start")
    for x, word, kind in [(250, "mat", "yes"), (350, ".", "yes"), (450, "Then", "target")]:
        picture.token(x, 331, word, kind)
    picture.text(504, 336, "three tokens for one pass", "", "start")
    return picture


# An invented tree: each token with its parent, where it is drawn, and how probable the planner
# thinks it is that the path is accepted up to it.
TREE = {
    "mat": ("the", 270, 80, 0.5),
    "floor": ("the", 270, 190, 0.3),
    ".": ("mat", 410, 50, 0.3),
    "by": ("floor", 410, 190, 0.2),
    "and": ("mat", 410, 115, 0.15),
    "The": (".", 550, 50, 0.1),
    "slept": ("and", 550, 115, 0.1),
}
# An invented cost of passes over 1, 2, ... tokens.
COSTS = [1.0, 1.02, 1.05, 1.09, 1.14, 1.20, 1.28, 1.38]


def rates() -> tuple[list[float], list[float], int]:
    """Return expected tokens and tokens per time for drafts of 0, 1, ... tokens; the best draft."""
    expected = [1.0]
    for *_, probability in TREE.values():
        expected.append(expected[-1] + probability)
    rate = [tokens / time for tokens, time in zip(expected, COSTS, strict=True)]
    return expected, rate, max(range(len(rate)), key=lambda index: rate[index])


def tree() -> Picture:
    """A draft tree: alternatives that one pass verifies."""
    picture = Picture(322, "A draft tree: the target accepts one path of it and adds a token")
    *_, best = rates()
    drafted, accepted = list(TREE)[:best], ["floor", "by"]
    roots = {"the": (120, 135)}
    places = roots | {word: (x, y) for word, (_, x, y, _) in TREE.items()}
    for word, (parent, to, at, probability) in TREE.items():
        x, y = places[parent]
        picture.line([(x + 36, y), (to - 38, at)], "line", "arrow")
        kind = "yes" if word in accepted else "draft" if word in drafted else "box dashed"
        picture.token(to, at, word, kind)
        picture.text(to + 40, at - 11, number(probability), "small faint", "start")
    picture.token(120, 135, "the", "target")
    picture.text(120, 172, "newest token", "small faint")
    picture.token(550, 190, "the", "target")
    picture.text(550, 226, "the target's own", "small faint")
    picture.line([(446, 190), (512, 190)], "line", "arrow")
    kinds = [("accepted", "yes"), ("drafted", "draft"), ("not worth its time", "box dashed")]
    x = 24
    for name, kind in kinds:
        picture.box(x, 248, 16, 16, kind)
        picture.text(x + 24, 261, name, "small", "start")
        x += 60 + 7 * len(name)
    picture.text(24, 288, "Each token sees only the tokens on its own path.", "small", "start")
    meaning = "The numbers (invented): how probable it seems that the path is accepted up to there."
    picture.text(24, 306, meaning, "small faint", "start")
    return picture


def planner() -> Picture:
    """The planner's choice: add the most probable token as long as the rate grows."""
    expected, rate, best = rates()
    picture = Picture(320, "The planner adds tokens as long as tokens per time grow")
    picture.text(24, 32, "Tokens per time, by how many tokens are drafted", "title", "start")
    picture.text(24, 50, "the tree above, with invented numbers", "small faint", "start")
    top, bottom, low, high = 80, 230, 0.9, 2.2
    marks = [1, 1.5, 2]

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    for mark in marks:
        picture.line([(90, y(mark)), (720, y(mark))], "grid")
        picture.text(82, y(mark) + 4, number(mark), "small faint", "end")
    points = [(110.0 + 84 * index, y(value)) for index, value in enumerate(rate)]
    picture.line(points, "curve b")
    for index, (x, height) in enumerate(points):
        picture.dot(x, height, "d" if index == best else "b")
        label = f"{expected[index]:.2f} / {COSTS[index]:.2f}"
        added = f"+ “{list(TREE)[index - 1]}”" if index else "no draft"
        picture.text(x, bottom + 22, str(index), "title")
        picture.text(x, bottom + 40, label, "small faint")
        picture.text(x, bottom + 58, added, "small faint")
    x, height = points[best]
    picture.text(x, height - 14, "drafted: one more costs more than it gains", "small")
    picture.text(24, 308, "expected tokens / time of the pass", "small faint", "start")
    return picture


def scale(largest: float) -> list[float]:
    """Return the marks of an axis from 0 on."""
    for mark in (0.5, 1, 2, 10, 20, 50, 100, 200):
        if largest / mark <= 6:
            return [mark * index for index in range(int(largest / mark) + 2)]
    raise ValueError(f"{largest} is more than a plot shows")


def head(picture: Picture, data: dict[str, Any]) -> None:
    """Write what a plot shows, and where it was measured."""
    picture.text(24, 32, data["title"], "title", "start")
    picture.text(24, 52, data["measured"], "small faint", "start")


def legend(picture: Picture, names: list[str], y: float, first: int = 0) -> None:
    """Name the series, in a line."""
    x = 24.0
    for index, name in enumerate(names):
        picture.box(x, y - 10, 12, 12, SERIES[first + index])
        picture.text(x + 18, y, name, "small", "start")
        x += 44 + 6.9 * len(name)


def bars(data: dict[str, Any]) -> Picture:
    """Draw horizontal bars: a group for each row, a bar for each series."""
    series, rows = data["series"], data["rows"]
    first = 4 - len(series) if len(series) == 3 else 0
    left, right, top = 225.0, 700.0, 102.0
    band = 20 * len(series) + 14
    height = int(top + band * len(rows) + 40)
    picture = Picture(height, f"{data['title']}: {data['unit']}")
    head(picture, data)
    legend(picture, series, 76, first)
    largest = max(max(values) for values in rows.values())
    marks = scale(largest)
    span = (right - left) / marks[-1]
    bottom = top + band * len(rows)
    for mark in marks:
        x = left + mark * span
        picture.line([(x, top - 6), (x, bottom)], "grid")
        picture.text(x, bottom + 18, number(mark), "small faint")
    picture.text(right, bottom + 34, data["unit"], "small faint", "end")
    for index, (name, values) in enumerate(rows.items()):
        y = top + band * index + 4
        picture.text(left - 10, y + 10 * len(series) + 4, name, "", "end")
        for number_of, value in enumerate(values):
            at = y + 20 * number_of
            picture.box(left, at, value * span, 16, SERIES[first + number_of])
            label = f"{value:.2f}" if "baseline" in data else number(value)
            picture.text(left + value * span + 6, at + 13, label, "small", "start")
    if "baseline" in data:
        x = left + data["baseline"] * span
        picture.line([(x, top - 6), (x, bottom)], "line dashed")
    return picture


def curves(data: dict[str, Any]) -> Picture:
    """Draw a curve for each row."""
    steps: list[float] = data["x"]
    left, right, top, bottom = 70.0, 560.0, 96.0, 366.0
    picture = Picture(426, f"{data['title']}: {data['unit']}")
    head(picture, data)
    marks = list(range(0, 9, 2))

    def x(step: float) -> float:
        return left + (right - left) * (step - steps[0]) / (steps[-1] - steps[0])

    def y(value: float) -> float:
        return bottom - (bottom - top) * value / marks[-1]

    for mark in marks:
        picture.line([(left, y(mark)), (right, y(mark))], "grid")
        picture.text(left - 10, y(mark) + 4, number(mark), "small faint", "end")
    for step in steps:
        picture.text(x(step), bottom + 20, str(step), "small faint")
    picture.text((left + right) / 2, bottom + 40, data["horizontal"], "small faint")
    picture.text(24, 76, data["unit"], "small faint", "start")
    picture.line([(x(1), y(1)), (x(marks[-1]), y(marks[-1]))], "line dashed")
    picture.text(x(marks[-1]) + 8, y(marks[-1]) + 14, data["limit"], "small faint", "start")
    for index, (name, values) in enumerate(data["rows"].items()):
        points = [(x(step), y(value)) for step, value in zip(steps, [1, *values], strict=True)]
        picture.line(points, f"curve {SERIES[index]}")
        for point in points:
            picture.dot(*point, SERIES[index])
        last_x, last_y = points[-1]
        picture.text(last_x + 12, last_y + 5, f"{number(values[-1])} x after {name}", "", "start")
    return picture


def pictures() -> dict[str, Picture]:
    """Return all pictures, by their names."""
    plots: dict[str, Callable[[dict[str, Any]], Picture]] = {
        "engines": bars,
        "rows": bars,
        "speculation": bars,
        "passes": curves,
    }
    drawn = {"step": step(), "tree": tree(), "planner": planner()}
    for name, plot in plots.items():
        data = json.loads((DOCS / "data" / f"{name}.json").read_text(encoding="utf-8"))
        drawn[name] = plot(data)
    return drawn


def main() -> int:
    """Write or check the pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for name, picture in pictures().items():
        file = PICTURES / f"{name}.svg"
        if check:
            if not file.is_file() or file.read_text(encoding="utf-8") != picture.svg():
                stale.append(file.name)
        else:
            file.write_text(picture.svg(), encoding="utf-8")
    if stale:
        print(f"not up to date, run python docs/pictures.py: {', '.join(stale)}", file=sys.stderr)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
