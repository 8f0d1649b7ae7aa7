"""Mutation tests: puts bugs into the product, one line each, and checks that the tests detect each.

    python3 tests/mutations.py [--in-place] [NAME...]
    python3 tests/mutations.py [--in-place] --sample N --date YYYY-MM-DD
    python3 tests/mutations.py --check

The bugs are such as engines for speculative decoding have shipped. A mutation that no test detects,
or whose line is no longer in the code, is a failure. The tests run on a copy of the repository,
which stays in target/mutations for the next run; with --in-place, on this checkout, whose
dependencies and kernels are built already (for continuous integration; each file is restored).

--sample chooses N mutations by the date: all runs of one day have the same ones, and consecutive
days continue through the list, so that all are run within a few days. --check only looks for the
lines.
"""

import argparse
import datetime
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / "target" / "mutations"
# As `.ci/run` builds the tests.
BUILD = [
    *("--workspace", "--release", "--features", "specdec_rs/python"),
    *("--config", str(ROOT / ".ci" / "tests.toml")),
]
TIMEOUT = 1200  # seconds, to build and to test
TESTS = ["enumeration", "losslessness", "speculation", "structured"]


@dataclass
class Mutation:
    """A line of the product, and the bug that replaces it."""

    name: str
    file: str
    line: str
    bug: str


MUTATIONS = [
    Mutation(
        "raw q: the draft's distribution before its processors",
        "src/speculation/drafter/sampler.rs",
        "draft.push(token, distribution, DraftKind::MODEL);",
        """{
            let raw = crate::SpeculativeConfig::default();
            let raw = Processors::new(&raw, 0, None).distribution(logits, &[], &[])?.into_owned();
            draft.push(token, raw, DraftKind::MODEL);
            drop(distribution);
        }""",
    ),
    Mutation(
        "wrong row after a rejection",
        "src/speculation/verify/rejection.rs",
        "p = excess;",
        "p = target_distribution(&[&accepted[..], &[child]].concat())?; drop(excess);",
    ),
    Mutation(
        "no residual (per token)",
        "src/speculation/verify/rejection.rs",
        "p = excess;",
        "drop(excess);",
    ),
    Mutation(
        "no residual (per path)",
        "src/speculation/verify/traversal.rs",
        "current.distribution = Ok(beyond.unwrap_or(distribution));",
        "current.distribution = Ok(distribution); drop(beyond);",
    ),
    Mutation(
        "early break in block verification",
        "src/speculation/verify/traversal.rs",
        "path.push(child);",
        """if !rng.bernoulli(ratio.clamp(0.0, 1.0)) {
                let (_, beyond) = distribution.beyond(current.acceptance, q);
                let next = rng.categorical(&beyond.unwrap_or(current.distribution?));
                return Ok(Verdict { accepted: path, next });
            }
            path.push(child);""",
    ),
    Mutation(
        "block verification ignores the acceptance of earlier tokens",
        "src/speculation/verify/traversal.rs",
        "let ratio = current.acceptance * distribution.probability(token)",
        "let ratio = distribution.probability(token)",
    ),
    Mutation(
        "stale penalties",
        "src/engine/request.rs",
        "processors.distribution(logits.row(row_after(node)), history, &drafted)",
        "processors.distribution(logits.row(row_after(node)), history, &drafted[..0])",
    ),
    Mutation(
        "wrong row of logits",
        "src/engine/request.rs",
        "processors.distribution(logits.row(row_after(node)), history, &drafted)",
        "processors.distribution(logits.row(node.unwrap_or(0)), history, &drafted)",
    ),
    Mutation(
        "the first drafted token is never verified",
        "src/speculation/verify/matching.rs",
        "match children.find(|child| draft.tokens()[*child] == next) {",
        "match children.find(|child| *child == 0 || draft.tokens()[*child] == next) {",
    ),
    Mutation(
        "one noise for all positions of a step",
        "src/engine/request.rs",
        "noise.choose(history.len() + path.len(), &distribution(path)?)",
        "noise.choose(history.len(), &distribution(path)?)",
    ),
    Mutation(
        "an end-of-text token inside a draft is ignored",
        "src/engine/writer.rs",
        "Ok(self.stop.stopped() || self.eos.contains(&id))",
        """Ok(self.stop.stopped()
                || (source == DraftKind::TARGET && self.eos.contains(&id)))""",
    ),
    Mutation(
        "max_new_tokens exceeded by a token",
        "src/engine/request.rs",
        "if full || new_tokens == self.config.max_new_tokens {",
        "if full || new_tokens > self.config.max_new_tokens {",
    ),
    Mutation(
        "a wrong token in the cache after a rejection",
        "src/engine/request.rs",
        "return self.target.truncate(length);",
        """self.target.truncate(length - 1)?;
            let last = draft.tokens().last().copied().unwrap_or(self.history[length - 1]);
            return self.target.extend(&[last], 0).map(drop);""",
    ),
    Mutation(
        "the wrong branch of a tree is accepted",
        "src/engine/request.rs",
        "self.target.accept(&path_of(verdict))",
        "self.target.accept(&path_of(verdict)[..1])",
    ),
    Mutation(
        "stop strings are searched only within each step's text",
        "src/engine/stop.rs",
        "        self.held.push_str(text);",
        "        self.held = text.to_owned();",
    ),
    Mutation(
        "a grammar mask is reused for another text",
        "src/text/grammar/mod.rs",
        "self.matcher.invalidate_bias_cache();",
        "",
    ),
]


def copy() -> None:
    """Updates the copy to the files that git lists."""
    COPY.mkdir(parents=True, exist_ok=True)
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    names = {name for name in listing.stdout.split("\0") if name and (ROOT / name).exists()}
    for path in [*(COPY / "src").rglob("*.rs"), *(COPY / "tests").rglob("*.rs")]:
        if str(path.relative_to(COPY)) not in names:
            path.unlink()
    for name in names:
        source, target = ROOT / name, COPY / name
        # An unchanged file keeps its time stamp, so that it is not built again.
        if not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def failing_test(root: Path) -> str | None:
    """Runs the tests on a checkout; returns the first failing test, or None if all pass."""
    command = ["cargo", "test", "--quiet", *BUILD]
    for test in TESTS:
        command += ["--test", test]
    try:
        run = subprocess.run(
            command, cwd=root, check=False, capture_output=True, text=True, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return "the timeout"
    if run.returncode == 0:
        return None
    lines = (run.stdout + run.stderr).splitlines()
    panics = [line for line in lines if line.startswith("thread '")]
    errors = [line for line in lines if line.startswith("error")]
    if not panics:
        raise SystemExit(f"the mutation does not compile: {errors[:3]}")
    return panics[0].split("'")[1]


def sample(count: int, date: datetime.date) -> list[Mutation]:
    """The mutations of a day: the next `count` after those of the day before, in a cycle."""
    first = date.toordinal() * count
    count = min(count, len(MUTATIONS))
    return [MUTATIONS[(first + index) % len(MUTATIONS)] for index in range(count)]


def check(root: Path, mutations: list[Mutation]) -> None:
    """Ends the program if a mutation's line is not exactly once in its file."""
    for mutation in mutations:
        file = root / mutation.file
        found = file.read_text().count(mutation.line) if file.exists() else 0
        if found != 1:
            raise SystemExit(f"{mutation.name}: {found} times in {mutation.file}, expected once")


def is_detected(root: Path, mutation: Mutation) -> bool:
    """Runs the tests with a mutation, and reports the result."""
    file = root / mutation.file
    text = file.read_text()
    began = time.monotonic()
    try:
        file.write_text(text.replace(mutation.line, mutation.bug))
        failing = failing_test(root)
    finally:
        file.write_text(text)
    result = f"detected by {failing}" if failing else "NOT DETECTED"
    print(f"{mutation.name}: {result} ({time.monotonic() - began:.0f} s)", flush=True)
    return failing is not None


def arguments() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description="Checks that the tests detect known bugs.")
    names = [mutation.name for mutation in MUTATIONS]
    parser.add_argument("names", nargs="*", metavar="NAME", help="a mutation; all if none is named")
    parser.add_argument("--sample", type=int, metavar="N", help="N mutations, chosen by --date")
    parser.add_argument(
        "--date", type=datetime.date.fromisoformat, metavar="YYYY-MM-DD", help="default: today"
    )
    parser.add_argument("--in-place", action="store_true", help="on this checkout, not on a copy")
    parser.add_argument("--check", action="store_true", help="only look for the mutations' lines")
    parsed = parser.parse_args()
    if unknown := [name for name in parsed.names if name not in names]:
        parser.error(f"no mutation is named {unknown[0]!r}; there are: {', '.join(names)}")
    if parsed.sample is None and parsed.date is not None:
        parser.error("--date needs --sample")
    if parsed.sample is not None and (parsed.sample < 1 or parsed.names):
        parser.error("--sample needs a number of at least 1, and no names")
    return parsed


def main() -> int:
    """Runs the named mutations, a sample of them, or all."""
    options = arguments()
    # An ended run restores its file, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = MUTATIONS
    if options.names:
        chosen = [mutation for mutation in MUTATIONS if mutation.name in options.names]
    if options.sample is not None:
        today = datetime.datetime.now(datetime.timezone.utc).date()
        chosen = sample(options.sample, options.date or today)
    check(ROOT, MUTATIONS)
    if options.check:
        return 0
    if not options.in_place:
        copy()
    root = ROOT if options.in_place else COPY
    # In place, continuous integration runs the tests without mutations, too.
    if not options.names and not options.in_place and (failing := failing_test(root)):
        raise SystemExit(f"{failing} fails without any mutation")
    undetected = [mutation for mutation in chosen if not is_detected(root, mutation)]
    print(f"{len(chosen) - len(undetected)} of {len(chosen)} mutations detected")
    return int(bool(undetected))


if __name__ == "__main__":
    sys.exit(main())
