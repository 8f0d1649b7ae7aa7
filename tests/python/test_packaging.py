"""What packaging/ makes without a compiler: notes, bills of materials, archives, checksums."""

import gzip
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

if sys.version_info < (3, 11):
    pytest.skip("a release is made with Python 3.11 or newer", allow_module_level=True)

import bill_of_materials
import crates
import notes
import notices
import release

CHANGELOG = """# Changelog

## 0.3.0, not yet released

- Soon.

## 0.2.0 - 2026-05-04

### Added

- A thing.

## 0.1.0 - 2026-01-02

- The first.
"""


def repository(folder: Path, version: str, cited: str, changelog: str = CHANGELOG) -> Path:
    (folder / "Cargo.toml").write_text(
        f'[workspace.package]\nversion = "{version}"\n[package]\nversion.workspace = true\n'
        '[dependencies]\nother = { version = "9.0.0" }\n'
    )
    (folder / "CITATION.cff").write_text(f"cff-version: 1.2.0\nversion: {cited}\n")
    (folder / "CHANGELOG.md").write_text(changelog)
    return folder


@pytest.mark.parametrize(
    ("version", "expected"),
    [("0.2.0", "### Added\n\n- A thing."), ("0.1.0", "- The first.")],
)
def test_notes_are_the_section_of_the_version(version: str, expected: str, tmp_path: Path) -> None:
    assert notes.notes(version, repository(tmp_path, version, version)) == expected


@pytest.mark.parametrize(
    ("version", "declared", "cited", "problem"),
    [
        ("0.2.0", "0.1.0", "0.2.0", "Cargo.toml has version 0.1.0, not 0.2.0"),
        ("0.2.0", "0.2.0", "0.1.0", "CITATION.cff has version 0.1.0, not 0.2.0"),
        ("v0.2.0", "0.2.0", "0.2.0", "Cargo.toml has version 0.2.0, not v0.2.0"),
        ("", "0.2.0", "0.2.0", "Cargo.toml has version 0.2.0, not "),
        # Not released, not there, and of another version that only looks alike.
        ("0.3.0", "0.3.0", "0.3.0", 'CHANGELOG.md has no heading "## 0.3.0 - YYYY-MM-DD"'),
        ("0.4.0", "0.4.0", "0.4.0", 'CHANGELOG.md has no heading "## 0.4.0 - YYYY-MM-DD"'),
        ("0.2.0-rc.1", "0.2.0-rc.1", "0.2.0-rc.1", "CHANGELOG.md has no heading"),
    ],
)
def test_notes_refuse_what_is_not_ready(
    version: str, declared: str, cited: str, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(notes.NotReadyError, match=re.escape(problem)):
        notes.notes(version, repository(tmp_path, declared, cited))


def test_notes_that_say_nothing_are_refused(tmp_path: Path) -> None:
    changelog = "## 0.2.0 - 2026-05-04\n\n## 0.1.0 - 2026-01-02\n\n- The first.\n"
    folder = repository(tmp_path, "0.2.0", "0.2.0", changelog)
    with pytest.raises(notes.NotReadyError, match=r"says nothing of 0\.2\.0"):
        notes.notes("0.2.0", folder)


def test_files_of_this_repository_name_one_version() -> None:
    named = {
        re.findall(pattern, (ROOT / name).read_text(), re.MULTILINE)[0]
        for name, pattern in notes.DECLARED.items()
    }
    assert len(named) == 1, named
    script = [sys.executable, str(ROOT / "packaging" / "notes.py"), "9.9.9"]
    refused = subprocess.run(script, capture_output=True, text=True)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr == f"Cargo.toml has version {named.pop()}, not 9.9.9\n"


@pytest.mark.parametrize("package", release.FEATURES)
def test_bill_has_what_cargo_compiles(package: str) -> None:
    host, features = release.rustc()["host"], release.FEATURES[package]
    made_of = crates.compiled(package, features, host)
    bill = bill_of_materials.bill(made_of, 86400)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["timestamp"] == "1970-01-02T00:00:00+00:00"
    root = bill["metadata"]["component"]
    assert root["name"] == package
    components = [*bill["components"], root]

    command = ["cargo", "tree", "--locked", "--package", package, "--features", ",".join(features)]
    command += ["--edges", "normal", "--prefix", "none", "--target", host]
    tree = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    expected = {" ".join(line.split()[:2]) for line in tree.splitlines() if line}
    assert {f"{crate['name']} v{crate['version']}" for crate in components} == expected

    references = {crate["bom-ref"] for crate in components}
    assert len(references) == len(components)
    assert {entry["ref"] for entry in bill["dependencies"]} == references
    assert {name for entry in bill["dependencies"] for name in entry["dependsOn"]} <= references
    for crate in components:
        assert crate["licenses"][0]["expression"], crate
        if crate["name"] not in ("specdec", "specdec_rs", "specdec_backend"):
            assert re.fullmatch("[0-9a-f]{64}", crate["hashes"][0]["content"]), crate
    # Nothing tells where it was made.
    for folder in (ROOT, Path.home()):
        assert str(folder) + "/" not in json.dumps(bill)


@pytest.mark.parametrize("package", release.FEATURES)
def test_licenses_of_all_crates_are_collected(package: str) -> None:
    host = release.rustc()["host"]
    made_of = crates.compiled(package, release.FEATURES[package], host)
    collected = notices.notices(made_of)
    assert collected == notices.notices(made_of)
    *parts, last = collected.split(f"\n{'-' * 80}\n\n")
    # Few crates forget theirs; these are named with what Cargo.toml says.
    heading, _, *silent = last.splitlines()
    assert heading == "Without the text of their license:"
    assert 0 < len(silent) < 10
    assert all(re.fullmatch(r"pkg:cargo/\S+@\S+: \S.*", line) for line in silent), silent
    named = {line.partition(": ")[0] for line in silent}
    for part in parts:
        owners, _, text = part.partition("\n\n")
        named |= set(owners.splitlines())
        assert text.strip(), part
    expected = {name for name, crate in made_of.crates.items() if crate["source"]}
    assert named == expected | {"marked", "purify"}
    assert sum("Permission is hereby granted, free of charge" in part for part in parts) > 10
    assert str(ROOT) not in collected


def test_equal_licenses_are_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "ROOT", tmp_path)
    script = tmp_path / "src" / "page" / "vendor" / "LICENSE-script"
    script.parent.mkdir(parents=True)
    script.write_text("Of a script.")
    found: dict[str, dict[str, Any]] = {}
    for name, file, text in [
        ("a", "LICENSE", b"Do as you\r\n  like, and more.\r\n"),
        ("b", "LICENSE-MIT", b"Do as you like,\nand more."),
        ("c", "src/vendor/COPYING", b"Something else altogether."),
        ("d", "src/license.rs", b"fn license() {}"),
    ]:
        path = tmp_path / name / file
        path.parent.mkdir(parents=True)
        path.write_bytes(text)
        manifest = str(tmp_path / name / "Cargo.toml")
        found[name] = {"manifest_path": manifest, "source": "a registry", "license": "MIT/Zlib"}
    found["ours"] = {**found["a"], "source": None}
    line = "-" * 80
    assert notices.notices(crates.Compiled({}, found, {})) == (
        f"a\nb\n\nDo as you\n  like, and more.\n\n{line}\n\n"
        f"c\n\nSomething else altogether.\n\n{line}\n\n"
        f"script\n\nOf a script.\n\n{line}\n\n"
        "Without the text of their license:\n\nd: MIT OR Zlib\n"
    )


def test_archive_depends_on_its_content_alone() -> None:
    files = {"program": b"\x7fELF", "LICENSE": b"Apache"}
    packed = release.archive("folder", files, 86400)
    assert packed == release.archive("folder", dict(files), 86400)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        members = tar.getmembers()
        assert [
            (member.name, member.mode, member.mtime, member.uid, member.uname) for member in members
        ] == [
            ("folder/program", 0o755, 86400, 0, ""),
            ("folder/LICENSE", 0o644, 86400, 0, ""),
        ]
        contents = [file.read() for member in members if (file := tar.extractfile(member))]
    assert contents == list(files.values())
    # Neither a name nor the time of packing.
    assert packed[3] == 0
    assert gzip.GzipFile(fileobj=io.BytesIO(packed)).read(1) == b"f"
    assert int.from_bytes(packed[4:8], "little") == 86400


def test_checksums_are_those_of_all_files_but_their_own(tmp_path: Path) -> None:
    (tmp_path / "b.whl").write_bytes(b"wheel")
    (tmp_path / "a.tar.gz").write_bytes(b"archive")
    (tmp_path / "folder").mkdir()
    (tmp_path / "SHA256SUMS").write_text("of an earlier run")
    script = [sys.executable, str(ROOT / "packaging" / "release.py"), "checksums"]
    done = subprocess.run([*script, "--out", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in [("a.tar.gz", b"archive"), ("b.whl", b"wheel")]
    )
    assert (tmp_path / "SHA256SUMS").read_text() == done.stdout == expected
