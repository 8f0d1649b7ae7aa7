"""What cargo says of the crates that the workspace is made of."""

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent


def metadata(features: Iterable[str], platform: str | None = None) -> dict[str, Any]:
    """Returns what `cargo metadata` prints, with these features of specdec_rs.

    Its graph has the dependencies of all platforms, or of one.
    """
    command = ["cargo", "metadata", "--locked", "--format-version", "1"]
    command += ["--features", ",".join(features)]
    if platform:
        command += ["--filter-platform", platform]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    described: dict[str, Any] = json.loads(done.stdout)
    return described


def license_of(package: dict[str, Any]) -> str | None:
    """Returns a crate's license as an expression of SPDX; some still write a slash for "or"."""
    license = package["license"]
    return license and " OR ".join(part.strip() for part in license.split("/"))


def purl(package: dict[str, Any]) -> str:
    """Returns a crate's URL, as https://github.com/package-url/purl-spec defines it."""
    return f"pkg:cargo/{package['name']}@{package['version']}"


class Compiled(NamedTuple):
    """What becomes part of a package: not what only tests and build scripts use."""

    root: dict[str, Any]
    # The others, by their URLs, and in the order of these.
    crates: dict[str, dict[str, Any]]
    # The URLs of what each of them uses itself.
    dependencies: dict[str, list[str]]


def compiled(name: str, features: Iterable[str], platform: str) -> Compiled:
    """Returns what a package of the workspace is made of.

    Args:
        name: The package.
        features: Features of specdec_rs that are turned on.
        platform: What it is compiled for, as Rust names it.
    """
    described = metadata(features, platform)
    packages = {package["id"]: package for package in described["packages"]}
    nodes = {node["id"]: node for node in described["resolve"]["nodes"]}
    (root,) = (package for package in packages.values() if package["name"] == name)
    used: dict[str, list[str]] = {}
    ahead = [root["id"]]
    while ahead:
        identity = ahead.pop()
        if identity not in used:
            used[identity] = [
                dependency["pkg"]
                for dependency in nodes[identity]["deps"]
                if any(kind["kind"] is None for kind in dependency["dep_kinds"])
            ]
            ahead += used[identity]
    ordered = sorted(used, key=lambda identity: purl(packages[identity]))
    return Compiled(
        root,
        {
            purl(packages[identity]): packages[identity]
            for identity in ordered
            if identity != root["id"]
        },
        {
            purl(packages[identity]): sorted({purl(packages[other]) for other in used[identity]})
            for identity in ordered
        },
    )
