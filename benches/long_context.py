"""What a pass costs after a long text, and what a draft that sees only its end gains there.

    python benches/long_context.py [--target MODEL] [--tokens N] [--windows 128 512]

First: passes over 1, 2, 4, 8 and 16 rows after texts of several lengths, the fastest of seven.
Then: answers of 256 tokens after the documentation of this repository, cut to N tokens: plain
decoding, all sources that need no model, and the target itself with a window as the only draft.
"""

import argparse
import time
from pathlib import Path

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


def answers(target: str, text: str, windows: list[int]) -> None:
    """Print how fast an answer comes with each draft."""
    ways = [("none", "auto", {"draft": "none"}), ("auto", "auto", {})]
    for window in windows:
        draft = f"self:window={window}"
        only = {"draft": "model"}
        ways.append((f"{draft}, adaptive", draft, only))
        ways.append((f"{draft}, always 2", draft, only | {"gamma": 2, "adaptive": False}))
        ways.append((f"{draft}, always 4", draft, only | {"gamma": 4, "adaptive": False}))
    chat = [{"role": "user", "content": text + QUESTION}]
    plain = None
    for name, draft, options in ways:
        decoder = SpeculativeDecoder(target, draft)
        answer = decoder.chat(chat, max_new_tokens=256, temperature=0, ignore_eos=True, **options)
        plain = plain or answer
        assert answer.tokens == plain.tokens, "the outputs differ"
        stats = answer.stats
        print(
            f"{name}: {stats.tokens_per_second / plain.stats.tokens_per_second:.2f} x, "
            f"{stats.tokens_per_step:.2f} tokens per step, {stats.acceptance_rate:.0%} accepted",
            flush=True,
        )


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="smollm2-135m")
    parser.add_argument("--tokens", type=int, default=7000)
    parser.add_argument("--windows", type=int, nargs="*", default=[128, 512])
    arguments = parser.parse_args()
    decoder = SpeculativeDecoder(arguments.target, draft="none")
    text = "\n\n".join(page.read_text() for page in sorted(DOCS.glob("*.md")))
    tokens = decoder.tokenizer.encode(text, add_special_tokens=False)
    lengths = [length for length in (100, 1000, 4000) if length < arguments.tokens]
    pass_costs(decoder, tokens, [*lengths, arguments.tokens])
    text = decoder.tokenizer.decode(tokens[: arguments.tokens])
    answers(arguments.target, text, arguments.windows)


if __name__ == "__main__":
    main()
