"""How much faster edits are with the edited text as prediction, and what a useless prediction costs.

    python benches/predictions.py [--target MODEL] [--repeats N]

Twenty texts of about 150 tokens come back with one word changed, greedily: with the text itself as prediction, with another
text as prediction, and plainly, in turn. "Copies" are the tasks in which the model's answer shares most of its words with
the text.
"""

import argparse
import difflib
import statistics

from specdec_rs import SpeculativeDecoder

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


def text(place: str, things: str, people: str) -> str:
    """About 150 tokens."""
    return (
        f"The old {place} at the edge of the town opens every morning at seven. Its {things} are known in "
        f"the whole country, and the {people} who work there are proud of them. In spring, when the days grow "
        f"longer, many guests come from far away to see the {things}. They bring their children, eat a small "
        f"lunch under the trees, and talk with the {people} about the weather and the news. In the evening the "
        f"{place} closes, the lamps are lit one after the other, and only a cat walks over the empty square. "
        f"Nobody remembers who built the {place}, but everybody agrees that the town would not be the same "
        f"without it. Next year the council wants to repair the roof and to paint the doors green again."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="smollm2-135m")
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    decoder = SpeculativeDecoder(arguments.target)
    rows = []
    for number, names in enumerate(SUBJECTS):
        original = text(*names)
        useless = text(*SUBJECTS[(number + 7) % len(SUBJECTS)])[::-1]
        question = f"Repeat the following text, with 'night' in place of 'evening':\n\n{original}"
        messages = [{"role": "user", "content": question}]
        ways = {"plain": {"draft": "none"}, "auto": {}, "useless": {"prediction": useless}}
        ways["prediction"] = {"prediction": original}
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        answers = set()
        for _ in range(arguments.repeats):
            for way, options in ways.items():
                answer = decoder.chat(messages, temperature=0, max_new_tokens=192, **options)
                seconds[way].append(answer.stats.decode_seconds / answer.stats.new_tokens)
                answers.add(tuple(answer.tokens))
        assert len(answers) == 1, "the texts differ"
        alike = difflib.SequenceMatcher(None, original.split(), answer.text.split()).ratio()
        rows.append(
            (names[0], alike, {way: statistics.median(times) for way, times in seconds.items()})
        )
    print(f"{'task':<12} {'alike':>6} {'auto':>8} {'prediction':>11} {'useless':>9}")
    for name, alike, times in rows:
        speedups = [times["plain"] / times[way] for way in ("auto", "prediction", "useless")]
        print(
            f"{name:<12} {alike:>6.2f} {speedups[0]:>7.2f}x {speedups[1]:>10.2f}x {speedups[2]:>8.2f}x"
        )
    for title, chosen in (
        ("copies", [row for row in rows if row[1] >= 0.8]),
        ("all", rows),
    ):
        sums = {
            way: sum(row[2][way] for row in chosen)
            for way in ("plain", "auto", "prediction", "useless")
        }
        if chosen:
            print(
                f"{title}, {len(chosen)}: auto {sums['plain'] / sums['auto']:.2f}x, prediction "
                f"{sums['plain'] / sums['prediction']:.2f}x, useless prediction over auto "
                f"{sums['useless'] / sums['auto']:.3f}"
            )


if __name__ == "__main__":
    main()
