"""Draws the pictures of the documentation, as SVG.

    python docs/pictures/draw.py [--check]

Plots show the figures of measured.json, which come from docs/performance.md. With --check, nothing
is written; the exit status is 1 if a picture is not what would be drawn. Each picture has a white
ground of its own, so that it can be read on light and dark pages.
"""

import argparse
import json
import sys
from collections.abc import Callable
from html import escape
from itertools import pairwise
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
MEASURED = json.loads((FOLDER / "measured.json").read_text())

INK, FAINT = "#1f2430", "#667085"
TARGET, DRAFT, ACCEPTED, REJECTED = "#4051b5", "#e8a33d", "#2e8b57", "#c0392b"


class Picture:
    """A drawing of a width and a height in pixels."""

    def __init__(self, width: int, height: int, description: str) -> None:
        """Starts with an empty white ground."""
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            f'font-family="system-ui, sans-serif" font-size="14">',
            f"<title>{escape(description)}</title>",
            f'<rect width="{width}" height="{height}" rx="8" fill="white"/>',
        ]

    def text(
        self, x: float, y: float, text: str, fill: str = INK, anchor: str = "start", size: int = 14
    ) -> None:
        """Writes a line whose baseline is at y."""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" fill="{fill}" text-anchor="{anchor}" font-size="{size}">'
            f"{escape(text)}</text>"
        )

    def box(
        self, x: float, y: float, width: float, height: float, stroke: str, fill: str = "white"
    ) -> None:
        """Draws a rounded rectangle."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5" '
            f'fill="{fill}" stroke="{stroke}" stroke-width="2"/>'
        )

    def line(self, points: list[tuple[float, float]], stroke: str, arrow: bool = False) -> None:
        """Draws a line through points, which may end in an arrow."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="2"/>'
        )
        if arrow:
            x, y = points[-1]
            self.parts.append(
                f'<path d="M{x - 5:g},{y - 8:g} L{x:g},{y:g} L{x + 5:g},{y - 8:g}" '
                f'fill="none" stroke="{stroke}" stroke-width="2"/>'
            )

    def token(self, x: float, y: float, text: str, stroke: str, fill: str = "white") -> None:
        """Draws a token of the width of 78 pixels."""
        self.box(x, y, 78, 32, stroke, fill)
        self.text(x + 39, y + 21, text, anchor="middle")

    def svg(self) -> str:
        """The file's contents."""
        return "\n".join([*self.parts, "</svg>", ""])


def step() -> Picture:
    """A step: draft, one pass of the target, accepted tokens."""
    picture = Picture(
        780,
        300,
        "A draft of four tokens is verified in one pass: three are accepted, one is replaced",
    )
    picture.text(20, 40, "text so far", FAINT)
    for index, token in enumerate(["The", "old", "cat"]):
        picture.token(130 + 88 * index, 18, token, INK)
    picture.text(20, 112, "draft proposes", FAINT)
    draft = ["sat", "on", "the", "rug"]
    for index, token in enumerate(draft):
        picture.token(394 + 88 * index, 90, token, DRAFT)
    picture.line([(345, 54), (345, 106), (390, 106)], DRAFT)
    picture.text(20, 182, "target, in one pass", FAINT)
    picture.box(174, 160, 578, 36, TARGET, "#eef0fb")
    picture.text(463, 183, "the token after each of these positions, all at once", TARGET, "middle")
    for index in range(4):
        picture.line([(433 + 88 * index, 124), (433 + 88 * index, 156)], TARGET, arrow=True)
    picture.text(20, 252, "text after the step", FAINT)
    kept = ["sat", "on", "the", "mat"]
    for index, token in enumerate(kept):
        colour = ACCEPTED if token == draft[index] else TARGET
        picture.line([(433 + 88 * index, 196), (433 + 88 * index, 226)], colour, arrow=True)
        picture.token(394 + 88 * index, 230, token, colour)
    picture.text(394, 285, "accepted: the target's choices, too", ACCEPTED, size=13)
    picture.text(752, 285, "the target's", TARGET, "end", size=13)
    return picture


def tree() -> Picture:
    """A draft with alternatives, and the path that is accepted."""
    picture = Picture(780, 250, "A tree of drafted tokens, of which the target accepts one path")
    nodes = {
        "sat": (150, 60, None, True),
        "ran": (150, 150, None, False),
        "on": (300, 30, "sat", True),
        "by": (300, 90, "sat", False),
        "to": (300, 150, "ran", False),
        "the": (450, 30, "on", True),
        "a": (450, 90, "on", False),
        "mat": (600, 30, "the", True),
    }
    picture.token(20, 104, "cat", INK)
    for text, (x, y, parent, accepted) in nodes.items():
        left, top, *_ = nodes[parent] if parent else (20, 104)
        colour = ACCEPTED if accepted else DRAFT
        picture.line([(left + 78, top + 16), (x, y + 16)], colour)
        picture.token(x, y, text, colour)
    picture.text(
        20,
        215,
        "All eight tokens are rows of one pass; each sees the text and its own path only.",
        FAINT,
    )
    picture.text(
        20,
        237,
        "The target's choices lead along one path, which is kept. The rest is dropped.",
        FAINT,
    )
    return picture


def tokens_of_a_step(acceptance: float, drafted: int) -> float:
    """How many tokens a step yields if each drafted token is accepted with this probability."""
    return sum(acceptance**position for position in range(drafted + 1))


def cost(rows: float) -> float:
    """The time of a pass over so many rows, in passes over one row.

    Between measured points, it is on a line.
    """
    passes = MEASURED["passes"]
    times = passes["milliseconds"]
    points = list(zip(passes["rows"], times, strict=True))
    for (few, fast), (many, slow) in pairwise(points):
        if rows <= many:
            return float((fast + (slow - fast) * (rows - few) / (many - few)) / times[0])
    raise ValueError(f"no measurement of {rows} rows")


def choice() -> Picture:
    """The speed as a function of the draft's length, for three acceptance rates."""
    picture = Picture(
        780, 380, "The speedup by the number of drafted tokens, for three acceptance rates"
    )
    left, bottom, width, height, most = 70, 310, 560, 260, 15
    highest = 3.5

    def point(drafted: float, speedup: float) -> tuple[float, float]:
        return left + width * drafted / most, bottom - height * speedup / highest

    for speedup in [0.0, 1.0, 2.0, 3.0]:
        y = point(0, speedup)[1]
        picture.line([(left, y), (left + width, y)], FAINT if speedup == 1 else "#e4e7ec")
        picture.text(left - 10, y + 5, f"{speedup:g} x", FAINT, "end")
    for drafted in range(0, most + 1, 3):
        picture.text(point(drafted, 0)[0], bottom + 22, str(drafted), FAINT, "middle")
    for acceptance, colour in [(0.9, ACCEPTED), (0.7, TARGET), (0.3, REJECTED)]:
        speeds = [
            tokens_of_a_step(acceptance, drafted) / cost(drafted + 1) for drafted in range(most + 1)
        ]
        picture.line([point(drafted, speed) for drafted, speed in enumerate(speeds)], colour)
        best = max(range(most + 1), key=speeds.__getitem__)
        x, y = point(best, speeds[best])
        picture.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{colour}"/>')
        end = point(most, speeds[-1])[1]
        picture.text(left + width + 10, end + 5, f"{acceptance:.0%} accepted", colour)
    picture.text(left + width / 2, bottom + 45, "drafted tokens per step", FAINT, "middle")
    picture.text(20, 26, "Speedup, computed from measured passes; a dot marks the length to choose")
    picture.text(20, 372, MEASURED["passes"]["note"], FAINT, size=12)
    return picture


def bars(name: str) -> Picture:
    """One bar for each figure of a group in measured.json."""
    group = MEASURED[name]
    values = group["bars"]
    height = 84 + 34 * len(values)
    picture = Picture(780, height, group["title"])
    picture.text(20, 30, group["title"], size=16)
    largest = max(values.values())
    for index, (label, value) in enumerate(values.items()):
        y = 48 + 34 * index
        picture.text(160, y + 18, label, INK, "end")
        own = label.startswith("specdec") or name != "peers"
        colour = TARGET if own else FAINT
        picture.box(170, y + 2, 500 * value / largest, 22, colour, colour)
        picture.text(180 + 500 * value / largest, y + 18, f"{value:g}{group['unit']}")
    picture.text(20, height - 14, group["note"], FAINT, size=12)
    return picture


PICTURES: dict[str, Callable[[], Picture]] = {
    "step": step,
    "tree": tree,
    "choice": choice,
    "peers": lambda: bars("peers"),
    "spec-bench": lambda: bars("spec-bench"),
}


def main() -> None:
    """Draws all pictures, or checks them."""
    parser = argparse.ArgumentParser(description="Draws the pictures of the documentation.")
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for name, draw in PICTURES.items():
        path = FOLDER / f"{name}.svg"
        drawn = draw().svg()
        if check and (not path.exists() or path.read_text() != drawn):
            stale.append(path.name)
        elif not check:
            path.write_text(drawn)
    if stale:
        sys.exit(f"not up to date: {', '.join(stale)}; run python docs/pictures/draw.py")


if __name__ == "__main__":
    main()
