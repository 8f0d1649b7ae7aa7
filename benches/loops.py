"""Count the instructions of innermost loops, where no machine to time them on is at hand.

    objdump -d -C --no-show-raw-insn PROGRAM | python benches/loops.py INSTRUCTION ...

prints, for each innermost loop that has one of these instructions (as `sdot` or `usmmla`), how many
instructions it has, how many of each of these, and the function.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

FUNCTION = re.compile(r"[0-9a-f]+ <(.*)>:")
INSTRUCTION = re.compile(r" *([0-9a-f]+):\s+(\S+)\s*(.*)")
# Of x86-64 and of 64-bit Arm; a loop that ends with an unconditional one is not a kernel's.
BRANCH = re.compile(r"j(?!mp)\w+|b\.\w+|cbn?z|tbn?z")
TARGET = re.compile(r"\b([0-9a-f]+) <")


class Instruction(NamedTuple):
    """One line of a disassembly."""

    address: int
    name: str
    operands: str


def functions(lines: Iterable[str]) -> Iterator[tuple[str, list[Instruction]]]:
    """Yield each function's name and instructions."""
    name, body = "", list[Instruction]()
    for line in lines:
        if start := FUNCTION.match(line):
            yield name, body
            name, body = start[1], []
        elif found := INSTRUCTION.match(line):
            body.append(Instruction(int(found[1], 16), found[2], found[3]))
    yield name, body


def innermost_loops(body: list[Instruction]) -> Iterator[Counter[str]]:
    """Yield the instructions of each loop that contains no other."""
    loops = []
    for end in body:
        target = TARGET.search(end.operands)
        if BRANCH.fullmatch(end.name) and target and int(target[1], 16) < end.address:
            loops.append((int(target[1], 16), end.address))
    for first, last in loops:
        if not any(first <= a and b <= last for a, b in loops if (a, b) != (first, last)):
            yield Counter(x.name for x in body if first <= x.address <= last)


def main() -> None:
    """Print a line for each loop."""
    chosen = sys.argv[1:]
    for name, body in functions(sys.stdin):
        for loop in innermost_loops(body):
            if any(loop[instruction] for instruction in chosen):
                counts = (f"{key}={loop[key]}" for key in chosen if loop[key])
                print(loop.total(), *counts, name)


if __name__ == "__main__":
    main()
