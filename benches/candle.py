"""Our own CPU kernels and Candle's, side by side on one model.

    SPECDEC_NUM_THREADS=1 RAYON_NUM_THREADS=1 python benches/candle.py

The two take turns; the figures are medians, and medians of the pairs' ratios.
"""

import argparse
import statistics
import time

from specdec_rs import Sequence, SpeculativeDecoder

PROMPT = [100 + 7 * position % 9000 for position in range(200)]
TEXT = "Repeat this paragraph word for word: The quick brown fox jumps over the lazy dog."
DECODED = 24
ROWS = 8


def seconds(sequence: Sequence, ids: list[int], rows: int) -> float:
    """Return how long it takes to append tokens."""
    began = time.perf_counter()
    sequence.extend(ids, rows=rows)
    return time.perf_counter() - began


def measure(decoder: SpeculativeDecoder) -> dict[str, float]:
    """Return the figures of one turn."""
    sequence = decoder.sequence()
    prefill = seconds(sequence, PROMPT, 0)
    decode = sum(seconds(sequence, [50 + token], 1) for token in range(DECODED)) / DECODED
    length, passes = len(sequence), []
    for _ in range(4):
        passes.append(seconds(sequence, list(range(60, 60 + ROWS)), ROWS))
        sequence.truncate(length)
    answers = [
        decoder.chat(
            [{"role": "user", "content": TEXT}], temperature=0, max_new_tokens=40, draft=draft
        )
        for draft in ("none", "auto")
    ]
    plain, speculative = answers
    if plain.text != speculative.text:
        raise SystemExit("speculation changed the text")
    return {
        "prompt of 200, tokens/s": len(PROMPT) / prefill,
        "decode, tokens/s": 1 / decode,
        f"{ROWS} rows, in steps": min(passes) / decode,
        "speculation, speedup": plain.stats.decode_seconds / speculative.stats.decode_seconds,
    }


def main() -> None:
    """Measure both kernels in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="smollm2-135m")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    own = SpeculativeDecoder(arguments.target)
    candle = SpeculativeDecoder(arguments.target, kernels="candle")
    turns = []
    for repeat in range(arguments.repeats):
        order = [own, candle] if repeat % 2 == 0 else [candle, own]
        results = [measure(decoder) for decoder in order]
        turns.append(results if repeat % 2 == 0 else results[::-1])
    print(f"{'':<24} {own.info()['kernels']:>10} {'candle':>10} {'ratio':>8}")
    for name in turns[0][0]:
        pairs = [(a[name], b[name]) for a, b in turns]
        medians = [statistics.median(values) for values in zip(*pairs, strict=True)]
        ratio = statistics.median(a / b for a, b in pairs)
        print(f"{name:<24} {medians[0]:>10.2f} {medians[1]:>10.2f} {ratio:>8.2f}")


if __name__ == "__main__":
    main()
