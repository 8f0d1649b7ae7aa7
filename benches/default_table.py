"""Makes the n-gram table that comes with the default model, out of the model's own answers.

    python benches/default_table.py src/speculation/retrieval/smollm2.table

The model writes questions (what it samples where a user's message starts), and answers them: half
of them greedily, half at temperature 0.8. Phrases that occur often enough, and are continued alike
often enough, stay in the table. Two hundred thousand tokens take five minutes on two cores;
questions are sampled without a seed, so another run gives other phrases.
"""

import struct
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from specdec_rs import SpeculativeDecoder

TOKENS = 200_000
BATCH = 32
# How often an n-gram occurs at least, and the share of its most frequent successor.
MIN_TOTAL = 4
MIN_SHARE = 0.25

HEADER = struct.Struct("<16sQQ")
ENTRY = struct.Struct("<Q4I4HI")


def answers(decoder: SpeculativeDecoder) -> list[str]:
    """Let the model answer questions of its own."""
    prompt = decoder.tokenizer.encode(
        decoder.chat_prompt([{"role": "user", "content": "X"}]), add_special_tokens=False
    )
    mark = decoder.tokenizer.encode("X", add_special_tokens=False)[0]
    start = prompt[: len(prompt) - 1 - prompt[::-1].index(mark)]
    sampled = {"temperature": 1.0, "top_p": 0.95, "top_k": 0, "min_p": 0.0}
    texts: list[str] = []
    tokens = 0
    while tokens < TOKENS:
        written = decoder.generate_batch(
            [start] * BATCH, max_new_tokens=160, draft="none", **sampled
        )
        ended = [each.text.strip() for each in written if each.finish_reason != "length"]
        questions = [text for text in ended if len(text) > 8]
        half = len(questions) // 2
        for some, temperature in ((questions[:half], 0.0), (questions[half:], 0.8)):
            chats = [[{"role": "user", "content": question}] for question in some]
            for answer in decoder.chat_batch(
                chats, max_new_tokens=400, temperature=temperature, draft="none"
            ):
                texts.append(answer.text)
                tokens += answer.stats.new_tokens
        print(f"{tokens} tokens", flush=True)
    return texts


def pruned(table: bytes) -> bytes:
    """Leave the entries that are likely to be right."""
    magic, fingerprint, _ = HEADER.unpack_from(table)
    entries = []
    for start in range(HEADER.size, len(table), ENTRY.size):
        _, *rest = ENTRY.unpack_from(table, start)
        counts, total = rest[4:8], rest[8]
        if total >= MIN_TOTAL and max(counts) >= MIN_SHARE * total:
            entries.append(table[start : start + ENTRY.size])
    return HEADER.pack(magic, fingerprint, len(entries)) + b"".join(entries)


def main() -> None:
    """Write the table."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "table"
        SpeculativeDecoder("smollm2-135m", draft="none").save_table(path)
        magic, fingerprint, _ = HEADER.unpack_from(path.read_bytes())
        path.write_bytes(HEADER.pack(magic, fingerprint, 0))
        # In place of the table that is to be replaced.
        decoder = SpeculativeDecoder("smollm2-135m", draft="none", table=path)
        for text in answers(decoder):
            decoder.learn(text)
        decoder.save_table(path)
        Path(sys.argv[1]).write_bytes(pruned(path.read_bytes()))


if __name__ == "__main__":
    main()
