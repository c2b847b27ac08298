"""Reports: stored once, read for what they say, kept for a while, and never lost once acknowledged."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.evaluate.limits import drift_limits
from edgekit.fleet import ingest
from edgekit_runtime.agent import protocol as p
from edgekit_runtime.manifest import DataInfo, Manifest, Monitoring, Quantiles
from edgekit_runtime.monitor.window import Window

from ...runtime.conftest import double_manifest


def report(sequence: int, body: dict, boot: str = "boot-1", priority: str = "state") -> p.Report:
    return p.Report(boot, sequence, priority, 100.0 + sequence, body)


def send(fleet, *reports: p.Report, device: str = "pi-1") -> dict[str, int]:
    return dict(fleet.service.reports(p.Reports(device, reports)).acknowledged)


def stored(fleet) -> list[tuple]:
    with sqlite3.connect(fleet.root / "fleet/fleet.db") as connection:
        return connection.execute("SELECT device, boot, sequence FROM report ORDER BY id").fetchall()


def test_each_is_stored_once_however_often_it_comes(fleet):
    fleet.device("pi-1"), fleet.device("pi-2")
    first, second, third = (report(n, {"kind": "x", "n": n}) for n in (3, 4, 7))
    assert send(fleet, first, second) == {"boot-1": 4}
    assert send(fleet, second, third, third, first) == {"boot-1": 7}
    assert send(fleet, first) == {"boot-1": 7}
    assert send(fleet, report(1, {}, "boot-2"), report(8, {})) == {"boot-1": 8, "boot-2": 1}
    assert send(fleet, first, device="pi-2") == {"boot-1": 3}
    assert send(fleet) == {}
    boot_1 = [("pi-1", "boot-1", n) for n in (3, 4, 7)]
    assert sorted(stored(fleet)) == sorted(
        [*boot_1, ("pi-1", "boot-2", 1), ("pi-1", "boot-1", 8), ("pi-2", "boot-1", 3)]
    )


def test_old_ones_go_and_are_still_known_to_have_come(fleet):
    fleet.device("pi-1")
    send(fleet, report(1, {}))
    fleet.clock.now += 31 * 86400.0
    send(fleet, report(2, {}))
    fleet.service.sweep()
    assert stored(fleet) == [("pi-1", "boot-1", 2)]
    assert send(fleet, report(1, {})) == {"boot-1": 2} and len(stored(fleet)) == 1
    send(fleet, *(report(n, {}) for n in range(3, 10)))
    with fleet.service.database.write() as session:
        assert ingest.forget(session, 0.0, 5) == 3
    assert [n for _, _, n in stored(fleet)] == [5, 6, 7, 8, 9]


def watched(scale: float = 1.0) -> Manifest:
    """A model whose output `y` was 0 to `scale` in training."""
    edges = tuple(float(e) for e in np.linspace(0.0, scale, 33))
    return double_manifest()[0].replace(
        monitoring=Monitoring(outputs={"y": Quantiles(edges, limits=drift_limits(edges, 2000, 2000))}),
        data=(DataInfo("reference", 2000, "0" * 64),),
    )


def window(manifest: Manifest, values: np.ndarray, *, errors: int = 0, ended: float = 60.0) -> dict:
    made = Window.of(manifest, 0.0)
    for value in values:
        made.outputs["y"].add(float(value))
        made.latency.add(0.002)
    made.requests, made.errors, made.ended = len(values) + errors, errors, ended
    return made.to_plain()


def test_a_window_says_how_the_slot_fares(fleet):
    pi = fleet.device("pi-1")
    manifest = watched()
    digest = fleet.bundle("watched", monitoring=manifest.monitoring, data=manifest.data)
    pi.runs(digest)
    pi.poll()
    draw = np.random.default_rng(0).uniform

    def say(sequence: int, values: np.ndarray, **more) -> dict:
        body = {"kind": "window", "slot": "double", "digest": digest, "window": window(manifest, values, **more)}
        send(fleet, report(sequence, body, priority="sketch"))
        return fleet.service.devices(None)["devices"][0]["slots"][0]

    well = say(1, draw(0, 1, 500), errors=2)
    assert (well["requests"], well["errors"], well["drifted"]) == (502, 2, [])
    assert well["p50"] == pytest.approx(0.002, rel=0.02) == well["p99"]
    assert say(2, draw(0.5, 1, 500))["drifted"] == ["outputs.y"]
    status = fleet.service.status()
    assert [(b["requests"], b["drifted"], b["judged"]) for b in status["bundles"]] == [(500, 1, 1)]
    # another bundle answers by now: the old one's figures are not its
    pi.runs("b" * 64)
    pi.poll()
    slot = fleet.service.devices(None)["devices"][0]["slots"][0]
    assert slot["requests"] is None and slot["drifted"] is None


def test_figures_of_a_bundle_that_is_not_here_and_of_nonsense(fleet):
    manifest = watched()
    body = {"kind": "window", "slot": "double", "digest": "c" * 64, "window": window(manifest, np.ones(3))}
    found = ingest.figures(body, lambda digest: None)
    assert found is not None and found.requests == 3 and not found.judged and found.drifted == ()
    for wrong in ({}, {"requests": -1}, {"requests": 2**70}, {"ended": None}, {"latency": {"buckets": [1]}}):
        broken = {**body, "window": {**body["window"], **wrong} if wrong else 7}
        assert ingest.figures(broken, lambda digest: None) is None
        assert ingest.figures(broken, lambda digest: manifest) is None
    pi = fleet.device("pi-1")
    pi.runs("c" * 64)
    pi.poll()
    assert send(fleet, report(1, {**body, "window": 7})) == {"boot-1": 1}, "kept, though it cannot be read"


def test_alarms_and_states_between_two_polls_are_seen(fleet):
    pi = fleet.device("pi-1")
    rollout = fleet.rollout(fleet.bundle("one"))
    number = pi.poll().job.job
    send(fleet, report(1, {"kind": "alarm", "slot": "double", "sentence": "it restarts"}),
         report(2, {"kind": "job", "job": number, "state": "VERIFYING", "detail": ""}),
         report(3, {"kind": "job", "job": number, "state": "no state", "detail": ""}),
         report(4, {"kind": "job", "job": "7-7", "state": "FAILED", "detail": ""}))  # fmt: skip
    assert [a["sentence"] for a in fleet.service.status()["alarms"]] == ["it restarts"]
    (job,) = fleet.service.rollout(rollout)["devices"]
    assert {e["state"] for e in job["events"]} == {"QUEUED", "VERIFYING"} and job["state"] == "QUEUED"


WRITER = """
import sys
from pathlib import Path
from edgekit.fleet.service import Service
from edgekit_runtime.agent import protocol as p
service = Service(Path(sys.argv[1]))
service.enroll(p.Enroll("pi-1", "0" * 64))
n = 0
while True:
    said = service.reports(p.Reports("pi-1", tuple(p.Report("b", n + i, "state", 0.0, {"n": n + i}) for i in range(1, 4))))
    n = said.acknowledged["b"]
    print(n, flush=True)
"""


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(tmp_path: Path):
    root, acknowledged = tmp_path / "fleet", 0
    for lines in (5, 12, 1):
        command = [sys.executable, "-c", WRITER, str(root)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for _ in range(lines):
                acknowledged = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            acknowledged = max([acknowledged, *(int(x) for x in process.stdout.read().split("\n")[:-1])])
        with sqlite3.connect(root / "fleet.db") as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            numbers = [n for (n,) in connection.execute("SELECT sequence FROM report ORDER BY sequence")]
            connection.execute("DELETE FROM report"), connection.execute("DELETE FROM high_water")
        assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= acknowledged
        acknowledged = 0
