"""The controller against the best fixed setting, and the cost of a draft that is always wrong.

    python benches/controller.py PROMPTS [--target MODEL] [--per-category N] [--temperature T]
    python benches/controller.py --hopeless [--target MODEL] [--draft MODEL] [--repeats N]

PROMPTS is a file in Spec-Bench's format. The settings take turns on every prompt, each with its own
decoder, so that none profits from what another one measured. With --hopeless, the draft is by
default the target's own first two layers.
"""

import argparse
import collections
import json
import statistics

from specdec_rs import SpeculativeDecoder

FIXED = [(source, gamma) for source in ("ngram", "recycling") for gamma in (1, 2, 3, 4, 6, 8)]


def first_turns(path: str, per_category: int) -> dict[str, list[str]]:
    """Return the first turns of the first prompts in each category."""
    by_category = collections.defaultdict(list)
    with open(path, encoding="utf-8") as file:
        for line in file:
            prompt = json.loads(line)
            by_category[prompt["category"]].append(prompt["turns"][0])
    return {category: turns[:per_category] for category, turns in by_category.items()}


def compare_settings(arguments: argparse.Namespace) -> None:
    """Print, by category, the speed of the settings relative to plain decoding."""
    settings = {"plain": {"draft": "none"}, "auto": {}}
    for source, gamma in FIXED:
        settings[f"{source} {gamma}"] = {"draft": source, "gamma": gamma, "adaptive": False}
    decoders = {name: SpeculativeDecoder(arguments.target) for name in settings}
    print(f"{'category':<16} {'auto':>6} {'best fixed':>20} {'auto/best':>10}", flush=True)
    for category, turns in first_turns(arguments.prompts, arguments.per_category).items():
        seconds = collections.Counter()
        tokens = collections.Counter()
        for number, turn in enumerate(turns):
            names = list(settings)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                answer = decoders[name].chat(
                    [{"role": "user", "content": turn}],
                    temperature=arguments.temperature,
                    seed=number,
                    max_new_tokens=128,
                    **settings[name],
                )
                seconds[name] += answer.stats.decode_seconds
                tokens[name] += answer.stats.new_tokens
        speed = {name: tokens[name] / seconds[name] for name in settings}
        best = max((name for name in settings if name != "auto"), key=speed.__getitem__)
        ratios = [speed["auto"], speed[best]]
        auto, fixed = (ratio / speed["plain"] for ratio in ratios)
        print(
            f"{category:<16} {auto:>5.2f}x {best:>13} {fixed:>5.2f}x {auto / fixed:>10.3f}",
            flush=True,
        )


def measure_hopeless(arguments: argparse.Namespace) -> None:
    """Print the time of 200 tokens with a useless draft, relative to plain decoding."""
    prompt = "The licence is granted to everybody who"
    ratios = []
    for repeat in range(arguments.repeats):
        # A fresh decoder has learned nothing about its draft.
        decoder = SpeculativeDecoder(arguments.target, arguments.draft)
        seconds = {}
        ways = ("none", "model") if repeat % 2 == 0 else ("model", "none")
        for way in ways:
            answer = decoder.generate(
                prompt, draft=way, temperature=0, max_new_tokens=200, ignore_eos=True
            )
            seconds[way] = answer.stats.decode_seconds
            if way == "model":
                drafted, accepted = answer.stats.drafted, answer.stats.accepted
        ratios.append(seconds["model"] / seconds["none"])
        cost = 100 * (ratios[-1] - 1)
        print(f"drafted {drafted}, accepted {accepted}: {cost:+.1f} %", flush=True)
    print(f"median {100 * (statistics.median(ratios) - 1):+.1f} %")


def main() -> None:
    """Run the benchmark that the arguments select."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompts", nargs="?")
    parser.add_argument("--target", default="smollm2-135m")
    parser.add_argument("--draft", default="self:0-1")
    parser.add_argument("--per-category", type=int, default=5)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--hopeless", action="store_true")
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    if arguments.hopeless:
        measure_hopeless(arguments)
    elif arguments.prompts:
        compare_settings(arguments)
    else:
        parser.error("name a file of prompts, or --hopeless")


if __name__ == "__main__":
    main()
