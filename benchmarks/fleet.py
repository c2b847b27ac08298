"""Polls and reports per second that `edgekit fleet serve` answers, from simulated devices over HTTP on this machine.

python benchmarks/fleet.py [--devices 200] [--clients 8] [--seconds 5]

The server is the real one, as a process with its database on the disk of the temporary folder; each poll and each batch
of reports is one transaction with ``synchronous=FULL``. Every client is a thread with one kept-alive connection that
speaks for its share of the devices. Client and server share the processor.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

from edgekit_runtime.agent import protocol as p

BATCH = 50
HEALTH = p.Health(0.2, 0.4, 0.1, 55.0, False, 1e5)
RUNNING = {"digits": p.Running("a" * 64, "b" * 64, "int8 on litert 2.3.0", True)}


def main() -> None:
    """Time both calls."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "edgekit", "fleet", "serve", "--port", "0"]
        server = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
        try:
            url = server.stderr.readline().split()[3].rstrip(";")
            run(url, (Path(folder) / "edgekit-fleet/tokens/enrolment").read_text().strip(), options)
        finally:
            server.terminate()
            server.wait()


def run(url: str, token: str, options: argparse.Namespace) -> None:
    """Enrol everybody, then time polls, then reports."""
    names = [f"pi-{n}" for n in range(options.devices)]
    caller = Caller(url)
    for name in names:
        hashed = hashlib.sha256(name.encode()).hexdigest()
        caller.post("/api/v1/enroll", p.Enroll(name, hashed, ("all",)), token)
    shares = [names[n :: options.clients] for n in range(options.clients)]
    print(f"{options.devices} devices, {options.clients} connections")
    for path, messages, each, what in (
        ("/api/v1/poll", polls, 1, "polls"),
        ("/api/v1/reports", reports, BATCH, f"reports in batches of {BATCH}"),
    ):
        taken = timed(url, path, messages, shares, options.seconds)
        rate = each * len(taken) / options.seconds
        p99 = statistics.quantiles(taken, n=100)[98]
        print(
            f"{rate:8,.0f} {what} a second; a call takes {1e3 * statistics.median(taken):.1f} ms, p99 {1e3 * p99:.1f}"
        )


def timed(
    url: str, path: str, messages: Callable[[list[str]], Iterator[object]], shares: list[list[str]], seconds: float
) -> list[float]:
    """Durations of all calls within the time."""
    taken: list[float] = []
    end = time.perf_counter() + seconds

    def work(names: list[str]) -> None:
        caller = Caller(url)
        for message in messages(names):
            begun = time.perf_counter()
            if begun >= end:
                return
            caller.post(path, message, f"{message.device}:{message.device}")
            taken.append(time.perf_counter() - begun)

    threads = [threading.Thread(target=work, args=(names,)) for names in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


def polls(names: list[str]) -> Iterator[p.Poll]:
    """Polls of these devices, without end."""
    number = 0
    while True:
        number += 1
        for name in names:
            yield p.Poll(name, "boot", number, time.time(), RUNNING, (), HEALTH)


def reports(names: list[str]) -> Iterator[p.Reports]:
    """Batches of new reports of these devices, without end."""
    number = 0
    while True:
        numbers = range(number, number + BATCH)
        number += BATCH
        for name in names:
            made = (
                p.Report("boot", n, "state", 0.0, {"kind": "job", "job": "0-0", "state": "SOAKING"}) for n in numbers
            )
            yield p.Reports(name, tuple(made))


class Caller:
    """One kept-alive connection."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port)

    def post(self, path: str, message: object, authorization: str) -> dict:
        """Send a message; the answer must be a good one."""
        head = {"Authorization": f"Bearer {authorization}", "Content-Type": "application/json"}
        self._connection.request("POST", path, p.to_json(message), head)
        response = self._connection.getresponse()
        content = response.read()
        assert response.status == 200, content
        return json.loads(content)


if __name__ == "__main__":
    main()
