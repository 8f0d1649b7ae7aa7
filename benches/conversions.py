"""Compare the most probable tokens with llama.cpp's, on models that its converter converted.

python benches/conversions.py FOLDER... --llama DIR --converter DIR --work DIR
FOLDER: models in Hugging Face's layout, each with a golden.safetensors (`ids`, `logits`); --llama:
where llama-server is; --converter: llama.cpp's source folder; --work: where converted files are
written (needs `pip install specdec_rs numpy safetensors torch transformers`).

Prints a line for each model: at how many of the positions both agree on the F32 file, and each
position at which they don't, with the golden logit of our token less that of llama.cpp's.
"""

import argparse
import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from safetensors.numpy import load_file

# The tiny models' tokenizers are none that llama.cpp knows, and no text is tokenized here.
CONVERT = """
import runpy, sys, importlib, pkgutil
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/gguf-py"]
import conversion, conversion.base as base
base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
names = ["conversion." + module.name for module in pkgutil.iter_modules(conversion.__path__)]
modules = [importlib.import_module(name) for name in names]
members = [member for module in modules for member in vars(module).values()]
for kind in filter(lambda member: isinstance(member, type), members):
    if issubclass(kind, base.TextModel) and ("set_vocab" in vars(kind) or kind is base.TextModel):
        kind.set_vocab = lambda self: self._set_vocab_gpt2()
sys.argv = ["convert", sys.argv[2], "--outtype", "f32", "--outfile", sys.argv[3], *sys.argv[4:]]
runpy.run_path(sys.path[0] + "/convert_hf_to_gguf.py", run_name="__main__")
"""


class Server:
    """A server with a model, on a port of its own."""

    def __init__(self, command, port):
        """Start it, and wait until it answers."""
        self.address = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(600):
            try:
                urllib.request.urlopen(self.address + "/health")
                return
            except OSError:
                time.sleep(0.05)
            if self.process.poll() is not None:
                raise RuntimeError("it ended")
        raise RuntimeError("it does not answer")

    def post(self, path, body):
        """The answer to a request."""
        data = json.dumps(body).encode()
        request = urllib.request.Request(
            self.address + path, data, {"Content-Type": "application/json"}
        )
        return json.load(urllib.request.urlopen(request))

    def __enter__(self):
        """Use it."""
        return self

    def __exit__(self, *_):
        """Stop it."""
        self.process.terminate()
        self.process.wait()


def of_llama(llama, file, ids, end_of_text):
    """llama.cpp's most probable token after every prefix."""
    command = [llama / "llama-server", "-m", file, "-c", "512", "--port", "8131", "-np", "1"]
    with Server([str(part) for part in command], 8131) as server:
        best = []
        for end in range(1, len(ids) + 1):
            body = {"prompt": ids[:end], "n_predict": 1, "temperature": 0}
            body |= {"cache_prompt": False, "return_tokens": True}
            # The end of a text is no token of the answer.
            best.append(next(iter(server.post("/completion", body)["tokens"]), end_of_text))
        return best


def of_specdec(file, ids):
    """The same of ours."""
    import specdec_rs

    decoder = specdec_rs.SpeculativeDecoder(str(file), device="cpu", dtype="f32")
    logits = decoder.sequence().extend(ids, rows=len(ids))
    return [max(range(len(row)), key=row.__getitem__) for row in logits]


def main():
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--llama", required=True, type=Path)
    parser.add_argument("--converter", required=True, type=Path, help="llama.cpp's source folder")
    parser.add_argument("--work", required=True, type=Path)
    arguments = parser.parse_args()
    for folder in arguments.folders:
        file = arguments.work / f"{folder.name}.gguf"
        command = [sys.executable, "-c", CONVERT, str(arguments.converter), str(folder), str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            done = subprocess.run(
                [*command, "--no-mtp"], capture_output=True, text=True, check=False
            )
        if done.returncode != 0:
            print(f"{folder.name}: not converted: {done.stderr.splitlines()[-1]}", flush=True)
            continue
        golden = load_file(folder / "golden.safetensors")
        ids = golden["ids"].tolist()
        config = json.loads((folder / "config.json").read_text())
        end_of_text = (config | config.get("text_config", {}))["eos_token_id"]
        own = of_specdec(file, ids)
        try:
            theirs = of_llama(arguments.llama, file, ids, end_of_text)
        except (RuntimeError, OSError) as error:
            print(f"{folder.name}: not run by llama.cpp: {error}", flush=True)
            continue
        pairs = zip(own, theirs, golden["logits"], strict=True)
        differing = [
            (position, float(row[own] - row[theirs]))
            for position, (own, theirs, row) in enumerate(pairs)
            if own != theirs
        ]
        where = "".join(f"; {position}: {gap:+.4f}" for position, gap in differing)
        agreed = len(ids) - len(differing)
        print(f"{folder.name}: {agreed} of {len(ids)}{where}", flush=True)


if __name__ == "__main__":
    main()
