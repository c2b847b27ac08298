"""The rules, without anything around them."""

from __future__ import annotations

import pytest

from edgekit.fleet.rollouts import (
    ACTIVE,
    STOPPED,
    UNDONE,
    JobView,
    Settings,
    Standing,
    current,
    joiners,
    may_deliver,
    overdue,
    why_stop,
)
from edgekit_runtime.agent.protocol import Soak


def test_every_member_gets_one_job_and_late_ones_too():
    assert joiners(["d", "c", "b", "a"], ["a", "b"]) == ["c", "d"]
    assert joiners(["a", "b"], ["a", "b", "gone"]) == []


def test_only_devices_that_are_at_it_count_as_parallel():
    waiting = [JobView(n, "QUEUED") for n in "abc"]
    begun = [JobView("d", "DOWNLOADING", delivered=1.0), JobView("e", "SUCCEEDED", delivered=1.0)]
    assert may_deliver(Settings(max_parallel=2), [*waiting, *begun])
    assert not may_deliver(Settings(max_parallel=1), [*waiting, *begun])
    assert may_deliver(Settings(), begun * 100)


def test_a_rollout_stops_when_more_failed_than_may():
    bad = [JobView(n, s, delivered=1.0) for n, s in zip("abc", ("FAILED", "ROLLED_BACK", "TIMED_OUT"), strict=True)]
    assert why_stop(Settings(max_failures=3), bad) == ""
    assert "3 did not come through (a, b, c), 2 may" in why_stop(Settings(max_failures=2), bad)
    # taken back, or never fetched: no fault of the bundle
    assert why_stop(Settings(), [JobView("a", "CANCELED", delivered=1.0), JobView("b", "TIMED_OUT")]) == ""


def test_a_job_is_over_by_its_time_alone():
    settings = Settings(expires=100.0)
    assert overdue(settings, JobView("a", "QUEUED", created=0.0), 100.0) == ""
    assert "did not fetch it within 100 s" in overdue(settings, JobView("a", "QUEUED", created=0.0), 101.0)
    begun = JobView("a", "SOAKING", created=0.0, delivered=50.0)
    assert overdue(settings, begun, 50.0 + settings.deadline) == ""
    assert "nothing came of it" in overdue(settings, begun, 51.0 + settings.deadline)
    assert overdue(settings, JobView("a", "FAILED", delivered=0.0), 1e12) == ""


def test_a_long_soak_gets_its_time():
    settings = Settings(soak=Soak(seconds=86400.0)).roomy()
    assert settings.limits.soaking > 86400.0 and settings.deadline > settings.limits.soaking


def test_the_newest_rollout_that_a_device_is_in_decides():
    rollouts = [
        Standing(1, ACTIVE, "porch"),
        Standing(2, ACTIVE, None, ("a",)),
        Standing(3, UNDONE, "porch"),
        Standing(4, STOPPED, "porch"),
    ]
    assert current(rollouts, "a", ["porch"]) == 2
    assert current(rollouts, "b", ["porch"]) == 1
    assert current(rollouts, "b", ["cellar"]) is None


@pytest.mark.parametrize(
    "wrong",
    [{"max_parallel": -1}, {"max_failures": -1}, {"expires": -1.0}, {"soak": Soak(seconds=-1.0)},
     {"soak": Soak(max_error_rate=1.5)}, {"soak": Soak(seconds=1e300)}],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="rollout"):
        Settings(**wrong)
