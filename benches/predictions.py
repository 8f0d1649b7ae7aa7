"""The speedup of edits with the original text as prediction, and the cost of a useless prediction.

    python benches/predictions.py [--target MODEL] [--repeats N] [--raw] [--fixed N]

The model repeats twenty texts of about 150 tokens with one word changed, greedily. Plain decoding,
no prediction, the text as prediction, and another text as prediction take turns. "Copies" are the
tasks in which the answer shares most of its words with the text. `--raw` is for models without a
chat template: they continue a page that contains the text and the start of its second edition.
`--fixed` counts instead: how many tokens a step gives where each source always drafts so many.
"""

import argparse
import difflib
import statistics
from collections.abc import Callable
from functools import partial

from specdec_rs import Generation, SpeculativeDecoder

SUBJECTS = [
    ("harbour", "boats", "fishermen"),
    ("library", "books", "readers"),
    ("garden", "roses", "gardeners"),
    ("station", "trains", "travellers"),
    ("kitchen", "soups", "cooks"),
    ("theatre", "plays", "actors"),
    ("market", "apples", "merchants"),
    ("school", "lessons", "teachers"),
    ("forest", "paths", "hikers"),
    ("museum", "paintings", "visitors"),
    ("farm", "cows", "farmers"),
    ("workshop", "clocks", "craftsmen"),
    ("hospital", "beds", "nurses"),
    ("airport", "planes", "pilots"),
    ("bakery", "loaves", "bakers"),
    ("stadium", "games", "players"),
    ("village", "houses", "neighbours"),
    ("mountain", "huts", "climbers"),
    ("factory", "machines", "workers"),
    ("island", "beaches", "sailors"),
]

WAYS = ("plain", "auto", "prediction", "useless")


def text(place: str, things: str, people: str) -> str:
    """About 150 tokens."""
    return (
        f"The old {place} at the edge of the town opens every morning at seven. Its {things} are "
        f"known in the whole country, and the {people} who work there are proud of them. In "
        f"spring, when the days grow longer, many guests come from far away to see the {things}. "
        f"They bring their children, eat a small lunch under the trees, and talk with the {people} "
        f"about the weather and the news. In the evening the {place} closes, the lamps are lit one "
        f"after the other, and only a cat walks over the empty square. Nobody remembers who built "
        f"the {place}, but everybody agrees that the town would not be the same without it. Next "
        f"year the council wants to repair the roof and to paint the doors green again."
    )


def ask(decoder: SpeculativeDecoder, original: str, raw: bool) -> Callable[..., Generation]:
    """Return what repeats a text with one word changed."""
    if raw:
        page = f"{original}\n\nThe same text, with 'night' in place of 'evening':\n\n"
        page += " ".join(original.split()[:8])
        return partial(decoder.generate, page)
    question = f"Repeat the following text, with 'night' in place of 'evening':\n\n{original}"
    return partial(decoder.chat, [{"role": "user", "content": question}])


def count(decoder: SpeculativeDecoder, drafted: int, raw: bool) -> None:
    """Print how many tokens a step gives with each source."""
    for source in ("ngram", "prediction", "auto"):
        tokens = steps = 0
        for names in SUBJECTS:
            original = text(*names)
            answer = ask(decoder, original, raw)(
                temperature=0,
                max_new_tokens=192,
                draft=source,
                prediction=None if source == "ngram" else original,
                gamma=drafted,
                adaptive=False,
            )
            tokens += answer.stats.new_tokens
            steps += answer.stats.steps
        print(f"{source:<12} {tokens / steps:.2f} tokens per step")


def measure(
    decoder: SpeculativeDecoder, original: str, useless: str, repeats: int, raw: bool
) -> tuple[float, dict[str, float]]:
    """Return the similarity of text and answer, and the seconds per token of each method."""
    answer_to = ask(decoder, original, raw)
    options = {
        "plain": {"draft": "none"},
        "auto": {},
        "prediction": {"prediction": original},
        "useless": {"prediction": useless},
    }
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    answers = set()
    for repeat in range(repeats):
        for way in WAYS if repeat % 2 == 0 else reversed(WAYS):
            answer = answer_to(temperature=0, max_new_tokens=192, **options[way])
            seconds[way].append(answer.stats.decode_seconds / answer.stats.new_tokens)
            answers.add(tuple(answer.tokens))
    assert len(answers) == 1, "the outputs differ"
    alike = difflib.SequenceMatcher(None, original.split(), answer.text.split()).ratio()
    return alike, {way: statistics.median(times) for way, times in seconds.items()}


def main() -> None:
    """Print a table of all tasks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="smollm2-135m")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--raw", action="store_true")
    parser.add_argument("--fixed", type=int)
    arguments = parser.parse_args()
    decoder = SpeculativeDecoder(arguments.target)
    if arguments.fixed:
        count(decoder, arguments.fixed, arguments.raw)
        return
    print(f"{'task':<12} {'alike':>6} {'auto':>7} {'prediction':>11} {'useless':>8}", flush=True)
    rows = []
    for number, names in enumerate(SUBJECTS):
        useless = text(*SUBJECTS[(number + 7) % len(SUBJECTS)])[::-1]
        alike, times = measure(decoder, text(*names), useless, arguments.repeats, arguments.raw)
        rows.append((alike, times))
        auto, prediction, worse = (times["plain"] / times[way] for way in WAYS[1:])
        print(
            f"{names[0]:<12} {alike:>6.2f} {auto:>6.2f}x {prediction:>10.2f}x {worse:>7.2f}x",
            flush=True,
        )
    for title, chosen in (
        ("copies", [times for alike, times in rows if alike >= 0.8]),
        ("all", [times for _, times in rows]),
    ):
        if chosen:
            plain, auto, prediction, worse = (sum(times[way] for times in chosen) for way in WAYS)
            print(
                f"{title} ({len(chosen)}): auto {plain / auto:.2f}x, "
                f"prediction {plain / prediction:.2f}x, "
                f"useless prediction {100 * (worse / auto - 1):+.1f} % over auto"
            )


if __name__ == "__main__":
    main()
