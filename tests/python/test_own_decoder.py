"""Models that know their decoder: they can't use it while they compute, and are freed with it."""

import gc
import subprocess
import sys
import textwrap
import weakref
from pathlib import Path

import pytest
from conftest import PAIR
from specdec_rs import Audit, Benchmark, SpecdecError, SpeculativeDecoder, Tokenizer
from toy import Bigrams, ForkingBigrams

TOKENIZER = Tokenizer(PAIR / "target")

PRELUDE = f"""
import asyncio, sys, threading
sys.path.insert(0, {str(Path(__file__).parent)!r})
from specdec_rs import Audit, Benchmark, SpecdecError, SpeculativeDecoder, Tokenizer
from toy import Bigrams, ForkingBigrams
TOKENIZER = Tokenizer({str(PAIR / "target")!r})
SETTINGS = dict(temperature=0, max_new_tokens=20, ignore_eos=True, gamma=4, adaptive=False)
PROMPT = list(range(3, 43))

async def stream(decoder):
    return [chunk async for chunk in decoder.stream_async([5], **SETTINGS)]

CALLS = {{
    "generate": lambda decoder: decoder.generate([5], **SETTINGS),
    "stream": lambda decoder: list(decoder.stream([5], **SETTINGS)),
    "batch": lambda decoder: decoder.generate_batch([[5], [6]], **SETTINGS),
    "async": lambda decoder: asyncio.run(decoder.generate_async([5], **SETTINGS)),
    "stream_async": lambda decoder: asyncio.run(stream(decoder)),
    "logits": lambda decoder: decoder.logits([5]),
    "sequence": lambda decoder: decoder.sequence().extend([5]),
    "audit": lambda decoder: Audit(decoder).run([[5]], samples=2),
    "benchmark": lambda decoder: Benchmark(decoder).run_comparison([5], num_runs=1),
}}

class Using(ForkingBigrams):
    "Uses its decoder in one of its methods, once."

    def __init__(self, method, call):
        super().__init__()
        self.method, self.call, self.decoder, self.raised = method, call, None, None

    def use(self, method):
        if method == self.method and self.decoder is not None:
            decoder, self.decoder = self.decoder, None
            try:
                self.raised = ("nothing", self.call(decoder))
            except RuntimeError as error:
                self.raised = ("RuntimeError", str(error))
            except SpecdecError as error:
                self.raised = (type(error.__cause__).__name__, str(error))

    def extend(self, *arguments):
        self.use("extend")
        return super().extend(*arguments)

    def truncate(self, *arguments):
        self.use("truncate")
        return super().truncate(*arguments)

    def free(self, *arguments):
        self.use("free")
        return super().free(*arguments)

    def fork(self, *arguments):
        self.use("fork")
        return super().fork(*arguments)
"""


def run(program: str) -> str:
    """Run a program and return its output; fail if it hangs."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("method", ["extend", "truncate", "free", "fork"])
@pytest.mark.parametrize("outer", ["generate", "async"])
def test_a_target_that_uses_its_decoder_gets_an_error(outer: str, method: str) -> None:
    program = f"""
        for name, call in CALLS.items():
            model = Using({method!r}, call)
            decoder = SpeculativeDecoder.with_models(model, Bigrams(step=8), TOKENIZER)
            # The second prompt begins with tokens that are kept of the first.
            for tokens in (PROMPT, PROMPT + [7, 9], PROMPT + [8, 9]):
                model.decoder = decoder if model.raised is None else None
                if {outer!r} == "async":
                    asyncio.run(decoder.generate_async(tokens, **SETTINGS))
                else:
                    decoder.generate(tokens, **SETTINGS)
            kind, message = model.raised
            print(name, kind, "wait for itself" in str(message))
            model.decoder = None
            assert len(decoder.generate([5], **SETTINGS).tokens) == 20
    """
    assert run(program) == "".join(
        f"{name} RuntimeError True\n"
        for name in (
            "generate",
            "stream",
            "batch",
            "async",
            "stream_async",
            "logits",
            "sequence",
            "audit",
            "benchmark",
        )
    )


def test_a_draft_that_uses_its_decoder_never_waits_for_itself() -> None:
    program = """
        for name, call in CALLS.items():
            draft = Using("extend", call)
            decoder = SpeculativeDecoder.with_models(Bigrams(), draft, TOKENIZER)
            draft.decoder = decoder
            decoder.generate([5], **SETTINGS, draft="model")
            print(name, draft.raised[0])
    """
    outcomes = dict(line.split() for line in run(program).splitlines())
    # These use the target alone, which is free meanwhile.
    assert outcomes["logits"] == outcomes["sequence"] == "nothing"
    assert outcomes["async"] == outcomes["stream_async"] == "RuntimeError"
    assert set(outcomes.values()) == {"nothing", "RuntimeError"}


def test_a_sequence_and_a_stream_that_their_model_uses() -> None:
    program = """
        for use in (lambda it: it.extend([5]), lambda it: it.truncate(0), len):
            model = Using("extend", use)
            decoder = SpeculativeDecoder.with_models(model, None, TOKENIZER)
            sequence = decoder.sequence()
            model.decoder = sequence
            sequence.extend([5, 6])
            print(model.raised[0])
        model = Using("extend", next)
        decoder = SpeculativeDecoder.with_models(model, None, TOKENIZER)
        model.decoder = decoder.stream([5], **SETTINGS)
        print(len(list(model.decoder)), model.raised[0])
    """
    lines = run(program).splitlines()
    assert lines[:3] == ["RuntimeError"] * 3
    assert lines[3].endswith("RuntimeError")


def test_two_models_that_use_each_others_decoders() -> None:
    program = """
        barrier = threading.Barrier(2)
        class Other(Bigrams):
            other = None
            def extend(self, *arguments):
                if self.other is not None:
                    other, self.other = self.other, None
                    barrier.wait()
                    try:
                        other.logits([5])
                        print("works")
                    except (RuntimeError, SpecdecError) as error:
                        print("refused")
                return super().extend(*arguments)
        models = [Other(), Other()]
        decoders = [SpeculativeDecoder.with_models(model, None, TOKENIZER) for model in models]
        models[0].other, models[1].other = decoders[1], decoders[0]
        threads = [
            threading.Thread(target=decoder.generate, args=([5],), kwargs=SETTINGS)
            for decoder in decoders
        ]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    """
    # One of them is refused; the other has what it waited for.
    assert sorted(run(program).splitlines()) == ["refused", "works"]


def test_the_error_reaches_the_caller_as_the_cause() -> None:
    class Greedy(Bigrams):
        decoder: SpeculativeDecoder | None = None

        def extend(self, sequence, tokens, rows):  # type: ignore[no-untyped-def]
            if self.decoder is not None:
                self.decoder.logits([5])
            return super().extend(sequence, tokens, rows)

    model = Greedy()
    model.decoder = SpeculativeDecoder.with_models(model, None, TOKENIZER)
    with pytest.raises(SpecdecError, match="would wait for itself") as caught:
        model.decoder.generate([5])
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("use", ["not", "generate", "async", "audit", "benchmark"])
def test_a_model_and_its_decoder_are_freed_together(use: str) -> None:
    import asyncio

    class Knowing(ForkingBigrams):
        decoder: SpeculativeDecoder
        audit: Audit
        benchmark: Benchmark

    def cycle() -> "weakref.ref[Knowing]":
        model = Knowing()
        model.decoder = SpeculativeDecoder.with_models(model, model, TOKENIZER)
        if use == "generate":
            model.decoder.generate(list(range(3, 43)), max_new_tokens=5)
        elif use == "async":
            asyncio.run(model.decoder.generate_async(list(range(3, 43)), max_new_tokens=5))
        elif use == "audit":
            model.audit = Audit(model.decoder)
        elif use == "benchmark":
            model.benchmark = Benchmark(model.decoder)
        return weakref.ref(model)

    models = [cycle() for _ in range(10)]
    gc.collect()
    assert [model() for model in models] == [None] * 10


def test_a_stream_keeps_a_model_that_nothing_else_knows() -> None:
    class Knowing(Bigrams):
        decoder: SpeculativeDecoder

    model = Knowing()
    model.decoder = SpeculativeDecoder.with_models(model, None, TOKENIZER)
    stream = model.decoder.stream([5], max_new_tokens=10, ignore_eos=True)
    sequence = model.decoder.sequence()
    known = weakref.ref(model)
    del model
    gc.collect()
    assert sum(len(chunk.tokens) for chunk in stream) == 10
    assert sequence.extend([5]).shape == (1, 512)
    del stream, sequence
    gc.collect()
    assert known() is None
