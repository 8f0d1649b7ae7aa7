"""A newcomer's first ten minutes, as README.md tells them.

python tests/python/first_ten_minutes.py [--installed BIN] [--screenshots FOLDER]

Clone, install, Python, program, conversation, server with its clients, page: in a clone and in
environments of its own. With --installed, the programs and the Python of BIN are tried instead of
built ones. Needs the default model, or a network to download it, and Chromium.
"""

import argparse
import os
import re
import shlex
import subprocess
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import screenshots
from browser import ask, find, playground, set_field, until, wait
from selenium import webdriver
from terminal import CTRL_C, CTRL_D, ENTER, LEFT, UP, Terminal, terminal

ROOT = Path(__file__).parents[2]

LANGCHAIN = """
import sys
from langchain_openai import ChatOpenAI

model = ChatOpenAI(base_url=sys.argv[1] + "/v1", api_key="any", model="smollm2-135m", temperature=0)
answer = model.invoke("List the months of the year.").content
assert "January, February, March" in answer, answer
assert "".join(part.content for part in model.stream("List the months of the year.")) == answer
model.batch(["Name a colour.", "Name a fruit."])
print(answer)
"""


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def run(command: list[str], folder: Path, path: Path | None = None, stdin: str = "") -> str:
    """Run a command that must succeed, with the programs in `path` first, and return its stdout."""
    print("$", shlex.join(command), flush=True)
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    if path:
        environment["PATH"] = f"{path}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env=environment, input=stdin, stdout=subprocess.PIPE, text=True
    )
    assert done.returncode == 0, f"{command} failed with status {done.returncode}"
    print(done.stdout, end="", flush=True)
    return done.stdout


class Readme:
    """README.md: its code blocks, and the outputs that it quotes."""

    def __init__(self, clone: Path) -> None:
        self.text = (clone / "README.md").read_text()

    def blocks(self, language: str, section: str, *, unrun: bool = False) -> list[str]:
        """Return the code blocks of a section; with `unrun`, also those that no other test runs."""
        (body,) = re.findall(rf"^## {section}\n(.*?)^## ", self.text, re.MULTILINE | re.DOTALL)
        marks = "(?: no-run)?" if unrun else ""
        pattern = rf"^```{language}{marks}\n(.*?)^```$"
        return re.findall(pattern, body, re.MULTILINE | re.DOTALL)

    def quotes(self, output: str) -> bool:
        """Whether the page quotes an output, across line breaks."""
        return " ".join(output.split()) in " ".join(self.text.split())


def environment(folder: Path, *packages: str) -> Path:
    """Make a virtual environment with packages, and return where its programs are."""
    venv.create(folder, with_pip=True)
    programs = folder / "bin"
    run([str(programs / "pip"), "install", "--quiet", *packages], folder)
    return programs


def python(readme: Readme, programs: Path, folder: Path) -> None:
    """Run the page's Python code, and expect the output that the page quotes."""
    (block,) = readme.blocks("python", "Python")
    output = run([str(programs / "python"), "-c", block], folder)
    assert f"prints `{output.rstrip()}`" in readme.text, output


def commands(readme: Readme, programs: Path, clone: Path, *, built: bool) -> None:
    """Run the page's commands, and expect the output of the first, which the page quotes."""
    outputs = []
    for block in readme.blocks("sh", "Command line"):
        for line in block.replace("\\\n", "").splitlines():
            command = line if built else line.replace("cargo run --release --", "specdec")
            outputs.append(run(["sh", "-c", command], clone, programs))
    assert readme.quotes(outputs[0]), outputs[0]
    assert all("".join(output.split()) for output in outputs), outputs


def chat(programs: Path, folder: Path) -> None:
    """Talk on a terminal: edited lines, a paste of several, Ctrl-C, a mistyped command."""
    # The model is where it was; the history of what is typed is not the user's.
    models = os.environ.get("HF_HOME") or str(Path.home() / ".cache" / "huggingface")
    cache = {"HF_HOME": models, "XDG_CACHE_HOME": str(folder / "cache")}
    variables = os.environ | cache | {"TERM": "xterm-256color"}
    command = [str(programs / "specdec"), "chat", "--temperature", "0"]
    with terminal(command, variables) as screen:
        talk(screen)
    print("\n".join(screen.lines()))


def talk(screen: Terminal) -> None:
    screen.wait_for_prompt()
    screen.type("List the moths of the year." + 16 * LEFT + "n" + ENTER)
    screen.wait_for("> List the months of the year.")
    screen.wait_for_prompt()
    assert "January" in screen.text()
    screen.type(UP)
    screen.wait_until(lambda: screen.lines()[-1].endswith("months of the year."), "the last line")
    screen.type(CTRL_C)
    screen.wait_for_prompt()
    screen.paste("Count the lines of this:\none\ntwo")
    screen.wait_for("two")
    screen.type(ENTER)
    screen.wait_for_prompt()
    assert "/help" in screen.ask("/hlep")
    screen.type("Write a long story about the sea." + ENTER)
    screen.wait_until(lambda: screen.lines()[-1][:1] not in ("", ">"), "an answer")
    screen.type(CTRL_C)
    screen.wait_for("/more continues")
    screen.wait_for_prompt()
    screen.type(CTRL_D)
    assert screen.wait() == 0


@contextmanager
def serving(programs: Path, folder: Path) -> Iterator[str]:
    """Serve the default model for the block."""
    command = [str(programs / "specdec"), "serve", "--port", "0"]
    print("$", shlex.join(command), flush=True)
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found, "the server tells no address"
        yield found[0]
    finally:
        process.terminate()
        assert process.wait(60) in (0, 130, 143)


def clients(readme: Readme, url: str, python: Path, folder: Path) -> None:
    """Ask the server through OpenAI's client, as the page does, and through LangChain's."""
    (block,) = readme.blocks("python", "Server", unrun=True)
    code = block.replace("http://127.0.0.1:8080", url)
    assert code != block, "the page's client asks another address"
    answer = run([str(python), "-c", code], folder)
    assert readme.quotes(answer), answer
    run([str(python), "-c", LANGCHAIN, url], folder)


def page(url: str, folder: Path, pictures: Path | None) -> None:
    """Ask a question on the page, stop another answer, and compare with plain decoding."""
    with playground(url, folder / "profile") as browser:
        visit(browser)
    if pictures:
        pictures.mkdir(parents=True, exist_ok=True)
        with playground(url, folder / "pictures") as browser:
            screenshots.take(browser, pictures, url)


def visit(browser: webdriver.Chrome) -> None:
    set_field(browser, "temperature", "0")
    ask(browser, "List the months of the year.")
    (compare,) = wait(browser, ".compare")
    assert "January" in find(browser, ".answer")[0].text
    compare.click()
    (verdict,) = wait(browser, ".verdict")
    print(verdict.text)
    ask(browser, "Write a long story about the sea.")
    # Once a token of it is there.
    wait(browser, ".answer", 3)
    until(browser, lambda: find(browser, ".answer")[-1].find_elements("css selector", ".token"))
    (stop,) = wait(browser, "#stop:not([hidden])")
    stop.click()
    until(browser, lambda: "stopped" in find(browser, ".facts")[-1].text)


def main() -> None:
    """Go through everything, in a folder that is deleted afterwards."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--installed", metavar="BIN", type=Path)
    parser.add_argument("--screenshots", metavar="FOLDER", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clone = folder / "specdec_rs"
        say("clone")
        run(["git", "clone", "--quiet", str(ROOT), str(clone)], folder)
        readme = Readme(clone)
        if options.installed:
            programs = options.installed.resolve()
        else:
            say("install")
            programs = environment(folder / "installed", str(clone))
        say("Python")
        python(readme, programs, folder)
        say("the program")
        commands(readme, programs, clone, built=not options.installed)
        say("a conversation")
        chat(programs, folder)
        say("the server and its clients")
        ours = environment(folder / "clients", "openai", "langchain-openai")
        with serving(programs, folder) as url:
            clients(readme, url, ours / "python", folder)
            say("the page")
            page(url, folder, options.screenshots)
    print("\nall of it worked")


if __name__ == "__main__":
    main()
