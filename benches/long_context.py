"""What a pass costs after a long text, and what a draft that sees only its end gains there.

    python benches/long_context.py [--target MODEL] [--raw] [--tokens N] [--windows 128 512]

First: passes over 1, 2, 4, 8 and 16 rows after texts of several lengths, the fastest of seven.
Then: answers of 256 tokens after the documentation of this repository, cut to N tokens, with all
sources that need no model, and with the target itself and a window as the only draft; each in turn
with plain decoding, the median of three. `--raw` is for models without a chat template.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

from specdec_rs import SpeculativeDecoder

ROWS = (1, 2, 4, 8, 16)
REPEATS = 7
DOCS = Path(__file__).resolve().parent.parent / "docs"
QUESTION = "\n\nExplain in your own words what matters most in the text above."


def pass_costs(decoder: SpeculativeDecoder, text: list[int], lengths: list[int]) -> None:
    """Print the milliseconds of passes, and how many plain steps they are."""
    sequence = decoder.sequence()
    held = 0
    for length in lengths:
        sequence.extend(text[held:length])
        held = length
        best = dict.fromkeys(ROWS, float("inf"))
        for _ in range(REPEATS):
            for rows in ROWS:
                began = time.perf_counter()
                sequence.extend(text[length : length + rows])
                best[rows] = min(best[rows], time.perf_counter() - began)
                sequence.truncate(length)
        costs = ", ".join(
            f"{rows} rows {1e3 * best[rows]:.1f} ms ({best[rows] / best[1]:.2f} x)" for rows in ROWS
        )
        print(f"after {length} tokens: {costs}", flush=True)


def answers(target: str, text: str, windows: list[int], raw: bool) -> None:
    """Print how fast an answer comes with each draft, beside plain decoding in the same minutes."""
    only = {"draft": "model"}
    of_window = [
        ("adaptive", only),
        ("always 2", only | {"gamma": 2, "adaptive": False}),
        ("always 4", only | {"gamma": 4, "adaptive": False}),
    ]
    drafts: list[tuple[str, list[tuple[str, dict[str, Any]]]]] = [("auto", [("", {})])]
    drafts += [(f"self:window={window}", of_window) for window in windows]
    for draft, ways in drafts:
        decoder = SpeculativeDecoder(target, draft)
        speeds: dict[str, list[float]] = {}
        told = {}
        for _ in range(3):
            tokens = set()
            for name, options in [("plain", {"draft": "none"}), *ways]:
                options = {"max_new_tokens": 256, "temperature": 0, "ignore_eos": True, **options}
                if raw:
                    answer = decoder.generate(text + QUESTION, **options)
                else:
                    message = {"role": "user", "content": text + QUESTION}
                    answer = decoder.chat([message], **options)
                tokens.add(tuple(answer.tokens))
                stats = answer.stats
                speeds.setdefault(name, []).append(stats.tokens_per_second)
                told[name] = f"{stats.tokens_per_step:.2f} tokens per step"
            assert len(tokens) == 1, "the outputs differ"
        plain = statistics.median(speeds.pop("plain"))
        for name, each in speeds.items():
            ratio = statistics.median(each) / plain
            print(f"{draft} {name}: {ratio:.2f} x, {told[name]}", flush=True)


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="smollm2-135m")
    parser.add_argument("--raw", action="store_true")
    parser.add_argument("--tokens", type=int, default=7000)
    parser.add_argument("--windows", type=int, nargs="*", default=[128, 512])
    arguments = parser.parse_args()
    decoder = SpeculativeDecoder(arguments.target, draft="none")
    text = "\n\n".join(page.read_text() for page in sorted(DOCS.glob("*.md")))
    tokens = decoder.tokenizer.encode(text, add_special_tokens=False)
    lengths = [length for length in (100, 1000, 4000) if length < arguments.tokens]
    pass_costs(decoder, tokens, [*lengths, arguments.tokens])
    text = decoder.tokenizer.decode(tokens[: arguments.tokens])
    answers(arguments.target, text, arguments.windows, arguments.raw)


if __name__ == "__main__":
    main()
