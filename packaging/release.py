"""Makes the files of a release, in dist/.

    pip install -r packaging/requirements.txt
    python packaging/release.py [--target TRIPLE] [PART...]

The parts are `sdist`, `sbom`, `wheel`, `program` (an archive) and `checksums`; without any, all are
made. The same commit and the same compilers give the same bytes, in whatever folder: time stamps
are the commit's (or SOURCE_DATE_EPOCH), paths of the machine are replaced, and versions are those
of Cargo.lock. Needs Python 3.11, and what a build needs; for Linux, Zig compiles C and links, for
another processor, too.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

from bill_of_materials import bill
from crates import ROOT, compiled
from notices import notices

BUILT = ROOT / "target" / "packaging"
# What is compiled into each file, and from which package with which features of specdec_rs.
FEATURES = {"specdec_rs": ["python"], "specdec": []}
# The file with the licenses of the crates.
NOTICES = "THIRD-PARTY-LICENSES.txt"


def output(*command: str) -> str:
    """Returns what a command prints."""
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def rustc() -> dict[str, str]:
    """Returns what the compiler says of itself: its host, release and commit."""
    lines = output("rustc", "-vV").splitlines()
    return dict(line.split(": ", 1) for line in lines if ": " in line)


def environment() -> dict[str, str]:
    """Returns the variables of a build that depends neither on the time nor on folders."""
    variables = dict(os.environ)
    variables.setdefault("SOURCE_DATE_EPOCH", output("git", "log", "-1", "--format=%ct"))
    home = Path(variables.get("CARGO_HOME", Path.home() / ".cargo"))
    # The folder that cargo unpacks crates into is named after the registry's address.
    crates = [(folder, "/crates") for folder in sorted((home / "registry" / "src").glob("*"))]
    library = Path(output("rustc", "--print", "sysroot"), "lib", "rustlib", "src", "rust")
    replaced = [(ROOT, "/specdec_rs"), *crates, (library, f"/rustc/{rustc()['commit-hash']}")]
    flags = [f"--remap-path-prefix={folder}={name}" for folder, name in replaced]
    flags = variables.pop("RUSTFLAGS", "").split() + flags
    variables["CARGO_ENCODED_RUSTFLAGS"] = "\x1f".join(flags)
    # Microsoft's compiler has no such option.
    if os.name != "nt":
        maps = " ".join(f"-ffile-prefix-map={folder}={name}" for folder, name in replaced)
        for name in ("CFLAGS", "CXXFLAGS"):
            variables[name] = f"{variables.get(name, '')} {maps}".strip()
    variables["ZERO_AR_DATE"] = "1"
    variables["CARGO_INCREMENTAL"] = "0"
    variables["CARGO_TARGET_DIR"] = str(BUILT)
    # Wheel and program share what they are compiled from, if they agree on this.
    variables["CARGO_PROFILE_RELEASE_DEBUG"] = "false"
    variables["CARGO_PROFILE_RELEASE_STRIP"] = "true"
    # Zig and what calls it lie beside this Python.
    variables["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), variables["PATH"]])
    return variables


def archive(folder: str, files: dict[str, bytes], time: int) -> bytes:
    """Returns a folder as .tar.gz. The first of the files is a program."""
    tape = io.BytesIO()
    with tarfile.open(fileobj=tape, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for number, (name, content) in enumerate(files.items()):
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            member.mtime = time
            member.mode = 0o644 if number else 0o755
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(tape.getvalue(), mtime=time)


def checksums(folder: Path) -> str:
    """Returns the checksums of all files in a folder, as `sha256sum -c` reads them."""
    names = sorted(file.name for file in folder.iterdir() if file.is_file())
    return "".join(
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in names
        if name != "SHA256SUMS"
    )


class Release:
    """What is made, and where it goes."""

    def __init__(self, out: Path, target: str | None, compatibility: str | None) -> None:
        """Fetches the crates, so that nothing changes while files are made."""
        self.out = out
        self.target = target or rustc()["host"]
        default = "manylinux_2_28" if "linux-gnu" in self.target else "pypi"
        self.compatibility = compatibility or default
        self.version = output("cargo", "pkgid", "--package", "specdec").rpartition("@")[2]
        subprocess.run(["cargo", "fetch", "--locked"], cwd=ROOT, check=True)
        self.variables = environment()
        self.time = int(self.variables["SOURCE_DATE_EPOCH"])

    def run(self, *command: str) -> None:
        """Runs a command that must succeed."""
        print("$", *command, flush=True)
        subprocess.run(command, cwd=ROOT, check=True, env=self.variables)

    def bill(self, package: str) -> str:
        """Returns the bill of materials of a package."""
        described = bill(compiled(package, FEATURES[package], self.target), self.time)
        return json.dumps(described, indent=1) + "\n"

    def notices(self, package: str) -> str:
        """Returns the licenses of the crates of a package."""
        return notices(compiled(package, FEATURES[package], self.target))

    def sdist(self) -> None:
        """Makes the source distribution."""
        self.run(sys.executable, "-m", "maturin", "sdist", "--out", str(self.out))

    def sbom(self) -> None:
        """Writes the bills of materials: one of the wheel, one of the program."""
        for package in FEATURES:
            name = f"{package}-{self.version}-{self.target}.cdx.json"
            (self.out / name).write_text(self.bill(package), encoding="utf-8", newline="\n")

    def wheel(self) -> None:
        """Makes the wheel, with its bill of materials and the licenses of its crates inside."""
        (described := BUILT / "specdec_rs.cdx.json").parent.mkdir(parents=True, exist_ok=True)
        described.write_text(self.bill("specdec_rs"), encoding="utf-8", newline="\n")
        options = ["--release", "--locked", "--target", self.target]
        options += ["--compatibility", self.compatibility, "--sbom-include", str(described)]
        if self.compatibility.startswith("manylinux"):
            options += ["--zig"]
        # pyproject.toml names it, and it must lie there.
        licenses = ROOT / NOTICES
        licenses.write_text(self.notices("specdec_rs"), encoding="utf-8", newline="\n")
        try:
            self.run(sys.executable, "-m", "maturin", "build", *options, "--out", str(self.out))
        finally:
            licenses.unlink()

    def program(self) -> None:
        """Makes an archive: the program, its description, licenses and bill of materials."""
        options = ["--release", "--locked", "--package", "specdec", "--bin", "specdec", "--target"]
        if self.compatibility.startswith("manylinux"):
            glibc = self.compatibility.removeprefix("manylinux_").replace("_", ".")
            self.run("cargo-zigbuild", "zigbuild", *options, f"{self.target}.{glibc}")
        else:
            self.run("cargo", "build", *options, self.target)
        name = "specdec.exe" if "windows" in self.target else "specdec"
        files = {
            name: (BUILT / self.target / "release" / name).read_bytes(),
            "LICENSE": (ROOT / "LICENSE").read_bytes(),
            NOTICES: self.notices("specdec").encode(),
            "README.md": (ROOT / "README.md").read_bytes(),
            "specdec.cdx.json": self.bill("specdec").encode(),
        }
        folder = f"specdec-{self.version}-{self.target}"
        (self.out / f"{folder}.tar.gz").write_bytes(archive(folder, files, self.time))


def main() -> None:
    """Makes the parts that are asked for."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    compiled = ["sdist", "sbom", "wheel", "program"]
    parts = [*compiled, "checksums"]
    parser.add_argument("parts", metavar="PART", nargs="*", choices=[*parts, []])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where the files go")
    parser.add_argument("--target", metavar="TRIPLE", help="what to compile for, as Rust names it")
    parser.add_argument(
        "--compatibility",
        metavar="TAG",
        help="of wheels for manylinux, the oldest glibc (default: manylinux_2_28)",
    )
    parser.add_argument("--dirty", action="store_true", help="allow uncommitted changes")
    options = parser.parse_args()
    wanted = options.parts or parts
    options.out.mkdir(parents=True, exist_ok=True)
    if set(wanted) & set(compiled):
        if output("git", "status", "--porcelain", "--untracked-files=no") and not options.dirty:
            sys.exit("there are uncommitted changes: commit them, or pass --dirty")
        release = Release(options.out.resolve(), options.target, options.compatibility)
        for part in compiled:
            if part in wanted:
                getattr(release, part)()
    if "checksums" in wanted:
        listed = checksums(options.out)
        (options.out / "SHA256SUMS").write_text(listed)
        print(listed, end="")


if __name__ == "__main__":
    main()
