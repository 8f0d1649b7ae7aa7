"""Makes mistakes in the product, one line each, and checks that the tests notice every one of them.

    python3 tests/mutations.py [NAME...]

It works on a copy of the repository, which it leaves in target/mutations for the next run. The
mistakes are such as engines for speculative decoding have shipped. A mistake that no test notices,
or that no longer applies to the code, is a failure.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / "target" / "mutations"
LONGEST = 1200  # seconds, to build and to test
TESTS = ["enumeration", "losslessness", "speculation", "structured"]


@dataclass
class Mutation:
    """One line of the product, and what it becomes."""

    name: str
    file: str
    line: str
    mistake: str


MUTATIONS = [
    Mutation(
        "raw q: the draft's law before its processors",
        "src/speculation/draft/sampler.rs",
        "draft.push(token, law, TokenSource::Model);",
        """{
            let raw = crate::SpeculativeConfig::default();
            let raw = Processors::new(&raw, 0, None).law(logits, &[], &[])?.into_owned();
            draft.push(token, raw, TokenSource::Model);
            drop(law);
        }""",
    ),
    Mutation(
        "wrong row after a rejection",
        "src/speculation/verify/rejection.rs",
        "p = excess;",
        "p = target_law(&[&accepted[..], &[child]].concat())?; drop(excess);",
    ),
    Mutation(
        "no residual (token by token)",
        "src/speculation/verify/rejection.rs",
        "p = excess;",
        "drop(excess);",
    ),
    Mutation(
        "no residual (whole paths)",
        "src/speculation/verify/traversal.rs",
        "here.law = Ok(beyond.unwrap_or(law));",
        "here.law = Ok(law); drop(beyond);",
    ),
    Mutation(
        "early break in block",
        "src/speculation/verify/traversal.rs",
        "path.push(child);",
        """if !chance.bernoulli(ratio.clamp(0.0, 1.0)) {
                let (_, beyond) = law.beyond(here.acceptance, q);
                let next = chance.categorical(&beyond.unwrap_or(here.law?));
                return Ok(Verdict { accepted: path, next });
            }
            path.push(child);""",
    ),
    Mutation(
        "block forgets what came before",
        "src/speculation/verify/traversal.rs",
        "let ratio = here.acceptance * law.probability(token)",
        "let ratio = law.probability(token)",
    ),
    Mutation(
        "stale penalties",
        "src/engine/session.rs",
        "processors.law(logits.row(row_behind(node)), history, &drafted)",
        "processors.law(logits.row(row_behind(node)), history, &drafted[..0])",
    ),
    Mutation(
        "wrong row of logits",
        "src/engine/session.rs",
        "processors.law(logits.row(row_behind(node)), history, &drafted)",
        "processors.law(logits.row(node.unwrap_or(0)), history, &drafted)",
    ),
    Mutation(
        "the first drafted token is never verified",
        "src/speculation/verify/matching.rs",
        "match children.find(|child| draft.tokens()[*child] == next) {",
        "match children.find(|child| *child == 0 || draft.tokens()[*child] == next) {",
    ),
    Mutation(
        "one noise for all positions of a step",
        "src/engine/session.rs",
        "noise.choose(history.len() + path.len(), &target_law(path)?)",
        "noise.choose(history.len(), &target_law(path)?)",
    ),
    Mutation(
        "an end-of-text token within a draft is passed over",
        "src/engine/session.rs",
        "if self.output.stop.stopped() || self.eos.contains(&id) {",
        """if self.output.stop.stopped()
                || (source == TokenSource::Target && self.eos.contains(&id))
            {""",
    ),
    Mutation(
        "max_new_tokens overshot by a token",
        "src/engine/session.rs",
        "if full || written == self.config.max_new_tokens {",
        "if full || written > self.config.max_new_tokens {",
    ),
    Mutation(
        "a wrong token in the cache after a rejection",
        "src/engine/session.rs",
        "return self.target.truncate(kept);",
        """self.target.truncate(kept - 1)?;
            let last = draft.tokens().last().copied().unwrap_or(self.history[kept - 1]);
            return self.target.extend(&[last], 0).map(drop);""",
    ),
    Mutation(
        "the wrong branch of a tree is kept",
        "src/engine/session.rs",
        "self.target.accept(&path_of(verdict))",
        "self.target.accept(&path_of(verdict)[..1])",
    ),
    Mutation(
        "a stop string is looked for in each step's text alone",
        "src/engine/stop.rs",
        "        self.held.push_str(text);",
        "        self.held = text.to_owned();",
    ),
    Mutation(
        "a mask outlives the text that it was made for",
        "src/text/grammar.rs",
        "self.matcher.invalidate_bias_cache();",
        "",
    ),
]


def copy() -> None:
    """Brings the copy up to date with the files that git knows."""
    COPY.mkdir(parents=True, exist_ok=True)
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    names = {name for name in listing.stdout.split("\0") if name and (ROOT / name).exists()}
    for path in [*(COPY / "src").rglob("*.rs"), *(COPY / "tests").rglob("*.rs")]:
        if str(path.relative_to(COPY)) not in names:
            path.unlink()
    for name in names:
        source, place = ROOT / name, COPY / name
        # A file that did not change keeps its time, and what was built of it.
        if not place.exists() or place.read_bytes() != source.read_bytes():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)


def failing_test() -> str | None:
    """Runs the tests on the copy; the first that fails, or why nothing ran."""
    command = ["cargo", "test", "--release", "--quiet"]
    for test in TESTS:
        command += ["--test", test]
    try:
        run = subprocess.run(
            command, cwd=COPY, check=False, capture_output=True, text=True, timeout=LONGEST
        )
    except subprocess.TimeoutExpired:
        return "no end"
    if run.returncode == 0:
        return None
    lines = (run.stdout + run.stderr).splitlines()
    panics = [line for line in lines if line.startswith("thread '")]
    errors = [line for line in lines if line.startswith("error")]
    if not panics:
        raise SystemExit(f"the mistake does not compile: {errors[:3]}")
    return panics[0].split("'")[1]


def main() -> int:
    """Makes the mistakes that are named, or all."""
    chosen = [m for m in MUTATIONS if not sys.argv[1:] or m.name in sys.argv[1:]]
    copy()
    if not sys.argv[1:] and (failing := failing_test()):
        raise SystemExit(f"{failing} fails without any mistake")
    unnoticed = 0
    for mutation in chosen:
        place = COPY / mutation.file
        text = place.read_text()
        if text.count(mutation.line) != 1:
            raise SystemExit(f"{mutation.name}: not exactly once in {mutation.file}")
        place.write_text(text.replace(mutation.line, mutation.mistake))
        failing = failing_test()
        place.write_text(text)
        unnoticed += failing is None
        print(
            f"{mutation.name}: {f'noticed by {failing}' if failing else 'NOT NOTICED'}", flush=True
        )
    print(f"{len(chosen) - unnoticed} of {len(chosen)} mistakes noticed")
    return int(unnoticed > 0)


if __name__ == "__main__":
    sys.exit(main())
