"""A real agent, a real serving process, and a server of the protocol's messages: what a bundle goes through."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit_runtime import Bundle
from edgekit_runtime.agent.protocol import Soak
from edgekit_runtime.agent.serving import Serving
from edgekit_runtime.agent.store import Store
from edgekit_runtime.bundle import write_bundle

from ..conftest import double_manifest
from .fleet import TOKEN, Fleet

pytest.importorskip("uvicorn", reason="needs the serve extra")

QUICK = Soak(seconds=0.1)


def bundle(folder: Path, note: str, scale: float = 2.0) -> tuple[bytes, str]:
    """(file, digest) of a bundle that differs from others by its note; at another scale than 2 it fails everywhere."""
    manifest, members = double_manifest(scale)
    path = folder / f"{note}.edgekit"
    digest = write_bundle(path, manifest.replace(notes=(note,)), members, overwrite=True)
    return path.read_bytes(), digest


class Board:
    """A device: an agent's process and its folder."""

    def __init__(self, root: Path, fleet: Fleet) -> None:
        self.root, self.fleet = root, fleet
        self.store = Store(root)
        self.serving = Serving(path=root / "agent" / "serve.sock")
        (root / "token").write_text(TOKEN)
        self.log = root / "log"
        self.start()

    def start(self, *more: str) -> None:
        command = [
            sys.executable,
            "-m",
            "edgekit_runtime",
            "agent",
            "--server",
            self.fleet.url,
            "--root",
            str(self.root),
        ]
        command += ["--token-file", str(self.root / "token"), "--name", "pi-1", "--group", "porch"]
        command += ["--allow-unsigned", "--poll-seconds", "0.1", *more]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, start_new_session=True)

    def kill(self) -> None:
        """As a power cut ends processes: all of them, at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self, number: str) -> str:
        """The state that a job ends in."""
        ended = ("SUCCEEDED", "FAILED", "ROLLED_BACK", "STRANDED", "TIMED_OUT", "REJECTED", "CANCELED")
        self.fleet.wait(lambda: self.fleet.state(number) in ended)
        return self.fleet.state(number)

    def answers(self) -> None:
        """Wait until the serving process is ready, as the next polls tell."""
        seen = len(self.fleet.polls)
        self.fleet.wait(lambda: any("double" in p.slots and p.slots["double"].ready for p in self.fleet.polls[seen:]))

    def runs(self) -> str:
        """Digest that the serving process says."""
        return self.serving.running()["double"].digest


@pytest.fixture
def board(tmp_path):
    from edgekit_runtime.backends import backend

    if not any(backend(name).version() for name in ("litert", "tflite", "onnx")):
        pytest.skip("needs an interpreter, and none is installed in this environment")
    fleet = Fleet()
    made = Board(tmp_path / "root", fleet)
    yield made
    made.process.terminate()
    assert made.process.wait(30) == 0
    fleet.close()


def test_from_nothing_to_a_bundle_that_answers_and_on_to_the_next(board, tmp_path):
    fleet = board.fleet
    content, first = bundle(tmp_path, "first")
    fleet.order("1", "double", content, first, soak=QUICK)
    assert board.end("1") == "SUCCEEDED", fleet.detail("1")
    assert board.runs() == first == board.store.slot("double").current
    fleet.wait(lambda: len(fleet.states("1")) == 6)
    assert fleet.states("1") == ["DOWNLOADING", "VERIFYING", "TESTING", "SWAPPING", "SOAKING", "SUCCEEDED"]
    assert stat.S_IMODE((board.root / "agent" / "secret").stat().st_mode) == 0o600

    content, second = bundle(tmp_path, "second")
    fleet.order("2", "double", content, second, soak=QUICK)
    assert board.end("2") == "SUCCEEDED", fleet.detail("2")
    assert board.runs() == second and board.store.slot("double").previous == first
    fleet.wait(lambda: fleet.polls[-1].slots.get("double") and fleet.polls[-1].slots["double"].previous == first)
    poll = fleet.polls[-1]
    assert poll.slots["double"].ready and poll.slots["double"].variant and poll.health.uptime > 0

    # what is not fit never answers, and what answered goes on
    content, wrong = bundle(tmp_path, "wrong", scale=3.0)
    fleet.order("3", "double", content, wrong, soak=QUICK)
    assert board.end("3") == "FAILED" and "self-test failed on this device" in fleet.detail("3")
    fleet.order("4", "double", content, wrong, sha256="0" * 64)
    assert board.end("4") == "REJECTED" and "its hash differs" in fleet.detail("4")
    fleet.order("5", "cats", content, wrong)
    assert board.end("5") == "REJECTED" and "for slot 'cats'" in fleet.detail("5")
    assert board.runs() == second == board.store.slot("double").current
    fleet.wait(lambda: fleet.states("5")[-1:] == ["REJECTED"])
    assert not board.store.has(wrong) and list((board.root / "agent").glob("[0-9a-f]*.part")) == []
    numbers = [n for _, n in sorted(fleet.reports)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "every report, once"


def test_an_agent_that_is_killed_at_any_state_goes_on(board, tmp_path):
    fleet = board.fleet
    content, old = bundle(tmp_path, "old")
    fleet.order("1", "double", content, old, soak=QUICK)
    assert board.end("1") == "SUCCEEDED", fleet.detail("1")
    for number, state in enumerate(("DOWNLOADING", "VERIFYING", "TESTING", "SWAPPING", "SOAKING"), 2):
        content, digest = bundle(tmp_path, state)
        job = fleet.order(str(number), "double", content, digest, soak=Soak(seconds=1.0))
        fleet.wait(lambda job=job, state=state: fleet.state(job.job) == state or fleet.state(job.job) == "SUCCEEDED")
        board.kill()
        slot = board.store.slot("double")
        with Bundle.open(board.store.path(slot.current)) as opened:
            opened.verify()  # whatever was cut off: what the slot points at is whole
        board.start()
        assert board.end(job.job) == "SUCCEEDED", fleet.detail(job.job)
        board.answers()
        assert board.runs() == digest


def children(process: int) -> list[int]:
    """Process numbers of a process's children."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process:
            found.append(int(folder.name))
    return found


def test_an_agent_that_is_killed_alone_takes_its_server_with_it(board, tmp_path):
    """Else two servers would hold every model, and nobody watch one of them."""
    fleet = board.fleet
    content, old = bundle(tmp_path, "old")
    fleet.order("1", "double", content, old, soak=QUICK)
    assert board.end("1") == "SUCCEEDED", fleet.detail("1")
    (server,) = children(board.process.pid)
    handle = os.pidfd_open(server)
    board.process.kill()
    board.process.wait()
    assert select.select([handle], [], [], 30)[0], "the server lives on"
    os.close(handle)
    board.start()
    board.answers()
    assert board.runs() == old and server not in children(board.process.pid)


def test_a_bundle_whose_process_dies_while_it_soaks_is_sent_back(board, tmp_path):
    fleet = board.fleet
    content, old = bundle(tmp_path, "old")
    fleet.order("1", "double", content, old, soak=QUICK)
    assert board.end("1") == "SUCCEEDED", fleet.detail("1")
    content, new = bundle(tmp_path, "new")
    fleet.order("2", "double", content, new, soak=Soak(seconds=3600.0))
    fleet.wait(lambda: fleet.state("2") == "SOAKING")
    fleet.wait(lambda: fleet.polls[-1].slots["double"].digest == new)
    (server,) = children(board.process.pid)
    for worker in children(server):
        os.kill(worker, signal.SIGKILL)
    assert board.end("2") == "ROLLED_BACK", fleet.detail("2")
    assert board.runs() == old == board.store.slot("double").current and fleet.detail("2")


def test_a_bundle_that_goes_bad_while_it_soaks_is_sent_back(board, tmp_path):
    """The server takes the job back, the surest of the reasons; the others are the machine's (test_machine)."""
    fleet = board.fleet
    content, old = bundle(tmp_path, "old")
    fleet.order("1", "double", content, old, soak=QUICK)
    assert board.end("1") == "SUCCEEDED"
    content, new = bundle(tmp_path, "new")
    fleet.order("2", "double", content, new, soak=Soak(seconds=3600.0))
    fleet.wait(lambda: fleet.state("2") == "SOAKING")
    assert board.runs() == new
    fleet.cancel = ("2",)
    assert board.end("2") == "CANCELED" and board.runs() == old
    assert board.store.slot("double").current == old


def test_a_bundle_to_go_back_to_that_is_broken_or_gone_is_passed_over(board, tmp_path):
    fleet = board.fleet
    digests = []
    for number in ("1", "2"):
        content, digest = bundle(tmp_path, number)
        digests.append(digest)
        fleet.order(number, "double", content, digest, soak=QUICK)
        assert board.end(number) == "SUCCEEDED", fleet.detail(number)
    first, second = digests

    def back(number: str, broken: str) -> tuple[str, str]:
        """Breaks a bundle while another soaks, which is then taken back: how that ended, and which it was."""
        content, digest = bundle(tmp_path, number)
        fleet.order(number, "double", content, digest, soak=Soak(seconds=3600.0))
        fleet.wait(lambda: fleet.state(number) == "SOAKING")
        path = board.store.path(broken)
        path.write_bytes(path.read_bytes()[:100])
        fleet.cancel = (number,)
        return board.end(number), digest

    # the bundle before is broken: the one before that answers
    assert back("3", second)[0] == "CANCELED", fleet.detail("3")
    assert board.runs() == first == board.store.slot("double").current
    assert f"bundle {second[:16]}: " in fleet.detail("3") and f"{first[:16]} runs" in fleet.detail("3")
    # there is none before that: the new one stays, by its own name
    state, kept = back("4", first)
    assert state == "STRANDED" and board.runs() == kept == board.store.slot("double").current
    assert f"bundle {first[:16]}: " in fleet.detail("4") and fleet.detail("4").endswith(f"{kept[:16]} runs on")
    # and the device takes orders again
    content, last = bundle(tmp_path, "5")
    fleet.order("5", "double", content, last, soak=QUICK)
    assert board.end("5") == "SUCCEEDED" and board.runs() == last, fleet.detail("5")


def test_requests_are_answered_while_bundles_change(board, tmp_path):
    """And what failed by the server's fault sends a bundle back."""
    fleet = board.fleet
    content, old = bundle(tmp_path, "old")
    fleet.order("1", "double", content, old, soak=Soak(seconds=0.1, min_requests=3))
    fleet.wait(lambda: fleet.state("1") == "SOAKING")
    body = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
    answers = [_ask(board, body) for _ in range(3)]
    assert all(np.allclose(a, [2, 4, 6, 8]) for a in answers)
    assert board.end("1") == "SUCCEEDED" and "3 requests, 0 failed" in fleet.detail("1")


def test_what_a_model_sees_reaches_the_server_from_a_port_of_its_own(board, tmp_path):
    fleet = board.fleet
    fleet.wait(lambda: fleet.polls)  # from then on it listens to signals
    board.process.terminate()
    assert board.process.wait(30) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    board.serving = Serving(port=port)
    board.start("--serve-port", str(port), "--window", "1")
    content, digest = bundle(tmp_path, "seen")
    fleet.order("1", "double", content, digest, soak=QUICK)
    assert board.end("1") == "SUCCEEDED", fleet.detail("1")
    assert board.runs() == digest
    body = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for _ in range(3):
        connection.request("POST", "/v2/models/double/infer", json.dumps(body))
        assert connection.getresponse().read()
    connection.close()

    def windows() -> list:
        return [r.body for r in fleet.reports.values() if r.body["kind"] == "window"]

    fleet.wait(lambda: sum(w["window"]["requests"] for w in windows()) == 3)
    assert {w["digest"] for w in windows()} == {digest} and {w["slot"] for w in windows()} == {"double"}


def _ask(board: Board, body: dict) -> list[float]:
    from edgekit_runtime.agent.serving import _UnixConnection

    connection = _UnixConnection(board.root / "agent" / "serve.sock", 10)
    connection.request("POST", "/v2/models/double/infer", json.dumps(body))
    said = json.loads(connection.getresponse().read())
    connection.close()
    return said["outputs"][0]["data"]


def agent(*words: str, **more) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgekit_runtime", "agent", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **more)


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["--server", "https://x", "--root", "r"], 2, "no key is pinned"),
        (["--server", "http://x.example", "--root", "r", "--allow-unsigned"], 2, "in the clear"),
        (["--server", "https://x", "--root", "r", "--key", "gone.pub"], 2, "cannot read the key gone.pub"),
        (["--server", "https://x", "--root", "r", "--allow-unsigned", "--name", "no spaces"], 2, "a device is called"),
        (["--server", "https://x", "--root", "/proc/r", "--allow-unsigned"], 1, "cannot make the store"),
        (
            ["--server", "https://x", "--root", "r", "--allow-unsigned", "--token-file", "gone"],
            2,
            "cannot read the token",
        ),
    ],
)
def test_what_an_agent_cannot_work_with_is_said_at_once(tmp_path, words, code, why):
    done = agent(*words, cwd=tmp_path)
    assert done.returncode == code and why in done.stderr and done.stderr.count("\n") == 1


def test_the_resident_process_needs_the_standard_library_alone():
    program = (
        "import sys, edgekit_runtime.agent.resident, edgekit_runtime.agent.command\n"
        "sys.exit(', '.join({'numpy', 'cryptography', 'uvicorn', 'cv2'} & set(sys.modules)) or 0)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
