"""Generate, stream, and measure the speedup.

Usage: python quickstart.py [TARGET [DRAFT]]
"""

import sys

from specdec_rs import Benchmark, SpeculativeConfig, SpeculativeDecoder


def main(target: str = "smollm2-135m", draft: str = "auto") -> None:
    """Show the main calls."""
    decoder = SpeculativeDecoder(target, draft)
    config = SpeculativeConfig(gamma=8, temperature=0.8, top_p=0.9, max_new_tokens=64, seed=1)

    generation = decoder.generate("Once upon a time,", config)
    stats = generation.stats
    print(generation)
    print(f"\n{stats.tokens_per_second:.0f} tokens/s, {stats.tokens_per_step:.2f} per step\n")

    # The same text as a stream. Keyword arguments override single settings.
    for chunk in decoder.stream("Once upon a time,", config, stop="\n\n"):
        print(chunk.text, end="", flush=True)

    comparison = Benchmark(decoder).run_comparison("Once upon a time,", config, num_runs=2)
    print(f"\n\nspeedup over plain decoding: {comparison.speedup:.2f}x")
    print(f"greedy output identical: {comparison.identical}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
