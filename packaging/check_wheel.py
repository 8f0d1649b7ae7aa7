"""Installs a wheel in an environment of its own and lets it answer.

    python packaging/check_wheel.py WHEEL [--environment FOLDER]

Python and the programs answer with the tiny models of tests/data. The environment is a temporary
one, or FOLDER, which stays. The exit status is not 0 if the wheel is larger than it may be, or an
answer is wrong.
"""

import argparse
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAIR = ROOT / "tests" / "data" / "pair"
MEGABYTES = 15

# Speculation changes no token.
ANSWER = """
import sys
from specdec_rs import SpeculativeDecoder

pair = sys.argv[1]
decoder = SpeculativeDecoder(f"{pair}/target", f"{pair}/draft")
generation = decoder.generate("You may copy", max_new_tokens=8, temperature=0)
plain = decoder.generate("You may copy", max_new_tokens=8, temperature=0, draft="none")
assert generation.text == plain.text and len(generation.tokens) == 8, (generation, plain)
"""


def check(wheel: Path, environment: Path) -> None:
    """Raises an error if the wheel is too large or does not work."""
    size = wheel.stat().st_size / 1e6
    print(f"{wheel.name}: {size:.1f} MB")
    if size > MEGABYTES:
        sys.exit(f"{wheel.name} has {size:.1f} MB; at most {MEGABYTES} are allowed")
    venv.create(environment, with_pip=True)
    programs = environment / ("Scripts" if sys.platform == "win32" else "bin")

    def run(program: str, *arguments: str) -> None:
        # Away from the sources, so that nothing but the wheel is imported.
        subprocess.run([str(programs / program), *arguments], cwd=environment, check=True)

    target, draft = str(PAIR / "target"), str(PAIR / "draft")
    run("python", "-m", "pip", "install", "--quiet", str(wheel.resolve()))
    run("python", "-c", ANSWER, str(PAIR))
    models = ["--target", target, "--draft", draft]
    run("specdec", "generate", "--raw", "You may copy", *models, "-n", "8")
    models = ["--target-model", target, "--draft-model", draft]
    run("specdec-benchmark", *models, "--prompt", "You may", "--runs", "1")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Checks that a wheel works by itself.")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--environment", type=Path)
    arguments = parser.parse_args()
    if arguments.environment:
        check(arguments.wheel, arguments.environment.resolve())
        return
    with tempfile.TemporaryDirectory() as folder:
        check(arguments.wheel, Path(folder))


if __name__ == "__main__":
    main()
