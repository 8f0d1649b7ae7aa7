"""Finds words that this project replaces by the field's own terms.

    python3 .ci/words.py [--summary] [PATH...]

.ci/words.txt holds the patterns, one regular expression per line. .ci/words-allowed.txt holds the
exceptions, one per line: a glob of paths, a pattern exactly as in words.txt, and the reason,
separated by at least two spaces. An exception that matches nothing is reported as well, so that the
list stays up to date.

All text files that git tracks are checked, or those under PATH, except test data. Each match is
printed as FILE:LINE with the word and the line. The exit status is 1 if there are matches, 2 if one
of the lists is invalid. --summary prints the number of matching lines per folder instead.
"""

import argparse
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORDS = ROOT / ".ci" / "words.txt"
ALLOWED = ROOT / ".ci" / "words-allowed.txt"
# The word lists themselves, files by other authors, and test data.
SKIPPED = [
    ".ci/words*.txt",
    "LICENSE",
    "Cargo.lock",
    "*/fixtures/*",
    "*/vendor/*",
    "tests/data/*",
]


@dataclass
class Allowance:
    """A pattern that may match in some files."""

    glob: str
    pattern: str
    reason: str
    line: int
    uses: int = 0


def fail(message: str) -> None:
    """Ends the program because a list is invalid."""
    print(message, file=sys.stderr)
    sys.exit(2)


def read_patterns() -> dict[str, re.Pattern[str]]:
    """Reads the patterns, by their text."""
    lines = WORDS.read_text(encoding="utf-8").splitlines()
    return {line: re.compile(line) for line in lines if line.strip()}


def read_exceptions(patterns: dict[str, re.Pattern[str]]) -> list[Allowance]:
    """Reads the exceptions; lines that start with # are comments."""
    exceptions = []
    for number, line in enumerate(ALLOWED.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = re.split(r"\s{2,}", line.strip(), maxsplit=2)
        if len(fields) != 3:
            fail(f"{ALLOWED.name}:{number}: expected a glob, a pattern and a reason")
        if fields[1] not in patterns:
            fail(f"{ALLOWED.name}:{number}: {fields[1]} is not a pattern of {WORDS.name}")
        glob, pattern, reason = fields
        exceptions.append(Allowance(glob, pattern, reason, number))
    return exceptions


def tracked_files(paths: list[str]) -> list[str]:
    """Lists the files to check, relative to the repository."""
    command = ["git", "ls-files", "-z", "--", *paths]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    names = [name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]
    return [name for name in names if not any(fnmatchcase(name, glob) for glob in SKIPPED)]


def text_of(name: str) -> str | None:
    """Reads a text file; None if it is binary."""
    try:
        text = (ROOT / name).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def main() -> int:
    """Checks the files."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=None
    )
    parser.add_argument("paths", metavar="PATH", nargs="*")
    parser.add_argument("--summary", action="store_true")
    arguments = parser.parse_args()
    patterns = read_patterns()
    exceptions = read_exceptions(patterns)
    folders: Counter[str] = Counter()
    for name in tracked_files(arguments.paths):
        allowed = [exception for exception in exceptions if fnmatchcase(name, exception.glob)]
        for number, line in enumerate((text_of(name) or "").splitlines(), 1):
            found = []
            for text, pattern in patterns.items():
                if not (match := pattern.search(line)):
                    continue
                excuses = [exception for exception in allowed if exception.pattern == text]
                for exception in excuses:
                    exception.uses += 1
                if not excuses:
                    found.append(match.group())
            if found:
                folders["/".join(name.split("/")[:-1][:2]) or "."] += 1
                if not arguments.summary:
                    print(f"{name}:{number}: {', '.join(found)}: {line.strip()}")
    unused = [exception for exception in exceptions if not exception.uses]
    for exception in unused if not arguments.paths else []:
        where = f"{ALLOWED.relative_to(ROOT)}:{exception.line}"
        print(f"{where}: {exception.pattern} no longer matches in {exception.glob}")
    if arguments.summary:
        for folder, lines in sorted(folders.items()):
            print(f"{lines:>5}  {folder}")
        print(f"{sum(folders.values()):>5}  in all")
    return int(bool(folders) or (bool(unused) and not arguments.paths))


if __name__ == "__main__":
    sys.exit(main())
