"""The real agent with its real serving process, against the real server: a signed bundle there and back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgekit.signing import make_keys, sign
from edgekit_runtime.agent.serving import Serving
from edgekit_runtime.bundle import write_bundle

from ...runtime.conftest import double_manifest
from .test_server import Server


def until(condition: Callable[[], object], what: str) -> None:
    """Look until it is so."""
    end = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(0.1)


@pytest.fixture
def server(tmp_path):
    made = Server(tmp_path)
    yield made
    assert made.stop() == 0


@contextmanager
def running(server: Server, tmp_path: Path, **environment: str) -> Iterator[subprocess.Popen]:
    """A device called pi-1 in the group porch that trusts release.pub."""
    make_keys(tmp_path / "release")
    command = [sys.executable, "-m", "edgekit_runtime", "agent", "--server", server.url, "--root", str(tmp_path / "board"),
               "--token-file", str(server.data / "tokens/enrolment"), "--name", "pi-1", "--group", "porch",
               "--key", str(tmp_path / "release.pub"), "--poll-seconds", "0.2"]  # fmt: skip
    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen(command, stderr=log, start_new_session=True, env={**os.environ, **environment})
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        log.close()


@pytest.fixture
def agent(server, tmp_path):
    with running(server, tmp_path) as process:
        yield process


def test_a_signed_bundle_there_and_back_with_a_server_that_dies_in_between(server, agent, tmp_path):
    board = Serving(path=tmp_path / "board/agent/serve.sock")
    client = server.client()

    def make(note: str, scale: float = 2.0) -> Path:
        manifest, members = double_manifest(scale)
        write_bundle(tmp_path / f"{note}.edgekit", manifest.replace(notes=(note,)), members)
        return tmp_path / f"{note}.edgekit"

    def roll(path: Path, seconds: float = 0.2, **more) -> tuple[int, str]:
        digest = client.upload(path, **more)["digest"]
        settings = {"soak": {"seconds": seconds}}
        return client.call("POST", "/rollouts", {"digest": digest, "group": "porch", "settings": settings})[
            "rollout"
        ], digest

    def job(rollout: int) -> dict:
        return next(iter(client.call("GET", f"/rollouts/{rollout}")["devices"]), {})

    def comes_to(rollout: int, *states: str) -> None:
        log = tmp_path / "log"
        until(lambda: job(rollout).get("state") in states, lambda: f"{job(rollout)}\n{log.read_text()[-2000:]}")

    paths = {note: make(note) for note in ("old", "new")}
    for path in paths.values():
        sign(path, tmp_path / "release.key")
    first, old = roll(paths["old"])
    comes_to(first, "SUCCEEDED")
    assert board.running()["double"].digest == old

    second, new = roll(paths["new"], seconds=1.0)
    comes_to(second, "SWAPPING", "SOAKING", "SUCCEEDED")
    port = int(server.url.rpartition(":")[2])
    server.stop(signal.SIGKILL)
    server.start(port=port)
    client = server.client()
    comes_to(second, "SUCCEEDED")
    assert board.running()["double"].digest == new and job(second)["before"] == old
    until(lambda: len(job(second)["events"]) == 7, lambda: str(job(second)))
    states = [e["state"] for e in job(second)["events"]]
    assert states == ["QUEUED", "DOWNLOADING", "VERIFYING", "TESTING", "SWAPPING", "SOAKING", "SUCCEEDED"]

    undone = client.call("POST", f"/rollouts/{second}/undo")
    assert undone["going_back"] == ["pi-1"]
    comes_to(undone["rollout"], "SUCCEEDED")
    assert board.running()["double"].digest == old

    unsigned, _ = roll(make("unsigned"), allow_unsigned=True)
    comes_to(unsigned, "REJECTED")
    assert "not signed" in job(unsigned)["detail"]
    wrong = make("wrong", scale=3.0)
    sign(wrong, tmp_path / "release.key")
    failing, _ = roll(wrong)
    comes_to(failing, "FAILED")
    assert client.call("GET", f"/rollouts/{failing}")["state"] == "STOPPED"
    (device,) = client.call("GET", "/devices")["devices"]
    (slot,) = device["slots"]
    assert slot["digest"] == old == board.running()["double"].digest and slot["variant"]


_SLOW = """
#include <sys/syscall.h>
#include <unistd.h>
static int late(long call, int file) { usleep(200000); return syscall(call, file); }
int fsync(int file) { return late(SYS_fsync, file); }
int fdatasync(int file) { return late(SYS_fdatasync, file); }
"""


@pytest.mark.tool("gcc")
def test_a_disk_that_takes_its_time_costs_time_alone(server, tmp_path):
    (tmp_path / "slow.c").write_text(_SLOW)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", tmp_path / "slow.so", tmp_path / "slow.c"], check=True)
    client = server.client()
    with running(server, tmp_path, LD_PRELOAD=str(tmp_path / "slow.so")):
        manifest, members = double_manifest(2.0)
        write_bundle(tmp_path / "new.edgekit", manifest, members)
        sign(tmp_path / "new.edgekit", tmp_path / "release.key")
        digest = client.upload(tmp_path / "new.edgekit")["digest"]
        asked = {"digest": digest, "group": "porch", "settings": {"soak": {"seconds": 0.0}}}
        rollout = client.call("POST", "/rollouts", asked)["rollout"]

        def job() -> dict:
            return next(iter(client.call("GET", f"/rollouts/{rollout}")["devices"]), {})

        until(lambda: len(job().get("events", ())) == 7, lambda: f"{job()}\n{(tmp_path / 'log').read_text()[-2000:]}")
        assert job()["state"] == "SUCCEEDED"
        assert Serving(path=tmp_path / "board/agent/serve.sock").running()["double"].digest == digest
