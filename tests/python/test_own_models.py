"""User-defined models: any object with the LanguageModel protocol."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import PAIR
from specdec_rs import (
    Generation,
    InvalidConfig,
    LanguageModel,
    ModelNotFound,
    SpecdecError,
    SpeculativeConfig,
    SpeculativeDecoder,
    Tokenizer,
)
from toy import Bigrams, ForkingBigrams, successor

TOKENIZER = Tokenizer(PAIR / "target")
GREEDY = SpeculativeConfig(temperature=0, max_new_tokens=50, ignore_eos=True)


def path(token: int, length: int) -> list[int]:
    """Return the tokens that greedy decoding generates after a token."""
    tokens = []
    for _ in range(length):
        token = successor(token)
        tokens.append(token)
    return tokens


def own(target: LanguageModel, draft: LanguageModel | None = None) -> SpeculativeDecoder:
    return SpeculativeDecoder.with_models(target, draft, TOKENIZER)


@pytest.mark.parametrize("draft", [None, Bigrams(), Bigrams(step=8)], ids=["none", "same", "other"])
@pytest.mark.parametrize("adaptive", [True, False])
def test_greedy_path(draft: Bigrams | None, adaptive: bool) -> None:
    target = Bigrams()
    generation = own(target, draft).generate([5, 9], GREEDY, adaptive=adaptive, gamma=4)
    assert generation.tokens == path(9, 50)
    assert generation.text == TOKENIZER.decode(generation.tokens)
    if draft is not None and not adaptive:
        same = bool((draft.table == target.table).all())
        assert generation.stats.acceptance_rate == (1.0 if same else 0.0)
    # Every sequence was freed.
    assert target.sequences == {}


def test_a_tokenizer_by_its_folder() -> None:
    decoder = SpeculativeDecoder.with_models(Bigrams(), None, str(PAIR / "target"))
    ids = decoder.tokenizer.encode("the")
    assert decoder.generate("the", GREEDY).tokens == path(ids[-1], 50)
    assert decoder.info()["architecture"] == "custom"
    with pytest.raises(ModelNotFound):
        SpeculativeDecoder.with_models(Bigrams(), None, "no/such/folder")


def test_sequences_and_logits() -> None:
    decoder = own(ForkingBigrams())
    logits = decoder.logits([5, 6, 7])
    assert logits.argmax(axis=1).tolist() == [successor(5), successor(6), successor(7)]
    sequence = decoder.sequence()
    sequence.extend([5, 6])
    fork = sequence.fork()
    assert fork.extend([7])[0].argmax() == successor(7)
    assert (len(sequence), len(fork)) == (2, 3)
    with pytest.raises(SpecdecError, match="fork") as caught:
        own(Bigrams()).sequence().fork()
    assert isinstance(caught.value.__cause__, AttributeError)


class Failing(Bigrams):
    """A model that returns whatever `fail` makes of its logits."""

    def __init__(self, fail: Callable[[np.ndarray[Any, Any]], Any]) -> None:
        super().__init__()
        self.fail = fail

    def extend(self, sequence: int, tokens: Any, rows: int) -> Any:
        return self.fail(super().extend(sequence, tokens, rows))


@pytest.mark.parametrize(
    ("fail", "found"),
    [
        (lambda rows: rows.astype(np.float64), r"float64, shape \[1, 512\]"),
        (lambda rows: rows[:, :-1], r"float32, shape \[1, 511\]"),
        (lambda rows: rows[0], r"float32, shape \[512\]"),
        (lambda rows: rows[:0], r"float32, shape \[0, 512\]"),
        (lambda rows: rows.tolist(), "list"),
        (lambda rows: None, "NoneType"),
    ],
)
def test_wrong_arrays_are_described(fail: Callable[[Any], Any], found: str) -> None:
    with pytest.raises(SpecdecError, match=rf"extend returned .*{found}.*; expected .*\[1, 512\]"):
        own(Failing(fail)).generate([5], GREEDY)


def test_any_memory_layout_is_accepted() -> None:
    layouts: list[Callable[[Any], Any]] = [np.asfortranarray, lambda rows: rows[:, ::-1][:, ::-1]]
    for layout in layouts:
        assert own(Failing(layout)).generate([5], GREEDY).tokens == path(5, 50)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("temperature", [0, 1])
def test_non_finite_logits_do_not_crash(value: float, temperature: float) -> None:
    decoder = own(Failing(lambda rows: np.full_like(rows, value)))
    try:
        tokens = decoder.generate([5], max_new_tokens=5, temperature=temperature).tokens
    except SpecdecError:
        return
    assert all(token < 512 for token in tokens)


def test_the_users_exception_is_the_cause() -> None:
    def fail(rows: Any) -> Any:
        raise LookupError("lost my weights")

    with pytest.raises(SpecdecError, match="the model failed: LookupError: lost") as caught:
        own(Failing(fail)).generate([5], GREEDY)
    assert isinstance(caught.value.__cause__, LookupError)
    with pytest.raises(SpecdecError) as caught:
        own(Bigrams(), Failing(fail)).generate([5], GREEDY)
    assert isinstance(caught.value.__cause__, LookupError)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_interruptions_pass_through(interruption: type[BaseException]) -> None:
    def fail(rows: Any) -> Any:
        raise interruption

    with pytest.raises(interruption):
        own(Failing(fail)).generate([5], GREEDY)


@pytest.mark.parametrize("name", ["vocab_size", "context_length"])
def test_sizes_are_checked(name: str) -> None:
    for value in (0, -1, 2**70):
        model = Bigrams()
        setattr(model, name, value)
        with pytest.raises(InvalidConfig, match=name):
            own(model)
    model = Bigrams()
    setattr(model, name, "many")
    with pytest.raises(TypeError, match=name):
        own(model)
    with pytest.raises(AttributeError):
        own(object())  # type: ignore[arg-type]


def test_a_python_model_in_coroutines() -> None:
    async def main() -> list[Generation]:
        decoder = own(Bigrams(), Bigrams(step=8))
        stream = decoder.stream_async([5], GREEDY)
        assert [token.id async for chunk in stream for token in chunk.tokens] == path(5, 50)
        requests = (decoder.generate_async([token], GREEDY) for token in range(8))
        return await asyncio.gather(*requests)

    for token, generation in enumerate(asyncio.run(main())):
        assert generation.tokens == path(token, 50)


def test_a_python_model_in_many_threads() -> None:
    decoder = own(Bigrams(), Bigrams(step=8))
    results: list[list[int]] = []

    def work() -> None:
        for _ in range(5):
            results.append(decoder.generate([5], GREEDY).tokens)
            decoder.sequence().extend([5])
            decoder.info()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [path(5, 50)] * 20
