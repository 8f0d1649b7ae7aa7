"""What cargo says of the crates that the workspace is made of."""

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

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
