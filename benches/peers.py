"""transformers, llama.cpp and this package side by side: the same model file, prompts and threads.

    pip install torch transformers gguf llama-cpp-python
    python benches/peers.py PROMPTS [--model FILE.gguf] [--repeats N] [--threads N]

PROMPTS is a file in Spec-Bench's format. All decode greedily, and past end-of-text tokens, so that
their texts are equally long. Each measurement is a process of its own; the engines take turns.
transformers computes in f32, to which it widens the file's weights.
"""

import argparse
import collections
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable

from specdec_rs import SpeculativeDecoder

PER_CATEGORY = 2
NEW_TOKENS = 128
LONG_PROMPT = 1000

# Continues token ids by a number of tokens; yields whenever some of them are there.
Engine = Callable[[list[int], int], Iterable[object]]


def transformers(model: str, threads: int) -> Engine:
    """Return transformers' greedy decoding, without sampling or caches between prompts."""
    import os
    import queue
    import threading

    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    folder, file = os.path.split(model)
    loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    loaded.generation_config.eos_token_id = None

    class Streamer:
        def __init__(self) -> None:
            self.arrived: queue.Queue[object] = queue.Queue()
            self.is_prompt = True

        def put(self, tokens: object) -> None:
            if not self.is_prompt:
                self.arrived.put(tokens)
            self.is_prompt = False

        def end(self) -> None:
            self.arrived.put(None)

    def run(ids: list[int], tokens: int) -> Iterable[object]:
        prompt = torch.tensor([ids])
        streamer = Streamer()
        options = {"max_new_tokens": tokens, "do_sample": False, "pad_token_id": 0}
        mask = torch.ones_like(prompt)
        options |= {"attention_mask": mask, "streamer": streamer}
        thread = threading.Thread(target=loaded.generate, args=(prompt,), kwargs=options)
        thread.start()
        yield from iter(streamer.arrived.get, None)
        thread.join()

    return run


def llama_cpp(model: str, threads: int) -> Engine:
    """Return llama.cpp's greedy decoding, through llama-cpp-python."""
    from llama_cpp import Llama

    options = {"n_ctx": 4096, "n_threads": threads, "n_threads_batch": threads}
    loaded = Llama(model_path=model, verbose=False, **options)

    def run(ids: list[int], tokens: int) -> Iterable[object]:
        loaded.reset()
        generation = loaded.generate(ids, temp=0.0)
        for _ in range(tokens):
            yield next(generation)

    return run


def specdec(draft: str) -> Callable[[str, int], Engine]:
    """Return this package's decoding with a draft."""

    def load(model: str, threads: int) -> Engine:
        decoder = SpeculativeDecoder(model, device="cpu", num_threads=threads)

        def run(ids: list[int], tokens: int) -> Iterable[object]:
            options = {"max_new_tokens": tokens, "temperature": 0, "ignore_eos": True}
            chunks = decoder.stream(ids, draft=draft, **options)
            return (chunk for chunk in chunks if chunk.tokens)

        return run

    return load


ENGINES: dict[str, Callable[[str, int], Engine]] = {
    "transformers": transformers,
    "llama.cpp": llama_cpp,
    "specdec, plain": specdec("none"),
    "specdec, speculative": specdec("auto"),
}


def prompts(path: str, model: str) -> tuple[list[list[int]], list[int]]:
    """Return the chat prompts of some questions, and one long prompt, as token ids."""
    decoder = SpeculativeDecoder(model)
    by_category = collections.defaultdict(list)
    with open(path, encoding="utf-8") as file:
        for line in file:
            prompt = json.loads(line)
            by_category[prompt["category"]].append(prompt["turns"][0])
    questions = [text for texts in by_category.values() for text in texts[:PER_CATEGORY]]
    encode = decoder.tokenizer.encode
    ids = [decoder.chat_prompt([{"role": "user", "content": text}]) for text in questions]
    long = encode("\n\n".join(by_category["summarization"]))
    return ids, long[:LONG_PROMPT]


def measure(engine: Engine, questions: list[list[int]], long: list[int]) -> dict[str, float]:
    """Return tokens per second: of decoding, after each first token, and of the long prompt."""
    list(engine(questions[0][:16], 2))
    seconds = 0.0
    for ids in questions:
        began = None
        for _ in engine(ids, NEW_TOKENS):
            began = began or time.perf_counter()
        seconds += time.perf_counter() - (began or 0.0)
    began = time.perf_counter()
    next(iter(engine(long, 1)))
    prefill = time.perf_counter() - began
    tokens = len(questions) * (NEW_TOKENS - 1)
    return {"decoding": tokens / seconds, "prompt": len(long) / prefill}


def main() -> None:
    """Print the medians of all engines, and their ranges."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("prompts")
    parser.add_argument("--model", required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        engine = ENGINES[options.engine](options.model, options.threads)
        with open(options.prompts, encoding="utf-8") as file:
            print(json.dumps(measure(engine, *json.load(file))))
        return
    work = prompts(options.prompts, options.model)
    found = collections.defaultdict(list)
    for _ in range(options.repeats):
        for name in ENGINES:
            command = [sys.executable, __file__, "/dev/stdin", "--model", options.model]
            command += ["--threads", str(options.threads), "--engine", name]
            done = subprocess.run(
                command, input=json.dumps(work), stdout=subprocess.PIPE, text=True, check=True
            )
            for what, speed in json.loads(done.stdout.splitlines()[-1]).items():
                found[name, what].append(speed)
    for (name, what), speeds in found.items():
        middle = statistics.median(speeds)
        print(f"{name:<22} {what:<10} {middle:7.1f} ({min(speeds):.1f} to {max(speeds):.1f})")


if __name__ == "__main__":
    main()
