"""Prints what CHANGELOG.md says of a version, and fails unless all files name that version.

python packaging/notes.py VERSION
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Where the version of the next release is written, apart from the changelog.
DECLARED = {"Cargo.toml": r'^version = "(.+)"$', "CITATION.cff": r"^version: (.+)$"}


class NotReadyError(Exception):
    """The version cannot be released as the files are."""


def notes(version: str, root: Path = ROOT) -> str:
    """Returns the version's section of the changelog, without its heading."""
    for name, pattern in DECLARED.items():
        found = re.search(pattern, (root / name).read_text(encoding="utf-8"), re.MULTILINE)
        if not found or found[1] != version:
            raise NotReadyError(f"{name} has version {found and found[1]}, not {version}")
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8") + "\n## "
    heading = rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d\n"
    section = re.search(rf"{heading}(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
    if not section:
        raise NotReadyError(f'CHANGELOG.md has no heading "## {version} - YYYY-MM-DD"')
    if not section[1].strip():
        raise NotReadyError(f"CHANGELOG.md says nothing of {version}")
    return section[1].strip()


if __name__ == "__main__":
    try:
        print(notes(sys.argv[1]))
    except NotReadyError as error:
        sys.exit(str(error))
