"""Describes which crates a file of a release is made of.

The format is CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/). The crates are those of
Cargo.lock, with the checksums that cargo compares. Needs Python 3.11.
"""

from datetime import datetime, timezone
from typing import Any

import tomllib
from crates import ROOT, Compiled, license_of, purl


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


def bill(made_of: Compiled, time: int) -> dict[str, Any]:
    """The bill of materials of a package that is made at this time, in seconds since 1970."""
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    checksums = {
        (package["name"], package["version"]): package["checksum"]
        for package in lock["package"]
        if "checksum" in package
    }
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(time, timezone.utc).isoformat(),
            "component": component(made_of.root, checksums),
        },
        "components": [component(crate, checksums) for crate in made_of.crates.values()],
        "dependencies": [
            {"ref": reference, "dependsOn": used}
            for reference, used in made_of.dependencies.items()
        ],
    }
