"""Prints which crates a wheel is made of, as a CycloneDX 1.6 bill of materials (https://cyclonedx.org/docs/1.6/json/).

    python packaging/bill_of_materials.py > specdec_rs.cdx.json

The crates are those of Cargo.lock that the package depends on when it is built for any platform,
with the checksums that cargo compares. The same sources give the same bytes. Needs Python 3.11.
"""

import json
import sys
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


def main() -> None:
    """Prints the bill of materials."""
    described = metadata(["python"])
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    checksums = {
        (package["name"], package["version"]): package["checksum"]
        for package in lock["package"]
        if "checksum" in package
    }
    packages = {package["id"]: package for package in described["packages"]}
    nodes = {node["id"]: node for node in described["resolve"]["nodes"]}
    root = next(package for package in packages.values() if package["name"] == "specdec_rs")

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
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": component(root, checksums)},
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
    json.dump(bill, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
