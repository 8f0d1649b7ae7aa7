"""Load an OpenAI-compatible server: tokens per second, time to first token, time between chunks.

    python benches/serving.py PROMPTS.jsonl --url http://127.0.0.1:8080/v1 [--clients 8]
    python benches/serving.py PROMPTS.jsonl --check [--target MODEL]

Needs the openai package. Each line of the file has "turns" or "prompt", and optionally a
"category"; categories take turns. With --check, the script starts its own server, and compares
every answer with what the decoder generates for that request alone.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import openai


@dataclass
class Answer:
    """An answer and its timings."""

    prompt: str
    text: str = ""
    tokens: int = 0
    first: float = 0.0
    pauses: list[float] = field(default_factory=list)


def read_prompts(path: Path, count: int) -> list[str]:
    """Return the first prompts of each category, taking turns."""
    groups: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        prompt = entry["turns"][0] if "turns" in entry else entry["prompt"]
        groups.setdefault(entry.get("category", ""), []).append(prompt)
    rounds = itertools.zip_longest(*groups.values())
    prompts = [prompt for each in rounds for prompt in each if prompt is not None]
    return prompts[:count]


async def ask(client: openai.AsyncOpenAI, prompt: str, tokens: int) -> Answer:
    """Stream an answer."""
    answer = Answer(prompt)
    began = last = time.perf_counter()
    stream = await client.chat.completions.create(
        model="default",
        messages=[{"role": "user", "content": prompt}],
        max_tokens=tokens,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    )
    async for chunk in stream:
        if chunk.usage:
            answer.tokens = chunk.usage.completion_tokens
        text = "".join(choice.delta.content or "" for choice in chunk.choices)
        if not text:
            continue
        now = time.perf_counter()
        if answer.text:
            answer.pauses.append(now - last)
        else:
            answer.first = now - began
        answer.text += text
        last = now
    return answer


async def load(url: str, prompts: list[str], clients: int, tokens: int) -> list[Answer]:
    """Return all answers, with this many concurrent clients."""
    waiting = iter(prompts)
    answers: list[Answer] = []
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:

        async def one() -> None:
            for prompt in waiting:
                answers.append(await ask(client, prompt, tokens))

        await asyncio.gather(*(one() for _ in range(clients)))
    return answers


def report(answers: list[Answer], seconds: float) -> None:
    """Print one line of results."""

    def percentile(values: list[float], share: float) -> str:
        return f"{1000 * sorted(values)[int(share * (len(values) - 1))]:.0f} ms"

    tokens = sum(answer.tokens for answer in answers)
    first = [answer.first for answer in answers]
    pauses = [pause for answer in answers for pause in answer.pauses]
    print(
        f"{tokens / seconds:.1f} tokens/s; first token: median "
        f"{1000 * statistics.median(first):.0f} ms, 95 % {percentile(first, 0.95)}; "
        f"between chunks: median {percentile(pauses, 0.5)}, 95 % {percentile(pauses, 0.95)}"
    )


def check(answers: list[Answer], target: str, tokens: int) -> None:
    """Compare all answers with those of requests that run alone."""
    from specdec_rs import SpeculativeDecoder

    decoder = SpeculativeDecoder(target, "none")
    for answer in answers:
        messages = [{"role": "user", "content": answer.prompt}]
        alone = decoder.chat(messages, max_new_tokens=tokens, temperature=0, ignore_eos=True)
        assert answer.text == alone.text, f"a different answer to {answer.prompt!r}"
    print(f"all {len(answers)} answers match those of requests that run alone")


def main() -> None:
    """Run the load."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompts", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8080/v1")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=48)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--target", default="smollm2-135m")
    arguments = parser.parse_args()
    server = None
    if arguments.check:
        command = [sys.executable, "-m", "specdec_rs", "serve", "--port", "0"]
        server = subprocess.Popen(
            [*command, "--target", arguments.target], stdout=subprocess.PIPE, text=True
        )
        assert server.stdout
        arguments.url = server.stdout.readline().split()[-1] + "/v1"
    prompts = read_prompts(arguments.prompts, arguments.requests)
    began = time.perf_counter()
    try:
        answers = asyncio.run(load(arguments.url, prompts, arguments.clients, arguments.tokens))
        report(answers, time.perf_counter() - began)
    finally:
        if server:
            server.terminate()
            server.wait()
    if arguments.check:
        check(answers, arguments.target, arguments.tokens)


if __name__ == "__main__":
    main()
