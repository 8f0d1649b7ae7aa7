"""A program on a pseudo-terminal, and what a person would see there."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pyte

UP, DOWN, LEFT, TAB, ENTER = "\x1b[A", "\x1b[B", "\x1b[D", "\t", "\r"
CTRL_C, CTRL_D, CTRL_R = "\x03", "\x04", "\x12"

# Makes the terminal on stdin the controlling one, for Ctrl-C, before the program starts.
LAUNCHER = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """A running program, and the screen that it writes to."""

    def __init__(
        self, command: list[str], environment: Mapping[str, str], columns: int, rows: int
    ) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self._fd, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        self._slave = slave
        self.written = b""

    def type(self, keys: str) -> None:
        """Type keys."""
        os.write(self._fd, keys.encode())

    def paste(self, text: str) -> None:
        """Paste text, as terminals do where the program has asked for it."""
        self.type(f"\x1b[200~{text}\x1b[201~")

    def echoes(self) -> bool:
        """Whether the terminal shows what is typed."""
        mode: list[int] = termios.tcgetattr(self._slave)[3:4]
        return bool(mode[0] & termios.ECHO)

    def lines(self) -> list[str]:
        """Return the lines on the screen, without blanks at their ends and empty last lines."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip("\n").split("\n")

    def text(self) -> str:
        """Return the screen's text."""
        return "\n".join(self.lines())

    def wait_until(self, holds: Callable[[], bool], what: str) -> None:
        """Read the program's output until a condition holds."""
        deadline = time.monotonic() + 60
        while not holds():
            ended = self.process.poll() is not None
            read = self._read(0.1)
            lost = time.monotonic() > deadline or (ended and not read)
            assert not lost or holds(), f"{what} did not come:\n{self.text()}"

    def wait_for(self, text: str) -> None:
        """Wait until the screen shows a text."""
        self.wait_until(lambda: text in self.text(), repr(text))

    def wait_for_prompt(self) -> None:
        """Wait for an empty prompt at the end of the screen."""
        self.wait_until(lambda: self.lines()[-1] == ">", "the prompt")

    def ask(self, line: str) -> str:
        """Enter a line, and return what is written until the next prompt."""
        before = len(self.lines())
        self.type(line)
        self.wait_until(lambda: self.lines()[-1].endswith(line[-8:].rstrip()), "the typed line")
        self.type(ENTER)
        self.wait_until(lambda: len(self.lines()) > before, "an answer")
        self.wait_for_prompt()
        return "\n".join(self.lines()[before:-1])

    def wait(self) -> int:
        """Wait until the program ends, and return its exit status."""
        self.wait_until(lambda: self.process.poll() is not None, "the end")
        return self.process.returncode

    def _read(self, timeout: float) -> bool:
        ready, _, _ = select.select([self._fd], [], [], timeout)
        if ready:
            output = os.read(self._fd, 65536)
            self.written += output
            self._stream.feed(output)
        return bool(ready)

    def close(self) -> None:
        """End the program and close the terminal."""
        self.process.kill()
        self.process.wait()
        os.close(self._slave)
        os.close(self._fd)


@contextmanager
def terminal(
    command: list[str], environment: Mapping[str, str], columns: int = 80, rows: int = 200
) -> Iterator[Terminal]:
    """Run a program on a terminal for the block."""
    running = Terminal(command, environment, columns, rows)
    try:
        yield running
    finally:
        running.close()
