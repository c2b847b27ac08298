"""The contract itself: what holds, what is broken and by how much, which attempt ships."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from edgekit.contract.attempt import Attempt
from edgekit.contract.contract import Contract, Figures
from edgekit.contract.latency import Latency, in_turns, spread
from edgekit.contract.memory import Memory
from edgekit.contract.verdict import accepted, decide
from edgekit.result import VariantResult
from edgekit_runtime.errors import UsageError
from edgekit_runtime.manifest import Variant


def attempt(rung: str, drop: float | None = 0.0, ratio: float = 0.5, ms: float = 1.0, size: int = 1000,
            ram: int = 0, refusal: str = "") -> Attempt:  # fmt: skip
    variant = Variant(rung, "onnx", "int8", "models/a.onnx", (), (), ("onnx",))
    latency = Latency(ms, ms / ratio, ratio, "here")
    return Attempt(rung, result=VariantResult(variant, size, drop), refusal=refusal, latency=latency,
                   memory=Memory(ram, 0, ram))  # fmt: skip


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({}, "nothing is asked for"),
        ({"max_drop": 1.5}, "not a share"),
        ({"max_drop": -0.1}, "not a share"),
        ({"max_drop": float("nan")}, "not a share"),
        ({"max_latency_ms": 0.0}, "--max-latency 0 is no limit"),
        ({"max_size_kb": -3.0}, "--max-size -3 is no limit"),
        ({"max_ram_kb": float("inf")}, "--max-ram inf is no limit"),
    ],
)
def test_limits_that_are_none_are_refused(limits, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        Contract(**limits)
    assert caught.value.exit_code == 2


def test_what_is_broken_is_said_with_by_how_much():
    contract = Contract(0.01, 2.0, 100.0, 500.0)
    assert contract.in_words() == "drop at most 0.01, latency at most 2 ms, size at most 100 KB, RAM at most 500 KB"
    assert not contract.breaches(Figures(0.01, 2.0, 100.0, 500.0)), "the limit itself holds"
    words = [b.words for b in contract.breaches(Figures(0.03, 2.5, 300.0, 501.0))]
    assert words == [
        "drop 0.0300, 0.0200 over 0.01",
        "latency 2.5 ms, 25.0% over 2",
        "size 300 KB, 3 times the 100 that was asked for",
        "RAM 501 KB, 0.2% over 500",
    ]
    assert contract.breaches(Figures())[0].words == "the drop is not known"


def test_a_collapse_is_not_what_was_meant_where_only_a_size_was_asked_for():
    contract = Contract(max_size_kb=100.0)
    (collapse,) = contract.breaches(Figures(drop=0.4, size_kb=10.0))
    assert collapse.implied and not contract.breaches(Figures(drop=0.04, size_kb=10.0))
    small, large = attempt("int8", drop=0.4, size=10_000), attempt("float", drop=0.0, size=500_000)
    verdict = decide([large, small], contract)
    assert verdict.chosen is small and verdict.held, "what was asked for is held, and what it cost is said"
    assert "drop 0.4000" in verdict.remark


def test_the_first_rung_that_holds_ships():
    floating, first, second = attempt("float", ratio=1.0), attempt("int8", 0.02), attempt("int8, percentile", 0.005)
    verdict = decide([floating, first, second], Contract(0.01))
    assert verdict.chosen is second and verdict.held
    assert verdict.remark == "int8, percentile is chosen since int8: drop 0.0200, 0.0100 over 0.01"
    assert accepted(second, Contract(0.01), True) and not accepted(first, Contract(0.01), True)


def test_a_rung_that_is_slower_than_float_gives_way_to_float_and_that_is_said():
    floating, slow = attempt("float", ratio=1.0), attempt("int8", ratio=1.3)
    verdict = decide([floating, slow], Contract(0.01))
    assert verdict.chosen is floating and verdict.held and "slower than float (1.30 times)" in verdict.remark
    tight = Contract(0.01, max_size_kb=0.9)  # float itself does not hold it
    small = attempt("int8", ratio=1.3, size=500)
    verdict = decide([floating, small], tight)
    assert verdict.chosen is small and verdict.held and "slower than float, which does not hold" in verdict.remark


def test_float_that_the_target_cannot_run_is_no_reason_to_refuse_a_rung():
    floating, slow = attempt("float", ratio=1.0, refusal="coral does not run float"), attempt("int8", ratio=1.3)
    verdict = decide([floating, slow], Contract(0.01))
    assert verdict.chosen is slow and verdict.held
    assert decide([floating], Contract(0.01)) is None, "nothing can ship"


def test_an_impossible_latency_says_how_close_it_came():
    verdict = decide([attempt("float", ratio=1.0, ms=4.0), attempt("int8", ms=2.0)], Contract(0.01, 0.5))
    assert not verdict.held and verdict.chosen.rung == "int8"
    assert "no rung reaches latency 0.5 ms: the least is 2 ms of int8" in verdict.remark


def test_where_nothing_holds_a_rung_that_is_slower_than_float_is_not_the_best():
    """Attempts are minutes apart, so that only the ratio tells which is faster."""
    floating, slow = attempt("float", ratio=1.0, ms=4.0), attempt("fp16", ratio=1.1, ms=3.0)
    assert decide([floating, slow], Contract(0.01, 0.5)).chosen is floating
    small = attempt("int8", ratio=1.1, ms=3.0, size=100)
    assert decide([floating, small], Contract(0.01, 0.5, 0.5)).chosen is small, "it holds the size, which float breaks"


figure = st.floats(0.001, 1000)
ATTEMPTS = st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 3), figure, st.integers(1, 10**6)), max_size=6)


@given(ATTEMPTS, st.floats(0, 0.99), st.none() | figure)
def test_what_ships_is_never_slower_than_float_where_float_holds(rows, max_drop, max_latency):
    contract = Contract(max_drop, max_latency)
    floating = attempt("float", ratio=1.0, ms=1.0)
    rungs = [attempt(f"rung {n}", drop, ratio, ms, size) for n, (drop, ratio, ms, size) in enumerate(rows)]
    verdict = decide([floating, *rungs], contract)
    if not floating.breaches(contract):
        assert verdict.held and not verdict.chosen.slower
    broken = [b for b in verdict.chosen.breaches(contract) if not b.implied]
    assert verdict.held == (not broken)
    if not verdict.held:
        assert all(a.breaches(contract) for a in (floating, *rungs)), "nothing that holds was passed over"


class Model:
    """Takes as long as it says on a clock of its own; every tenth call is disturbed."""

    def __init__(self, seconds: float, clock: list[float]) -> None:
        self.seconds, self.clock, self.calls = seconds, clock, 0

    def run(self, _feeds: object) -> None:
        self.calls += 1
        self.clock[0] += self.seconds * (5 if self.calls % 10 == 0 else 1)


def test_latencies_are_ratios_of_turns_with_float():
    clock = [0.0]
    fast, slow = Model(0.002, clock), Model(0.008, clock)
    found = in_turns(fast, slow, [{}], "a clock", seconds=2.0, clock=lambda: clock[0])  # type: ignore[arg-type]
    assert found.ratio == pytest.approx(0.25, rel=0.35) and found.ms < found.float_ms and found.rounds >= 11


class Busy(Model):
    """Takes what it says times what the machine is doing besides, which is a matter of luck."""

    def __init__(self, seconds: float, clock: list[float], seed: int) -> None:
        super().__init__(seconds, clock)
        self.luck = random.Random(seed)

    def run(self, _feeds: object) -> None:
        self.clock[0] += self.seconds * self.luck.lognormvariate(0, 0.4)


def busy(ratio: float, seed: int, looks: int = 3) -> Latency:
    clock = [0.0]
    one, other = Busy(0.005 * ratio, clock, 2 * seed), Busy(0.005, clock, 2 * seed + 1)
    return in_turns(one, other, [{}], "", seconds=1.0, looks=looks, clock=lambda: clock[0])  # type: ignore[arg-type]


def test_on_a_busy_machine_a_rung_is_called_slower_only_if_that_is_sure():
    """A median of ratios alone would call half of those that are as fast slower."""
    same = [busy(1.0, seed) for seed in range(60)]
    assert sum(found.ratio > 1 for found in same) > 15
    assert sum(found.surely_slower for found in same) <= 2
    assert all(found.surely_slower for found in (busy(1.6, seed) for seed in range(20)))


def test_what_a_look_does_not_tell_is_timed_longer_up_to_a_bound():
    clear, close = busy(3.0, 1), busy(1.0, 1)
    once = busy(1.0, 1, looks=1)
    assert close.low <= 1 <= close.high and close.rounds > 2 * once.rounds, "three looks"
    assert clear.low > 1 and clear.rounds < once.rounds, "one was enough"
    assert close.high - close.low < once.high - once.low
    assert not attempt_of(close).slower and attempt_of(clear).slower and not attempt_of(clear).doubt
    doubtful = Latency(1.1, 1.0, 1.1, "here", 20, 0.9, 1.3)
    assert "do not tell whether int8 is slower than float (0.90 to 1.30 times)" in attempt_of(doubtful).doubt
    assert not attempt_of(Latency(0.9, 1.0, 0.9, "here", 20, 0.8, 1.3)).doubt


def attempt_of(latency: Latency) -> Attempt:
    return Attempt("int8", latency=latency)


@pytest.mark.parametrize("count", [1, 5, 7, 8, 11, 20, 50, 1200])
def test_the_interval_of_a_median_is_that_of_the_sign_test(count):
    low, high = spread([float(n) for n in range(count)])
    assert low + high == count - 1
    outside = 2 * binom.cdf([low, low + 1], count, 0.5)
    assert (low == 0 or outside[0] <= 0.01) and (outside[1] > 0.01 or high - low <= 1)
