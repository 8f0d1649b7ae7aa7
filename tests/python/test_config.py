"""SpeculativeConfig: values, ranges, copies."""

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from specdec_rs import InvalidConfig, SpeculativeConfig, SpeculativeDecoder

OUT_OF_RANGE: list[tuple[str, Any]] = [
    ("gamma", -1),
    ("gamma", 2**64),
    ("temperature", -0.1),
    ("temperature", math.nan),
    ("temperature", math.inf),
    ("top_k", -1),
    ("top_p", 0.0),
    ("top_p", 1.5),
    ("top_p", math.nan),
    ("max_new_tokens", -1),
    ("min_p", -0.5),
    ("min_p", 2),
    ("repetition_penalty", 0),
    ("repetition_penalty", -1),
    ("presence_penalty", math.nan),
    ("frequency_penalty", math.inf),
    ("logit_bias", {5: math.nan}),
    ("logit_bias", {-1: 0.0}),
    ("logit_bias", {2**32: 0.0}),
    ("seed", -1),
    ("seed", 2**64),
    ("stop", ""),
    ("stop", ["x", ""]),
    ("logprobs", -1),
    ("logprobs", 21),
    ("draft", "medusa"),
    ("verification", "medusa"),
    ("response_format", {}),
    ("response_format", {"type": "yaml"}),
    ("response_format", {"type": "json_schema", "json_schema": {}}),
]

WRONG_TYPES: list[tuple[str, Any]] = [
    ("gamma", 2.5),
    ("gamma", "8"),
    ("temperature", "hot"),
    ("top_p", [1.0]),
    ("adaptive", "yes"),
    ("logit_bias", [1, 2]),
    ("logit_bias", {"a": 1.0}),
    ("seed", 1.5),
    ("stop", 5),
    ("stop", [5]),
    ("draft", 5),
    ("verification", None),
    ("prediction", 5),
    ("response_format", "json_object"),
    ("response_format", {"type": {1, 2}}),
]

CHANGED = SpeculativeConfig(
    8,
    0.8,
    40,
    0.9,
    200,
    adaptive=False,
    min_p=0.05,
    repetition_penalty=1.1,
    presence_penalty=0.5,
    frequency_penalty=-0.5,
    logit_bias={7: -math.inf, 3: 1.5, 9: math.inf},
    seed=2**64 - 1,
    stop=["\n", 'a "quoted" text'],
    ignore_eos=True,
    logprobs=20,
    draft="ngram",
    verification="block",
    prediction="a text",
)


@pytest.mark.parametrize(("field", "value"), OUT_OF_RANGE)
def test_out_of_range_names_the_field(field: str, value: Any) -> None:
    with pytest.raises(InvalidConfig, match=rf"^invalid {field} = .*: expected "):
        SpeculativeConfig(**{field: value})
    with pytest.raises(ValueError, match=field):
        SpeculativeConfig().replace(**{field: value})


@pytest.mark.parametrize(("field", "value"), WRONG_TYPES)
def test_a_wrong_type_names_the_field(field: str, value: Any) -> None:
    with pytest.raises(TypeError, match=field):
        SpeculativeConfig(**{field: value})


@pytest.mark.parametrize(("field", "value"), OUT_OF_RANGE)
def test_overrides_are_checked_alike(decoder: SpeculativeDecoder, field: str, value: Any) -> None:
    with pytest.raises(InvalidConfig, match=field):
        decoder.generate([5], **{field: value})


def test_wrong_arguments(decoder: SpeculativeDecoder) -> None:
    with pytest.raises(TypeError, match="gama"):
        SpeculativeConfig(gama=8)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="gama"):
        decoder.generate([5], gama=8)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="multiple values"):
        SpeculativeConfig(8, gamma=8)  # type: ignore[misc]
    with pytest.raises(TypeError, match="at most 5"):
        SpeculativeConfig(8, 0.8, 40, 0.9, 200, True)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        SpeculativeConfig().gamma = 8  # type: ignore[misc]


def test_values_are_kept() -> None:
    assert (CHANGED.gamma, CHANGED.temperature, CHANGED.top_k, CHANGED.top_p) == (8, 0.8, 40, 0.9)
    assert (CHANGED.max_new_tokens, CHANGED.adaptive, CHANGED.seed) == (200, False, 2**64 - 1)
    assert CHANGED.logit_bias == {3: 1.5, 7: -math.inf, 9: math.inf}
    assert CHANGED.stop == ("\n", 'a "quoted" text')
    assert CHANGED.draft == "ngram"


def test_stop_may_be_one_text() -> None:
    assert SpeculativeConfig(stop="end").stop == ("end",)


def test_numpy_numbers_are_numbers() -> None:
    config = SpeculativeConfig(gamma=np.int64(4), temperature=np.float32(0.5))  # type: ignore[arg-type]
    assert config == SpeculativeConfig(gamma=4, temperature=0.5)


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
FORMATTED = SpeculativeConfig(
    response_format={"type": "json_schema", "json_schema": {"schema": SCHEMA}}
)


@pytest.mark.parametrize("config", [SpeculativeConfig(), CHANGED, FORMATTED])
def test_copies_are_equal(config: SpeculativeConfig) -> None:
    assert copy.copy(config) == config
    assert copy.deepcopy(config) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert SpeculativeConfig(**config.as_dict()) == config
    assert eval(repr(config)) == config


def test_replace_changes_a_copy() -> None:
    config = SpeculativeConfig(temperature=0.5)
    changed = config.replace(gamma=3)
    assert repr(changed) == "SpeculativeConfig(gamma=3, temperature=0.5)"
    assert config.gamma == 16
    assert changed != config
    assert config.replace() == config


def test_equal_settings_have_equal_hashes() -> None:
    assert hash(CHANGED) == hash(copy.deepcopy(CHANGED))
    assert hash(SpeculativeConfig(temperature=0.0)) == hash(SpeculativeConfig(temperature=-0.0))
    assert hash(FORMATTED) == hash(SpeculativeConfig(**FORMATTED.as_dict()))
    assert len({SpeculativeConfig(), SpeculativeConfig(), SpeculativeConfig(gamma=4)}) == 2


@pytest.mark.parametrize(
    ("keyword", "advice"),
    [
        ("temprature", "did you mean temperature"),
        ("max_tokens", "did you mean max_new_tokens"),
        ("do_sample", "temperature=0"),
        ("stream", "stream_chat"),
        ("tools", "argument of chat"),
    ],
)
def test_an_unknown_keyword_says_what_was_meant(
    decoder: SpeculativeDecoder, keyword: str, advice: str
) -> None:
    fields: dict[str, Any] = {keyword: 1}
    calls: list[Callable[[], object]] = [
        lambda: SpeculativeConfig(**fields),
        lambda: SpeculativeConfig().replace(**fields),
        lambda: decoder.generate([5], **fields),
        lambda: decoder.chat([], **fields),
    ]
    for call in calls[: 3 if keyword == "tools" else 4]:
        with pytest.raises(TypeError, match=f'no field "{keyword}".*{advice}'):
            call()


def test_extreme_sizes_are_legal(decoder: SpeculativeDecoder) -> None:
    generation = decoder.generate([5], gamma=256, max_new_tokens=3, adaptive=False)
    assert len(generation.tokens) == 3
    assert decoder.generate([5], max_new_tokens=0).tokens == []


def test_repr_evaluates_whatever_the_texts() -> None:
    config = SpeculativeConfig(stop=["a-inf", "b: inf"], logit_bias={5: float("-inf"), 6: 1.0})
    assert eval(repr(config)) == config
    assert SpeculativeConfig(stop=None) == SpeculativeConfig()
