"""Collects the licenses of what others wrote of a program or a wheel: crates, scripts of its page.

Most of them ask that their text goes wherever the code goes.
"""

import re
from pathlib import Path

from crates import ROOT, Compiled, license_of

NAMES = re.compile(r"(licen[cs]e|copying|copyright|notice|unlicense)", re.IGNORECASE)


def files_of(folder: Path) -> list[Path]:
    """Returns the files of a crate that say what its license is."""
    return sorted(
        file
        for file in folder.rglob("*")
        if NAMES.match(file.name) and file.suffix != ".rs" and file.is_file()
    )


def notices(made_of: Compiled) -> str:
    """Returns every text once, below those that have it; our own license is not among them."""
    files = {
        name: files_of(Path(crate["manifest_path"]).parent)
        for name, crate in made_of.crates.items()
        # What lies in this repository has its license,
        if crate["source"]
    }
    # but for scripts, each with a license beside it.
    for file in sorted((ROOT / "src").rglob("vendor/LICENSE-*")):
        files[file.name.removeprefix("LICENSE-")] = [file]
    texts: dict[str, str] = {}
    owners: dict[str, list[str]] = {}
    for name, file in ((name, file) for name, found in files.items() for file in found):
        text = file.read_text(encoding="utf-8", errors="replace").strip("\r\n")
        # Line breaks and margins differ.
        key = " ".join(text.split())
        texts.setdefault(key, "\n".join(line.rstrip() for line in text.splitlines()))
        if name not in owners.setdefault(key, []):
            owners[key].append(name)
    parts = ["\n".join([*names, "", texts[key], ""]) for key, names in owners.items()]
    silent = [
        f"{name}: {license_of(made_of.crates[name])}" for name, found in files.items() if not found
    ]
    if silent:
        parts.append("\n".join(["Without the text of their license:", "", *silent, ""]))
    return f"\n{'-' * 80}\n\n".join(parts)
