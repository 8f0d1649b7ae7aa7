"""Describes which crates a file of a release is made of.

The format is CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/). The crates are those of
Cargo.lock, with the checksums that cargo compares. Needs Python 3.11.
"""

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

import tomllib
from crates import ROOT, license_of, metadata


def purl(package: dict[str, Any]) -> str:
    """The package's URL, as https://github.com/package-url/purl-spec defines it."""
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package: dict[str, Any], checksums: dict[tuple[str, str], str]) -> dict[str, Any]:
    """A crate, as CycloneDX describes one."""
    described = {
        "type": "library",
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "purl": purl(package),
    }
    expression = license_of(package)
    if expression:
        described["licenses"] = [{"expression": expression}]
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        described["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return described


def bill(name: str, features: Iterable[str], platform: str, time: int) -> dict[str, Any]:
    """The bill of materials of a package of the workspace.

    Args:
        name: The package.
        features: Features of specdec_rs that are turned on.
        platform: What it is compiled for, as Rust names it.
        time: When it was made, in seconds since 1970.
    """
    described = metadata(features, platform)
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    checksums = {
        (package["name"], package["version"]): package["checksum"]
        for package in lock["package"]
        if "checksum" in package
    }
    packages = {package["id"]: package for package in described["packages"]}
    nodes = {node["id"]: node for node in described["resolve"]["nodes"]}
    root = next(package for package in packages.values() if package["name"] == name)

    def dependencies(identity: str) -> list[str]:
        """Those that become part of it: neither for its tests nor for its build scripts."""
        return [
            dependency["pkg"]
            for dependency in nodes[identity]["deps"]
            if any(kind["kind"] is None for kind in dependency["dep_kinds"])
        ]

    reached: set[str] = set()
    ahead = [root["id"]]
    while ahead:
        identity = ahead.pop()
        if identity not in reached:
            reached.add(identity)
            ahead += dependencies(identity)
    ordered = sorted(reached, key=lambda identity: purl(packages[identity]))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(time, timezone.utc).isoformat(),
            "component": component(root, checksums),
        },
        "components": [
            component(packages[identity], checksums)
            for identity in ordered
            if identity != root["id"]
        ],
        "dependencies": [
            {
                "ref": purl(packages[identity]),
                "dependsOn": sorted({purl(packages[other]) for other in dependencies(identity)}),
            }
            for identity in ordered
        ],
    }
