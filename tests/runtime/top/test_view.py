"""What the view shows of readings, and that it fits every terminal."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit_runtime.top.reading import Counted, Model, Reading, quantile, rows
from edgekit_runtime.top.view import Style, line, page

BUCKETS = ((0.001, 0.0), (0.01, 90.0), (0.1, 100.0), (math.inf, 100.0))
EARLY = Model("cats", "READY", "", "tflite-int8 on litert 2.3.0", "5cfa4eb93042", Counted(100, 2, BUCKETS, 100, 0.1))
BUSY = dataclasses.replace(
    EARLY,
    counted=Counted(200, 12, ((0.001, 50.0), (0.01, 190.0), (0.1, 200.0), (math.inf, 200.0)), 200, 0.5),
    accuracy=0.914,
    drifted=("input age psi 0.31 over 0.12",),
)
DEVICE = {
    "cpu_busy_ratio": 0.54, "memory_bytes": 8e9, "memory_available_bytes": 6e9, "disk_bytes": 64e9,
    "disk_free_bytes": 60e9, "uptime_seconds": 100_000.0,
}  # fmt: skip


def moments(*models: Model, flags: tuple[str, ...] = ()) -> list[Reading]:
    first = Reading(10.0, "0.1.0", True, (EARLY,))
    return [first, Reading(20.0, "0.1.0", True, models, DEVICE, {"cpu-thermal": 71.0, "gpu": 64.0}, flags)]


def bare(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_rates_and_times_are_those_between_two_moments():
    (row,) = rows(moments(BUSY))
    assert (row.rate, row.error_rate, row.recent) == (10.0, 1.0, True)
    assert row.p50_ms == pytest.approx(1.0) and row.p90_ms == pytest.approx(8.2)  # 50 in the first ms, 50 in the next 9
    assert row.wait_ms == pytest.approx(4.0)


def test_where_nobody_asked_lately_times_are_since_the_start_and_marked():
    (row,) = rows(moments(EARLY))
    assert row.rate == 0 and not row.recent and row.p50_ms == pytest.approx(6.0)
    text = "\n".join(page("here", moments(EARLY), Style()))
    assert "(6.0)" in text and "since the start" in text


def test_a_server_that_began_anew_counts_from_there():
    again = dataclasses.replace(EARLY, counted=Counted(5, 0, ((0.001, 5.0), (math.inf, 5.0)), 5, 0.0))
    (row,) = rows(moments(again))
    assert row.rate == 0.5 and row.error_rate == 0


def test_a_time_beyond_the_last_bucket_is_said_to_be_so():
    slow = dataclasses.replace(EARLY, counted=Counted(1, 0, ((10.0, 0.0), (math.inf, 1.0))))
    assert quantile(slow.counted.buckets, 0.5) == math.inf
    assert "(>10 s)" in "\n".join(page("here", [Reading(0.0, "1", True, (slow,))], Style()))
    assert rows([Reading(0.0, "1", True, (slow,))])[0].to_plain()["beyond_last_bucket"] == [
        "p50_ms",
        "p90_ms",
        "p99_ms",
    ]


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8), st.floats(0, 1))
def test_a_quantile_lies_in_its_bucket(counts, share):
    total, buckets = 0, []
    for position, count in enumerate(counts):
        total += count
        buckets.append((float(position + 1), float(total)))
    found = quantile(tuple(buckets), share)
    if not total:
        assert found is None
    else:
        below = [bound for bound, count in buckets if count < share * total]
        assert (below[-1] if below else 0.0) <= found <= buckets[-1][0]


def test_the_view_at_a_glance():
    broken = Model("dogs", "UNAVAILABLE", "it does not answer as the workstation did")
    shown = page("http://pi:8080", moments(BUSY, broken, flags=("under_voltage",)), Style(110), "12:00:00")
    assert [t.rstrip() for t in shown] == [
        "edgekit-runtime 0.1.0 · http://pi:8080 · ready" + " " * 56 + "12:00:00",
        "CPU ██████░░░░░░ 54%   RAM ███░░░░░░░░░ 2.0 GB of 8.0 GB   disk █░░░░░░░░░░░ 4.0 GB of 64.0 GB",
        "71 °C cpu-thermal   up 1 d 3 h   under voltage",
        "",
        "MODEL  REQ/S  ERR/S  P50 MS  P90 MS  P99 MS  QUEUE  EST.ACC  DIGEST    RUNS",
        "cats    10.0    1.0     1.0     8.2     9.8    4.0    91.4%  5cfa4eb9  tflite-int8 on litert 2.3.0",
        "  ! drift: input age psi 0.31 over 0.12",
        "dogs       -      -       -       -       -      -        -  -         unavailable",
        "  ! unavailable: it does not answer as the workstation did",
    ]


@given(st.integers(20, 200), st.integers(4, 40), st.booleans(), st.booleans(), st.text(max_size=60), st.integers(0, 20))
def test_it_fits_every_terminal_and_obeys_nobody(width, height, colour, unicode, text, more):
    odd = Model(text or "x", "READY", text, text, text, BUSY.counted, (text,))
    models = [dataclasses.replace(odd, name=f"{n}{text}") for n in range(more)]
    shown = page(text, moments(BUSY, *models, flags=(text,)), Style(width, height, colour, unicode), "12:00:00")
    assert len(shown) <= height
    for one in shown:
        assert len(bare(one)) <= width
        assert bare(one).isprintable() and (unicode or bare(one).isascii())
        assert colour or "\x1b" not in one


def test_a_line_for_a_terminal_that_cannot_be_drawn_on():
    (row,) = rows(moments(BUSY))
    assert line(row, "12:00:00") == (
        "12:00:00 cats  10.0 req/s  1.0 err/s  p50 1.0  p90 8.2  p99 9.8 ms  tflite-int8 on litert 2.3.0  5cfa4eb9  "
        "drift: input age psi 0.31 over 0.12"
    )
