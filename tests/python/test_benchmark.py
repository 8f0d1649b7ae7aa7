"""Benchmark: plain and speculative decoding compared."""

import pytest
from specdec_rs import Benchmark, InvalidConfig, SpeculativeConfig, SpeculativeDecoder


def test_comparison(decoder: SpeculativeDecoder) -> None:
    config = SpeculativeConfig(temperature=0, max_new_tokens=16, gamma=4, ignore_eos=True)
    comparison = Benchmark(decoder).run_comparison("the free software", config, num_runs=2)
    assert comparison.identical
    assert comparison.speedup > 0
    for side in (comparison.baseline, comparison.speculative):
        assert len(side.latencies) == 2
        assert side.new_tokens == 16
        assert side.tokens_per_second > 0
    assert comparison.baseline.tokens_per_step == 1
    assert comparison.baseline.acceptance_rate == 0
    assert comparison.baseline.accepted_lengths == [16]
    steps = comparison.speculative.accepted_lengths
    assert sum(steps) + sum(length * count for length, count in enumerate(steps)) >= 16
    slowest, fastest = comparison.speedup_range
    assert slowest <= comparison.speedup <= fastest
    assert comparison.text == decoder.generate("the free software", config).text
    names = {"speedup", "speedup_range", "baseline", "speculative", "identical", "text"}
    assert set(comparison.as_dict()) == names


def test_impossible_runs(decoder: SpeculativeDecoder) -> None:
    for runs in (0, -1):
        with pytest.raises(InvalidConfig, match="num_runs"):
            Benchmark(decoder).run_comparison([5], num_runs=runs)
    with pytest.raises(TypeError):
        Benchmark("decoder")  # type: ignore[arg-type]
