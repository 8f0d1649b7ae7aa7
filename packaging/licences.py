"""Checks that every crate has a license that deny.toml allows, and that each allowed one is used.

python packaging/licences.py

All crates of the workspace are read, those of other platforms and of tests too. `cargo deny check`
checks more.
"""

import re
import sys

from crates import ROOT, license_of, metadata


def listed(name: str) -> set[str]:
    """Returns a list of deny.toml."""
    text = (ROOT / "deny.toml").read_text()
    found = re.search(rf"^{name} = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)
    assert found, f"deny.toml has no {name}"
    return set(re.findall(r'"(.+?)"', found[1]))


def tokens_of(expression: str) -> list[str]:
    """Splits an expression of SPDX; `A WITH B` is one token."""
    spaced = re.sub(r"\s+WITH\s+", "\0", re.sub(r"([()])", r" \1 ", expression))
    return [token.replace("\0", " WITH ") for token in spaced.split()]


def is_fulfilled(tokens: list[str], allowed: set[str]) -> bool:
    """Whether allowed licences suffice; takes an expression from the front of the tokens."""

    def single() -> bool:
        token = tokens.pop(0)
        if token != "(":
            return token in allowed
        inner = is_fulfilled(tokens, allowed)
        tokens.pop(0)
        return inner

    def together() -> bool:
        all_of = [single()]
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            all_of.append(single())
        return all(all_of)

    any_of = [together()]
    while tokens and tokens[0] == "OR":
        tokens.pop(0)
        any_of.append(together())
    return any(any_of)


def main() -> None:
    """Prints what is wrong, and fails if anything is."""
    packages = metadata(listed("features"))["packages"]
    allowed = listed("allow")
    used: set[str] = set()
    wrong = []
    for package in packages:
        tokens = tokens_of(license_of(package) or "none")
        used |= allowed.intersection(tokens)
        if not is_fulfilled(tokens, allowed):
            wrong.append(f"{package['name']} {package['version']}: {package['license']}")
    wrong += [f"no crate has {name}, which deny.toml allows" for name in sorted(allowed - used)]
    print("\n".join([*wrong, f"{len(packages)} crates, {len(wrong)} problems"]))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
