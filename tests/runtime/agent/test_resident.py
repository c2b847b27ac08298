"""The agent's loop: without a network, with clocks that jump, disks that are full, and a server that refuses."""

from __future__ import annotations

import errno
import json
import threading

import pytest

from edgekit_runtime.agent import protocol as p
from edgekit_runtime.agent import talk
from edgekit_runtime.agent.hands import Hands
from edgekit_runtime.agent.link import Link
from edgekit_runtime.agent.machine import Clean, Swap, Underway
from edgekit_runtime.agent.resident import Agent
from edgekit_runtime.agent.serving import Serving
from edgekit_runtime.agent.store import Slot, Store
from edgekit_runtime.agent.talk import Settings
from edgekit_runtime.errors import EdgekitError
from edgekit_runtime.monitor.outbox import Outbox

from .fleet import TOKEN, Fleet

A, B, C = "a" * 64, "b" * 64, "c" * 64


class Clock:
    """Seconds that go where the test wants them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def fleet():
    made = Fleet()
    yield made
    made.close()


@pytest.fixture
def begin(tmp_path):
    """Agents on one store, one after the other; nothing serves."""
    begun = []

    def begin(url: str, clock: Clock, **settings) -> Agent:
        store = Store(tmp_path / "root")
        serving = Serving(path=store.root / "agent" / "none.sock")
        told = Settings("pi-1", settings.pop("token", TOKEN), poll_seconds=settings.pop("poll_seconds", 60.0))
        begun.append(Agent(told, store, Link(url, timeout=10), serving, clock=clock))
        return begun[-1]

    yield begin
    for agent in begun:
        agent.close()


def until(agent: Agent, condition, steps: int = 200) -> None:
    """Steps until something is so; a step waits for news, not for the clock."""
    for _ in range(steps):
        if condition():
            return
        agent.step(0.1)
    raise AssertionError("it never came")


def waiting(agent: Agent, number: str = "1") -> str:
    return next((j.state for j in agent.machine.jobs() if j.job == number), "")


def test_without_a_network_it_waits_ever_longer_and_then_goes_on(begin, fleet):
    url, clock = fleet.url, Clock()
    seen = []

    def refuse(handler):
        seen.append(clock.now)
        handler.close_connection = True
        return True

    fleet.answer = refuse
    agent = begin(url, clock)
    gaps = []
    for tries in range(1, 8):
        until(agent, lambda tries=tries: agent._failures == tries)
        gaps.append(agent._due["poll"] - clock.now)
        agent.step(0.0)
        assert len(seen) == tries, "it does not ask before its time"
        clock.now += gaps[-1]
    assert all(gaps[n + 1] > 1.2 * gaps[n] for n in range(6)) and 4 <= gaps[0] <= 6
    fleet.answer = lambda handler: False
    until(agent, lambda: len(fleet.polls) == 1 and not agent._talking)
    assert agent._failures == 0 and 48 <= agent._due["poll"] - clock.now <= 72


def test_it_never_waits_more_than_about_an_hour(begin, fleet):
    fleet.answer = lambda handler: handler.refuse(500, "broken") or True
    clock = Clock()
    agent = begin(fleet.url, clock)
    agent._failures = 10_000
    until(agent, lambda: agent._failures == 10_001)
    assert agent._due["poll"] - clock.now <= 1.2 * 3600


def test_a_server_that_wants_to_be_left_alone_is_even_when_there_is_news(begin, fleet):
    def busy(handler):
        asked.append(handler.path)
        handler.say(503, b"{}", Retry_After="900")
        return True

    asked: list[str] = []
    fleet.answer, clock = busy, Clock()
    agent = begin(fleet.url, clock)
    until(agent, lambda: agent._failures == 1)
    agent._urgent = True
    for _ in range(5):
        clock.now += 100
        agent.step(0.0)
    assert len(asked) == 1
    clock.now += 500
    until(agent, lambda: agent._failures == 2)


def test_a_network_that_hangs_does_not_hold_up_the_loop(begin, fleet):
    """Deadlines, the serving process and systemd's watchdog depend on it."""
    hangs, go_on = threading.Event(), threading.Event()

    def hang(handler):
        hangs.set()
        go_on.wait(60)
        return False

    fleet.answer, clock = hang, Clock()
    agent = begin(fleet.url, clock)
    agent._apply(lambda m: m.orders(p.Orders(0.0, 60.0, job(limits=p.Limits(downloading=50.0)))))
    agent.step(0.0)
    assert hangs.wait(60)
    clock.now += 51
    agent.step(0.0)
    assert waiting(agent) == p.TIMED_OUT
    go_on.set()
    until(agent, lambda: fleet.polls)


def job(number: str = "1", digest: str = A, **more) -> p.Job:
    return p.Job(number, "double", digest, 10, C, **more)


def test_clocks_that_jump_end_nothing(begin, fleet, monkeypatch):
    """The wall clock is not asked at all; a monotonic one that goes back counts for nothing."""
    clock = Clock()
    fleet.answer = lambda handler: handler.command == "GET" and not handler.say(503, b"{}")
    agent = begin(fleet.url, clock)
    agent._apply(lambda m: m.orders(p.Orders(0.0, 60.0, job(limits=p.Limits(downloading=100.0)))))
    for wall in (0.0, 4e9, 1.7e9):
        monkeypatch.setattr(talk.time, "time", lambda wall=wall: wall)
        agent.step(0.0)
        assert waiting(agent) == p.DOWNLOADING
    clock.now -= 500
    agent.step(0.0)
    assert waiting(agent) == p.DOWNLOADING and agent.machine.underway.elapsed == 0.0
    clock.now += 101
    agent.step(0.0)
    assert waiting(agent) == p.TIMED_OUT


def test_a_journal_that_cannot_be_written_lets_no_bundle_swap(begin, fleet, monkeypatch):
    done: list[object] = []
    monkeypatch.setattr(Hands, "do", lambda self, effects: done.extend(effects))
    agent = begin(fleet.url, Clock())
    agent.machine.underway = Underway(job(), p.TESTING)

    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("edgekit_runtime.agent.resident.replacing", full)
    agent._apply(lambda m: m.tested("1", Slot(B)))
    assert not [e for e in done if isinstance(e, Swap)]
    agent._apply(lambda m: m.went_back("1"))
    (ended,) = agent.machine.jobs()
    assert ended.state == p.ROLLED_BACK and "journal cannot be written (No space left" in ended.detail


def test_a_journal_outlives_the_agent_and_a_broken_one_is_set_aside(begin, fleet):
    agent = begin(fleet.url, Clock())
    agent.machine.underway = Underway(job(), p.TESTING)
    agent._apply(lambda m: m.failed("1", "it failed"))
    agent.close()
    again = begin(fleet.url, Clock())
    assert waiting(again) == p.FAILED
    again.close()
    path = again._folder / "journal.json"
    path.write_bytes(path.read_bytes()[:-7])
    (again._folder / ".journal.json.0123456789ab.part").write_bytes(b"of a writer that was killed")
    assert begin(fleet.url, Clock()).machine.jobs() == ()
    assert (again._folder / "journal.json.broken").exists() and not list(again._folder.glob("*.part"))


def test_cleaning_leaves_the_journal_that_is_just_being_written(begin, fleet):
    agent = begin(fleet.url, Clock())
    journal, part = agent._folder / ".journal.json.0123456789ab.part", agent._folder / f"{A}.part"
    for path in (journal, part):
        path.write_bytes(b"half")
    agent._hands._clean(Clean(), threading.Event())
    assert journal.exists() and not part.exists()


def test_windows_are_taken_once_they_are_on_the_disk(begin, fleet, monkeypatch):
    agent = begin(fleet.url, Clock())
    asked, window = [], {"number": 1, "digest": A, "window": {"requests": 12}}
    monkeypatch.setattr(agent._serving, "running", lambda: {"double": p.Running(A, ready=True, degraded="it limps")})
    monkeypatch.setattr(agent._serving, "windows", lambda name, since: asked.append(since) or ([window], "cursor-1"))
    with monkeypatch.context() as full:
        full.setattr(agent.outbox, "put", lambda messages: [])
        agent._collect()
    agent._collect()
    agent._collect()
    assert asked == ["", "", "cursor-1"]
    bodies = [json.loads(m.body) for m in agent.outbox.peek()]
    assert [b["kind"] for b in bodies] == ["alarm", "window", "window"]
    assert bodies[0]["sentence"] == "it limps" and bodies[1] == {"kind": "window", "slot": "double", **window}


def test_drift_that_stays_is_told_once_and_not_lost_on_a_full_disk(begin, fleet, monkeypatch):
    agent = begin(fleet.url, Clock())
    window = {"number": 1, "digest": A, "window": {"requests": 12}, "drift": {"inputs.age": "psi 0.3 over 0.1"}}
    monkeypatch.setattr(agent._serving, "running", lambda: {"double": p.Running(A, ready=True)})
    monkeypatch.setattr(agent._serving, "windows", lambda name, since: ([window], "cursor"))

    def alarms() -> list[str]:
        bodies = [(m.priority, json.loads(m.body)) for m in agent.outbox.peek(50)]
        return [b["sentence"] for priority, b in bodies if priority == "alarm" and b["kind"] == "alarm"]

    agent._collect()
    assert alarms() == []
    with monkeypatch.context() as full:
        full.setattr(agent.outbox, "put", lambda messages: [])
        agent._collect()
    for _ in range(5):
        agent._collect()
    assert alarms() == ["drift in 2 windows: inputs.age (psi 0.3 over 0.1)"]


def test_what_cannot_be_a_report_is_left_out_and_the_rest_goes(begin, fleet):
    agent = begin(fleet.url, Clock())
    large = {"kind": "window", "window": "x" * 300_000}
    assert agent._keep(
        ("sketch", {"kind": "window", "mean": float("nan")}), ("sketch", large), ("state", {"kind": "job"})
    )
    until(agent, lambda: fleet.reports)
    assert [r.body for r in fleet.reports.values()] == [{"kind": "job"}]


class Heard:
    """A conversation on its own."""

    def __init__(self, fleet: Fleet, folder, outbox: Outbox, token: str | None = TOKEN) -> None:
        folder.mkdir(exist_ok=True)
        self.orders: list[p.Orders] = []
        self.over: list[EdgekitError | None] = []
        self.changed = threading.Condition()
        link = Link(fleet.url, timeout=10)
        stand = lambda: ({}, p.Health())  # noqa: E731
        settings = Settings("pi-1", token)
        self.talk = talk.Talk(settings, link, outbox, folder, stand=stand, took=self.orders.append, finished=self._end)

    def _end(self, problem):
        with self.changed:
            self.over.append(problem)
            self.changed.notify_all()

    def once(self) -> EdgekitError | None:
        count = len(self.over)
        self.talk.begin(())
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.over) > count, 60)
        return self.over[-1]


@pytest.fixture
def outbox(tmp_path):
    made = Outbox(tmp_path / "outbox.db", "pi-1")
    yield made
    made.close()


def test_large_reports_go_in_requests_that_the_protocol_allows(fleet, tmp_path, outbox):
    body = json.dumps({"kind": "window", "window": "x" * 250_000}).encode()
    outbox.put([("sketch", body)] * 20)
    assert Heard(fleet, tmp_path / "a", outbox).once() is None
    assert len(fleet.reports) == 20 and outbox.peek() == []


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_report_that_is_never_taken_does_not_keep_the_others_back(fleet, tmp_path, outbox, status):
    outbox.put([("sample", json.dumps({"kind": kind}).encode()) for kind in ("good", "bad", "good")])
    handler = fleet._server.RequestHandlerClass
    answer = handler.answer

    def choosy(self, body):
        if self.path == "/api/v1/reports" and b'"bad"' in body:
            self.refuse(status, "there is no such kind")
        else:
            answer(self, body)

    handler.answer = choosy
    assert Heard(fleet, tmp_path / "a", outbox).once() is None
    assert [r.body["kind"] for r in fleet.reports.values()] == ["good", "good"] and outbox.peek() == []


def test_a_server_that_forgot_the_device_gets_to_know_it_again(fleet, tmp_path, outbox):
    heard = Heard(fleet, tmp_path / "a", outbox)
    assert heard.once() is None
    fleet.devices.clear()
    assert heard.once().status == 401 and heard.once() is None
    assert len(heard.orders) == 2 and fleet.devices


def test_the_secret_stays_and_without_a_token_only_a_known_device_talks(fleet, tmp_path, outbox):
    assert Heard(fleet, tmp_path / "a", outbox).once() is None
    assert Heard(fleet, tmp_path / "a", outbox, token=None).once() is None, "it is enrolled"
    assert "there is no token" in str(Heard(fleet, tmp_path / "b", outbox, token=None).once())
    assert Heard(fleet, tmp_path / "b", outbox).once().status == 409, "another secret, the same name"
    (tmp_path / "a/secret").write_bytes(b"\xff" * 40)
    with pytest.raises(EdgekitError, match="cannot read the device's secret"):
        Heard(fleet, tmp_path / "a", outbox)
    assert (tmp_path / "a/secret").read_bytes() == b"\xff" * 40, "what the server knows is never replaced"


def test_an_answer_that_is_none_is_one_sentence_and_not_the_end(fleet, tmp_path, outbox):
    for content in (b"<html>", b"[]", b'{"time": "now"}', b'{"time": 0, "poll_seconds": 1, "job": {"job": 3}}'):
        fleet.answer = lambda handler, content=content: handler.say(200, content) or True
        heard = Heard(fleet, tmp_path / "a", outbox)
        heard.talk._enrolled = True
        assert "it is not a message" in str(heard.once()) and heard.orders == []
