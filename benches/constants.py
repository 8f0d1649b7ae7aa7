"""The planner with other values of its constants: which of them matter, and are ours good?

    cargo bench --bench planner -- record spec_bench.jsonl planner.json
    python benches/constants.py planner.json [NAME...]

Each line is a value of a constant, the speedup of a replay with it (`benches/planner.rs`) if costs
are measured exactly and if measurements are noisy, and its ratio to the speedup with the code's own
values. A copy of the code, in target/constants, reads the constants from the environment instead.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / "target" / "constants"
PLANNER = "src/speculation/planner"
COMMAND = ["cargo", "bench", "--quiet", "--bench", "planner"]

# Of each constant its file, its value, and the values to compare it with.
CONSTANTS = {
    "MIN_REACHED": ("controller", "0.01", ["0.001", "0.003", "0.03", "0.1"]),
    "MARGIN": ("controller", "1.02", ["1.0", "1.01", "1.05", "1.1"]),
    "MAX_SIBLINGS": ("retrieval_tree", "8", ["1", "2", "4", "16"]),
    "SHARED_WEIGHT": ("acceptance", "12.0", ["3.0", "6.0", "24.0", "48.0"]),
    "REQUEST_MEMORY": ("acceptance", "64.0", ["16.0", "32.0", "128.0", "1e9"]),
    "SHARED_MEMORY": ("acceptance", "4096.0", ["256.0", "1024.0", "16384.0", "1e9"]),
    "PRIOR_WEIGHT": ("acceptance", "8.0", ["1.0", "4.0", "16.0", "32.0"]),
    "COST_RATE": ("cost", "0.05", ["0.01", "0.02", "0.1", "0.3"]),
    "SPEED_RATE": ("cost", "0.1", ["0.02", "0.05", "0.2", "0.4"]),
    "OUTLIER": ("cost", "3.0", ["1.5", "2.0", "6.0", "1e9"]),
    "FIRST_OUTLIER": ("cost", "2.0", ["1.2", "1.5", "4.0", "1e9"]),
    "UNMEASURED": ("cost", "0.1", ["0.02", "0.05", "0.2", "0.5"]),
}


def copy() -> None:
    """Updates the copy to the files that git lists; unchanged ones keep their time stamps."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    for name in filter(None, listing.stdout.split("\0")):
        source, target = ROOT / name, COPY / name
        if source.exists() and not (target.exists() and target.read_bytes() == source.read_bytes()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def read_from_environment(name: str) -> None:
    """Let the copy read a constant from the environment."""
    module, value, _ = CONSTANTS[name]
    file = COPY / PLANNER / f"{module}.rs"
    text, found = re.subn(
        rf"const {name}: (\w+) = {re.escape(value)};",
        rf"static VALUE_OF_{name}: std::sync::LazyLock<\1> = std::sync::LazyLock::new(|| {{\n"
        rf'    std::env::var("{name}").map_or({value}, |value| value.parse().unwrap())\n'
        rf"}});",
        file.read_text(),
    )
    if found != 1:
        raise SystemExit(f"{name} = {value} is not once in {file.name}")
    file.write_text(re.sub(rf'(?<!")\b{name}\b(?!")', f"(*VALUE_OF_{name})", text))


def replay(recording: Path, **constants: str) -> tuple[float, float]:
    """Replay the recording with some constants: the speedups, exact and noisy."""
    run = subprocess.run(
        [*COMMAND, "--", "replay", str(recording)],
        cwd=COPY,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **constants},
    )
    found = re.fullmatch(r"exact (\S+) noisy (\S+)", run.stdout.strip().splitlines()[-1])
    if found is None:
        raise SystemExit(f"no speedup in {run.stdout!r}")
    return float(found[1]), float(found[2])


def compare(name: str, recording: Path, own: tuple[float, float]) -> None:
    """Print the speedups with other values of a constant."""
    _, value, others = CONSTANTS[name]
    for other in others:
        found = replay(recording, **{name: other})
        ratios = [a / b for a, b in zip(found, own, strict=True)]
        print(
            f"{name:<15} {value:>7} -> {other:<7}"
            f" {found[0]:>7.3f} {found[1]:>7.3f} {ratios[0]:>8.4f} {ratios[1]:>8.4f}",
            flush=True,
        )


def main() -> int:
    """Compare the named constants, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recording", type=Path, help="written by `planner record`")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a constant; all if none is named")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in CONSTANTS]:
        parser.error(f"no constant is named {unknown[0]!r}; there are: {', '.join(CONSTANTS)}")
    recording = arguments.recording.resolve()
    copy()
    for name in CONSTANTS:
        read_from_environment(name)
    own = replay(recording)
    print(f"{'constant':<15} {'value':>7}    {'other':<7} {'exact':>7} {'noisy':>7} {'ratios':>8}")
    print(f"{'(as they are)':<26} {own[0]:>15.3f} {own[1]:>7.3f}", flush=True)
    for name in arguments.names or CONSTANTS:
        compare(name, recording, own)
    return 0


if __name__ == "__main__":
    sys.exit(main())
