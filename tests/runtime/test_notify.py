"""What systemd hears, on a socket as it makes one."""

from __future__ import annotations

import os
import socket

import pytest

from edgekit_runtime import notify


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path, monkeypatch):
    address = str(tmp_path / "notify") if request.param == "path" else f"\0edgekit-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(address)
        ear.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", address.replace("\0", "@"))
        yield lambda: ear.recv(4096).decode()


def test_systemd_hears_what_is_said(systemd):
    notify.ready()
    assert systemd() == "READY=1"
    notify.status("job 1:\nSOAKING")
    assert systemd() == "STATUS=job 1: SOAKING"
    notify.watchdog()
    notify.stopping()
    assert [systemd(), systemd()] == ["WATCHDOG=1", "STOPPING=1"]


def test_a_manager_that_does_not_read_holds_nobody_up(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        for _ in range(10_000):
            notify.watchdog()


@pytest.mark.parametrize("address", [None, "", "relative", "/nowhere/at/all", "/" + "x" * 300])
def test_without_systemd_nothing_happens(monkeypatch, address):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify.ready()
    notify.watchdog()


def test_the_watchdog_s_time_is_this_process_s_alone(monkeypatch):
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    assert notify.watchdog_seconds() is None
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    assert notify.watchdog_seconds() == 10.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert notify.watchdog_seconds() is None
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert notify.watchdog_seconds() == 10.0
    monkeypatch.setenv("WATCHDOG_USEC", "soon")
    assert notify.watchdog_seconds() is None
