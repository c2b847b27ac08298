"""The agent's decisions: what a user counts on, and that it holds whatever happens in whatever order."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edgekit_runtime.agent import machine as m
from edgekit_runtime.agent.machine import Figures, Machine
from edgekit_runtime.agent.protocol import ENDED, UNDERWAY, Job, Limits, Orders, Soak
from edgekit_runtime.agent.store import Slot

OLD, NEW = "0" * 64, "1" * 64


def job(number="1", digest=NEW, **soak) -> Job:
    return Job(number, "words", digest, 10, "f" * 64, soak=Soak(**{"seconds": 60.0, **soak}), limits=Limits())


def orders(job=None, cancel=(), settled=()) -> Orders:
    return Orders(0.0, 30.0, job, tuple(cancel), tuple(settled))


def state(machine) -> str:
    return machine.jobs()[-1].state


def soaking(wanted: Job, before=Slot(OLD), figures=Figures(OLD, True, requests=500, p99=0.010)) -> Machine:  # noqa: B008
    machine = Machine()
    assert machine.orders(orders(wanted)) == [m.Download(wanted)]
    assert machine.downloaded(wanted.job) == [m.Verify(wanted)]
    assert machine.verified(wanted.job) == [m.Test(wanted)]
    assert machine.tested(wanted.job, before, figures) == [m.Swap(wanted)]
    assert machine.swapped(wanted.job) == [] and state(machine) == "SOAKING"
    return machine


def test_a_bundle_that_fares_well_stays():
    machine = soaking(job())
    assert machine.observed("1", Figures(NEW, True, requests=5)) == [], "it has to soak first"
    machine.tick(61)
    assert machine.observed("1", Figures(NEW, True, requests=50)) == [m.Clean()]
    assert state(machine) == "SUCCEEDED" and machine.underway is None
    machine.orders(orders(settled=["1"]))
    assert machine.jobs() == ()


@pytest.mark.parametrize(
    ("figures", "why"),
    [
        (Figures(OLD, True), "the server runs 0000"),
        (Figures(NEW, True, degraded="a worker was restarted"), "a worker was restarted"),
        (Figures(NEW, True, requests=20, errors=1), "1 of 20 requests failed, 1.00% may"),
        (Figures(NEW, True, requests=100, p99=0.025), "2.5 times that of the bundle before, 2 may be"),
    ],
)
def test_a_bundle_that_fares_badly_goes(figures, why):
    wanted = job(max_latency_ratio=2.0)
    machine = soaking(wanted)
    assert machine.observed("1", figures) == [m.Stop(wanted), m.GoBack(wanted, Slot(OLD))]
    assert state(machine) == "SOAKING", "it is over only when the bundle before answers again"
    assert machine.went_back("1") == [m.Clean()]
    assert state(machine) == "ROLLED_BACK" and why in machine.jobs()[0].detail


@pytest.mark.parametrize(
    "figures",
    [
        Figures(NEW, True, requests=19, errors=1),  # too few to say
        Figures(NEW, True, requests=99, p99=1.0),
        Figures("", False),  # it does not answer at the moment: its deadline will tell
    ],
)
def test_chance_does_not_send_a_bundle_back(figures):
    machine = soaking(job(max_latency_ratio=2.0))
    assert machine.observed("1", figures) == [] and not machine.underway.ending


def test_too_few_requests_keep_it_soaking_until_its_time_is_over():
    wanted = job(min_requests=10)
    machine = soaking(wanted)
    machine.tick(100)
    assert machine.observed("1", Figures(NEW, True, requests=9)) == []
    assert machine.tick(3600) == [m.Stop(wanted), m.GoBack(wanted, Slot(OLD))]
    machine.went_back("1")
    assert state(machine) == "TIMED_OUT"


@pytest.mark.parametrize("steps", range(4))
def test_every_state_has_a_deadline(steps):
    machine, wanted = Machine(), job()
    machine.orders(orders(wanted))
    for step in [machine.downloaded, machine.verified, lambda n: machine.tested(n, Slot(OLD))][:steps]:
        step("1")
    before = state(machine)
    assert machine.tick(wanted.limits.of(before)) == []
    effects = machine.tick(0.1)
    if before == "SWAPPING":
        assert effects == [m.Stop(wanted), m.GoBack(wanted, Slot(OLD))]
        machine.went_back("1")
    else:
        assert effects == [m.Stop(wanted), m.Clean()]
    assert state(machine) == "TIMED_OUT" and f"{before} took longer than" in machine.jobs()[0].detail


def test_a_clock_that_runs_backwards_does_nothing():
    machine = Machine()
    machine.orders(orders(job()))
    machine.tick(-1e9)
    assert machine.underway.elapsed == 0.0


def test_a_forged_bundle_is_rejected_and_a_broken_one_has_failed():
    for rejected, end in ((True, "REJECTED"), (False, "FAILED")):
        machine = Machine()
        machine.orders(orders(job()))
        machine.downloaded("1")
        machine.failed("1", "the signature by key 12 is wrong", rejected=rejected)
        assert state(machine) == end


def test_the_same_order_again_does_nothing():
    machine = Machine()
    machine.orders(orders(job()))
    assert machine.orders(orders(job())) == []
    machine.failed("1", "no room")
    assert machine.orders(orders(job())) == [], "it has ended; the server will hear of it"


def test_a_newer_job_takes_the_place_of_one_that_has_not_swapped():
    machine, newer = Machine(), job("2", "2" * 64)
    machine.orders(orders(job()))
    effects = machine.orders(orders(newer))
    assert effects == [m.Stop(job()), m.Clean(), m.Download(newer)]
    assert {s.job: s.state for s in machine.jobs()} == {"1": "CANCELED", "2": "DOWNLOADING"}
    machine = soaking(job())
    assert machine.orders(orders(newer)) == [], "the slot comes to rest first"
    machine.tick(61)
    machine.observed("1", Figures(NEW, True))
    assert machine.orders(orders(newer)) == [m.Download(newer)]


def test_what_is_taken_back_goes_back():
    machine = Machine()
    machine.orders(orders(job()))
    machine.orders(orders(cancel=["1"]))
    assert state(machine) == "CANCELED"
    machine = soaking(job())
    assert machine.orders(orders(cancel=["1"])) == [m.Stop(job()), m.GoBack(job(), Slot(OLD))]
    machine.went_back("1", "the bundle before it is not ready")
    assert state(machine) == "CANCELED" and "is not ready" in machine.jobs()[0].detail
    assert Machine().orders(orders(job(), cancel=["1"])) == [], "never begun"


def test_going_back_is_tried_until_it_is_done():
    machine = soaking(job())
    machine.failed("1", "the server does not answer")
    assert machine.tick(29) == [] and machine.tick(1) == [m.GoBack(job(), Slot(OLD))]
    machine.failed("1", "no room")
    assert state(machine) == "SOAKING" and machine.tick(30) == [m.GoBack(job(), Slot(OLD))]
    machine.went_back("1")
    assert state(machine) == "ROLLED_BACK" and machine.jobs()[0].detail == "the server does not answer; no room"


def test_going_back_that_cannot_be_done_ends_as_stranded():
    machine = soaking(job())
    machine.failed("1", "30 of 40 requests failed")
    assert machine.stranded("9", "x") == [] and machine.stranded("1", "OLD is gone; NEW runs on") == [m.Clean()]
    (ended,) = machine.jobs()
    assert (ended.state, ended.detail) == ("STRANDED", "30 of 40 requests failed; OLD is gone; NEW runs on")
    assert soaking(job()).stranded("1", "nobody asked to go back") == []
    # and where it is not known why it cannot, it is not tried for ever; a restart does not begin anew
    machine = soaking(job())
    machine.failed("1", "it limps")
    for _ in range(m.MAX_RETURNS):
        assert machine.tick(30) == [m.GoBack(job(), Slot(OLD))]
        machine.failed("1", "the slot cannot be written (Read-only file system)")
        machine = Machine.from_plain(json.loads(json.dumps(machine.to_plain())))
    assert machine.tick(30) == [m.Stop(job()), m.Clean()]
    (ended,) = machine.jobs()
    assert ended.state == "STRANDED" and "it limps; the slot cannot be written" in ended.detail
    assert "tried 21 times" in ended.detail


def test_news_of_another_job_or_of_a_state_that_is_over_is_late():
    machine = soaking(job())
    assert machine.downloaded("1") == machine.verified("1") == machine.swapped("1") == []
    assert machine.tested("1", None) == machine.failed("9", "x") == machine.observed("9", Figures("", False)) == []
    assert machine.went_back("1") == [] and state(machine) == "SOAKING"


def test_a_device_that_begins_anew_again_and_again_goes_back():
    machine = soaking(job())
    for _ in range(3):
        machine = Machine.from_plain(json.loads(json.dumps(machine.to_plain())))
        assert machine.resume() == []
    assert machine.resume() == [m.Stop(job()), m.GoBack(job(), Slot(OLD))]
    assert "began anew 4 times" in machine.underway.detail


def test_ten_thousand_of_them_need_no_numpy():
    program = (
        "import sys\n"
        "from edgekit_runtime.agent.machine import Machine\n"
        "from edgekit_runtime.agent.protocol import Job, Orders\n"
        "order = Orders(0.0, 30.0, Job('1', 's', '0' * 64, 1, '1' * 64))\n"
        "every = [Machine() for _ in range(10_000)]\n"
        "assert all(len(one.orders(order)) == 1 for one in every)\n"
        "loaded = {'numpy', 'cryptography', 'uvicorn', 'socket', 'sqlite3', 'asyncio'} & set(sys.modules)\n"
        "sys.exit(', '.join(loaded) or 0)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


class Whatever(RuleBasedStateMachine):
    """A device on which effects are done, fail, or are cut off by a power cut; the journal is kept before effects."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine()
        self.todo: list[m.Effect] = []
        self.slot: Slot | None = None
        self.proven: set[str] = set()
        self.number = 0
        self.seen: dict[str, list[str]] = {}
        self.saved = json.dumps(self.machine.to_plain())

    def _after(self, effects) -> None:
        """Journal first, then what is to be done."""
        self.saved = json.dumps(self.machine.to_plain())
        for effect in effects:
            if isinstance(effect, m.Stop):
                self.todo = [e for e in self.todo if isinstance(e, (m.GoBack, m.Clean))]
            else:
                self.todo.append(effect)
        for one in self.machine.jobs():
            history = self.seen.setdefault(one.job, [])
            if not history or history[-1] != one.state:
                history.append(one.state)

    @rule(fresh=st.booleans(), cancel=st.booleans(), digest=st.sampled_from("123"))
    def poll(self, fresh, cancel, digest):
        self.number += fresh
        ended = [s.job for s in self.machine.jobs() if s.state in ENDED]
        wanted = Job(str(self.number), "words", digest * 64, 1, "f" * 64) if self.number else None
        taken_back = [str(self.number)] if cancel else []
        self._after(self.machine.orders(orders(wanted, cancel=taken_back, settled=ended[:1])))

    @rule(seconds=st.sampled_from([1.0, 31.0, 5000.0]))
    def time(self, seconds):
        self._after(self.machine.tick(seconds))

    @precondition(lambda self: self.todo)
    @rule(fails=st.sampled_from([False, False, False, True]), rejected=st.booleans())
    def do(self, fails, rejected):
        effect = self.todo.pop(0)
        if isinstance(effect, m.Clean):
            return
        number, machine = effect.job.job, self.machine
        if fails and not isinstance(effect, m.GoBack):
            if isinstance(effect, m.Swap):  # the pointer is set, and then the server cannot load it
                self.slot = Slot(effect.job.digest, self.slot.current if self.slot else None)
            self._after(machine.failed(number, "it did not work", rejected=rejected))
        elif isinstance(effect, m.Download):
            self._after(machine.downloaded(number))
        elif isinstance(effect, m.Verify):
            self._after(machine.verified(number))
        elif isinstance(effect, m.Test):
            self.proven.add(effect.job.digest)
            self._after(machine.tested(number, self.slot))
        elif isinstance(effect, m.Swap):
            if self.slot is None or self.slot.current != effect.job.digest:
                self.slot = Slot(effect.job.digest, self.slot.current if self.slot else None)
            self._after(machine.swapped(number))
        elif fails:  # no bundle before it is whole: the slot stays
            self.slot = Slot(effect.job.digest)
            self._after(machine.stranded(number, "it is gone"))
        else:
            self.slot = effect.before
            self._after(machine.went_back(number))

    @rule(
        figures=st.builds(
            Figures,
            st.sampled_from(["", "1" * 64, "2" * 64, "3" * 64]),
            st.booleans(),
            requests=st.just(30),
            errors=st.sampled_from([0, 20]),
        )
    )
    def look(self, figures):
        if self.machine.underway is not None:
            self._after(self.machine.observed(self.machine.underway.job.job, figures))

    @rule()
    def power_cut(self):
        self.machine = Machine.from_plain(json.loads(self.saved))
        self.todo = []
        self._after(self.machine.resume())

    @invariant()
    def what_answers_has_passed_on_this_device(self):
        assert self.slot is None or self.slot.current in self.proven

    @invariant()
    def states_go_forward_and_ends_stay(self):
        for history in self.seen.values():
            order = [UNDERWAY.index(s) if s in UNDERWAY else len(UNDERWAY) for s in history]
            assert order == sorted(order) and sum(s in ENDED for s in history) <= 1

    @invariant()
    def a_job_that_did_not_succeed_does_not_answer(self):
        now = self.machine.underway
        if self.slot is None or (now is not None and now.swapped):
            return
        assert all(not isinstance(e, (m.Swap, m.GoBack)) for e in self.todo), "nobody moves the slot behind its back"

    def teardown(self):
        """Left alone, with effects that work, everything comes to an end."""
        for _ in range(60):
            while self.todo:
                self.do(False, False)
            if self.machine.underway is None:
                break
            self.time(5000.0)
        assert self.machine.underway is None


TestWhatever = Whatever.TestCase
TestWhatever.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
