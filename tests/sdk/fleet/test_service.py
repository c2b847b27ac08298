"""Devices against the service: every way that a bundle may go, there and back."""

from __future__ import annotations

import pytest

from edgekit.fleet.errors import FleetError
from edgekit_runtime.agent import protocol as p


def test_enrolling_again_changes_nothing_and_a_name_cannot_be_taken(fleet):
    pi = fleet.device("pi-1")
    assert pi.enroll() == p.Enrolled("pi-1", 30.0)
    assert fleet.service.recognise("pi-1:secret of pi-1") == "pi-1"
    pi.secret = "another"  # noqa: S105
    with pytest.raises(FleetError, match="another device is called pi-1") as refused:
        pi.enroll()
    assert refused.value.status == 409
    for wrong in ("pi-1:another", "pi-2:secret of pi-1", "pi-1", ""):
        with pytest.raises(FleetError) as refused:
            fleet.service.recognise(wrong)
        assert refused.value.status == 401
    assert b"secret of pi-1" not in (fleet.root / "fleet/fleet.db").read_bytes()


def test_a_bundle_reaches_a_group_and_those_who_join_it_later(fleet):
    first, other = fleet.device("pi-1"), fleet.device("pi-2", "cellar")
    digest = fleet.bundle("one")
    rollout = fleet.rollout(digest)
    assert fleet.jobs(rollout) == {"pi-1": "QUEUED"}
    first.comes_through()
    assert fleet.jobs(rollout) == {"pi-1": "SUCCEEDED"} and first.ended == {}
    assert other.poll().job is None
    late = fleet.device("pi-3")
    late.comes_through()
    assert fleet.jobs(rollout) == {"pi-1": "SUCCEEDED", "pi-3": "SUCCEEDED"}
    (job, _) = fleet.service.rollout(rollout)["devices"]
    assert [e["state"] for e in job["events"]] == ["QUEUED", "DOWNLOADING", "SOAKING", "SUCCEEDED"]


def test_a_job_is_repeated_until_the_device_states_it(fleet):
    pi = fleet.device("pi-1")
    digest = fleet.bundle("one")
    fleet.rollout(digest)
    job = pi.poll().job
    assert job.digest == digest and job.slot == "double" and job.size > 0 and job.limits.soaking >= 600
    assert pi.poll().job == job, "the first answer may have been lost"
    assert pi.poll("DOWNLOADING").job is None
    fleet.restart()
    assert pi.poll().job == job, "a device that lost it too gets it again"


def test_success_counts_only_where_the_bundle_really_answers(fleet):
    pi = fleet.device("pi-1")
    rollout = fleet.rollout(fleet.bundle("one"))
    pi.poll()
    number, digest = pi.job.job, pi.job.digest
    pi.runs("f" * 64)
    orders = pi.poll("SUCCEEDED")
    assert orders.settled == () and fleet.jobs(rollout) == {"pi-1": "QUEUED"}
    assert "runs ffff" in fleet.service.rollout(rollout)["devices"][0]["detail"]
    pi.runs(digest)
    assert pi.poll().settled == (number,) and fleet.jobs(rollout) == {"pi-1": "SUCCEEDED"}
    # the answer was lost, the device says it again: settled again, stored once
    pi.ended = {number: p.JobState(number, "FAILED", "changed its mind")}
    assert pi.poll().settled == (number,) and fleet.jobs(rollout) == {"pi-1": "SUCCEEDED"}


def test_a_late_poll_does_not_overwrite_a_newer_one(fleet):
    pi = fleet.device("pi-1")
    old, new = "a" * 64, "b" * 64
    pi.runs(old)
    late = p.Poll("pi-1", "boot-1", 1, fleet.clock.now, dict(pi.slots))
    pi.sequence = 4
    pi.runs(new)
    pi.poll()
    fleet.rollout(fleet.bundle("one"))
    assert fleet.service.poll(late).job is None
    assert _slot(fleet)["digest"] == new
    pi.boot, pi.sequence = "boot-2", 0  # numbers begin anew with a boot
    pi.runs(old)
    pi.poll()
    assert _slot(fleet)["digest"] == old


def test_a_device_that_runs_it_already_is_done(fleet):
    pi = fleet.device("pi-1")
    digest = fleet.bundle("one")
    pi.runs(digest)
    rollout = fleet.rollout(digest)
    assert pi.poll().job is None and fleet.jobs(rollout) == {"pi-1": "SUCCEEDED"}
    assert fleet.service.undo(rollout)["cannot"] == {"pi-1": "it ran this bundle before"}
    pi.runs(digest, degraded="a worker was restarted")
    again = fleet.rollout(digest)
    assert pi.poll().job is not None and fleet.jobs(again) == {"pi-1": "QUEUED"}, "degraded is not done"


def test_few_at_a_time_and_one_that_is_off_holds_nobody_up(fleet):
    off, a, b = (fleet.device(n) for n in ("off", "pi-a", "pi-b"))
    rollout = fleet.rollout(fleet.bundle("one"), max_parallel=1)
    assert a.poll().job is not None
    assert b.poll().job is None
    a.runs(a.job.digest)
    a.poll("SUCCEEDED")
    assert b.poll().job is not None
    assert fleet.jobs(rollout) == {"off": "QUEUED", "pi-a": "SUCCEEDED", "pi-b": "QUEUED"}
    assert off.poll().job is None


def test_it_stops_by_itself_and_lets_go_on_who_is_at_it(fleet):
    a, b, c = (fleet.device(f"pi-{n}") for n in "abc")
    rollout = fleet.rollout(fleet.bundle("one"), max_parallel=2)
    a.poll(), b.poll()
    a.poll("ROLLED_BACK", "12 of 40 requests failed")
    said = fleet.service.rollout(rollout)
    assert said["state"] == "STOPPED" and "1 did not come through (pi-a), 0 may" in said["reason"]
    assert fleet.jobs(rollout) == {"pi-a": "ROLLED_BACK", "pi-b": "QUEUED", "pi-c": "CANCELED"}
    assert c.poll().job is None and fleet.device("pi-d").poll().job is None
    assert b.poll("SOAKING").cancel == ()
    b.runs(b.job.digest)
    b.poll("SUCCEEDED")
    assert fleet.jobs(rollout)["pi-b"] == "SUCCEEDED"


def test_a_newer_bundle_takes_the_place_of_an_older_one(fleet):
    a, b = fleet.device("pi-a"), fleet.device("pi-b")
    old, new = fleet.bundle("old"), fleet.bundle("new")
    first = fleet.rollout(old)
    a.poll()
    number = a.job.job
    second = fleet.rollout(new)
    assert fleet.jobs(first) == {"pi-a": "QUEUED", "pi-b": "CANCELED"}
    orders = a.poll("SOAKING")
    assert orders.cancel == (number,) and orders.job is None, "the slot comes to rest first"
    a.poll("CANCELED")
    assert fleet.jobs(first)["pi-a"] == "CANCELED"
    a.comes_through(), b.comes_through()
    assert fleet.jobs(second) == {"pi-a": "SUCCEEDED", "pi-b": "SUCCEEDED"}
    assert a.slots["double"].digest == new
    late = fleet.device("pi-c")
    late.comes_through()
    assert late.slots["double"].digest == new and "pi-c" not in fleet.jobs(first)


def test_a_job_that_was_never_heard_of_ends_when_it_is_taken_back(fleet):
    pi = fleet.device("pi-1")
    rollout = fleet.rollout(fleet.bundle("one"))
    pi.poll()
    pi.job = None  # the answer never came
    fleet.service.undo(rollout)
    assert pi.poll().cancel == () and fleet.jobs(rollout) == {"pi-1": "CANCELED"}


def test_what_the_server_does_not_know_is_given_up_or_forgotten(fleet):
    pi = fleet.device("pi-1")
    pi.ended = {"99-1": p.JobState("99-1", "FAILED"), "99-2": p.JobState("99-2", "SOAKING")}
    orders = pi.poll()
    assert orders.settled == ("99-1",) and orders.cancel == ("99-2",)


def test_another_devices_job_cannot_be_spoken_for(fleet):
    a, b = fleet.device("pi-a"), fleet.device("pi-b")
    rollout = fleet.rollout(fleet.bundle("one"))
    a.poll()
    b.ended = {a.job.job: p.JobState(a.job.job, "REJECTED", "mine")}
    b.poll()
    assert fleet.jobs(rollout)["pi-a"] == "QUEUED"


def test_undo_brings_back_what_ran_before(fleet):
    devices = {n: fleet.device(n) for n in ("empty", "fails", "has", "moved", "off", "soaks", "stranger")}
    old, new, third = fleet.bundle("old"), fleet.bundle("new"), fleet.bundle("third")
    for name in ("has", "moved", "soaks", "fails"):
        devices[name].runs(old)
    devices["stranger"].runs("e" * 64)
    rollout = fleet.rollout(new, max_failures=5)
    for name in ("empty", "has", "moved", "stranger"):
        devices[name].comes_through()
    devices["fails"].poll(), devices["fails"].poll("FAILED", "self-test")
    devices["soaks"].poll(), devices["soaks"].poll("SOAKING")
    devices["moved"].runs(third)
    devices["moved"].poll()
    said = fleet.service.undo(rollout)
    assert said["going_back"] == ["has"] and set(said["canceled"]) == {"off", "soaks"}
    assert said["cannot"]["empty"] == "nothing ran before"
    assert "was never sent to this server" in said["cannot"]["stranger"]
    assert "runs" in said["cannot"]["moved"] and len(said["cannot"]) == 3
    devices["has"].comes_through()
    assert devices["has"].slots["double"].digest == old
    assert fleet.jobs(said["rollout"]) == {"has": "SUCCEEDED"}
    assert devices["soaks"].poll("SOAKING").cancel and devices["off"].poll().job is None
    assert fleet.service.rollout(rollout)["state"] == "UNDONE"
    with pytest.raises(FleetError, match="undone already"):
        fleet.service.undo(rollout)
    with pytest.raises(FleetError, match=f"undoes rollout {rollout}"):
        fleet.service.undo(said["rollout"])


def test_who_succeeds_just_before_the_undo_arrives_is_sent_back_too(fleet):
    pi = fleet.device("pi-1")
    old, new = fleet.bundle("old"), fleet.bundle("new")
    pi.runs(old)
    rollout = fleet.rollout(new)
    pi.poll(), pi.poll("SOAKING")
    assert fleet.service.undo(rollout)["canceled"] == ["pi-1"]
    pi.runs(new)
    pi.poll("SUCCEEDED")
    assert fleet.jobs(rollout) == {"pi-1": "SUCCEEDED"}
    pi.comes_through()
    assert pi.slots["double"].digest == old


def test_time_alone_ends_what_a_device_does_not(fleet):
    off, stuck = fleet.device("off"), fleet.device("stuck")
    rollout = fleet.rollout(fleet.bundle("one"), expires=3600.0, max_failures=9)
    stuck.poll(), stuck.poll("DOWNLOADING")
    fleet.clock.now += 3601.0
    fleet.service.sweep()
    assert fleet.jobs(rollout) == {"off": "TIMED_OUT", "stuck": "DOWNLOADING"}
    fleet.clock.now += 10 * 86400.0
    fleet.service.sweep()
    assert fleet.jobs(rollout) == {"off": "TIMED_OUT", "stuck": "TIMED_OUT"}
    number = stuck.job.job
    assert stuck.poll("DOWNLOADING").cancel == (number,)
    assert stuck.poll("CANCELED").settled == (number,) and fleet.jobs(rollout)["stuck"] == "TIMED_OUT"
    assert off.poll().job is None


def test_a_removed_device_is_gone_and_its_history_is_not(fleet):
    pi = fleet.device("pi-1")
    rollout = fleet.rollout(fleet.bundle("one"))
    fleet.service.reports(p.Reports("pi-1", (p.Report("b", 1, "state", 0.0, {"kind": "x"}),)))
    pi.poll()
    fleet.service.remove("pi-1")
    assert fleet.service.devices(None) == {"devices": []} and fleet.jobs(rollout) == {"pi-1": "CANCELED"}
    with pytest.raises(FleetError) as refused:
        fleet.service.recognise("pi-1:secret of pi-1")
    assert refused.value.status == 401
    with pytest.raises(FleetError, match="no device 'pi-1'"):
        fleet.service.remove("pi-1")
    pi.enroll()
    assert fleet.service.devices("porch")["devices"][0]["device"] == "pi-1"
    assert fleet.service.devices("cellar") == {"devices": []}


def test_a_rollout_names_what_there_is(fleet):
    with pytest.raises(FleetError, match="no bundle aaaa"):
        fleet.rollout("a" * 64)
    digest = fleet.bundle("one")
    with pytest.raises(FleetError, match="no device pi-9"):
        fleet.rollout(digest, None, devices=("pi-9",))
    with pytest.raises(ValueError, match="for one of the two"):
        fleet.rollout(digest, None)
    assert fleet.rollout(digest, "nobody") == 1 and fleet.jobs(1) == {}


def test_two_servers_cannot_have_one_folder(fleet):
    from edgekit.errors import SdkError
    from edgekit.fleet.service import Service

    with pytest.raises(SdkError, match="another fleet server runs"):
        Service(fleet.root / "fleet")


def _slot(fleet) -> dict:
    return fleet.service.devices(None)["devices"][0]["slots"][0]
