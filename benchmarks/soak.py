"""Minutes of load on one server with a hot swap every few seconds: failed requests, memory, and what a swap costs.

python benchmarks/soak.py [--minutes 10] [--every 20] [--rate 100] [--connections 4]

Two bundles of one name take turns; each swap replaces the file by renaming and asks the server to load it. A request
counts to a swap where it was under way between the question and the moment when one process is left. Memory is the
proportional share (PSS) of the server and its processes together, read after each swap.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parent))

from serving import bundle, family, requests, wait_ready


@dataclass
class Found:
    """What a soak saw; times in seconds.

    Attributes:
        took: (begin, seconds) of each request that was answered.
        failed: What was wrong with the others.
        swaps: (begin, end) of each swap.
        memory: MiB after each swap.
    """

    took: list[tuple[float, float]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    swaps: list[tuple[float, float]] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    def split(self) -> tuple[list[float], list[float]]:
        """Seconds of requests in steady state, and of those that saw a swap."""
        steady: list[float] = []
        during: list[float] = []
        for begin, seconds in self.took:
            seen = any(begin < end and begin + seconds > start for start, end in self.swaps)
            (during if seen else steady).append(seconds)
        return steady, during


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)] if values else float("nan")


def memory(process: int) -> float:
    """MiB of a process and its children, shared pages counted in parts."""
    kilobytes = 0
    for one in family(process):
        with suppress(OSError):
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                kilobytes += int(line.split()[1]) if line.startswith("Pss:") else 0
    return kilobytes / 1024


def load(port: int, due: float, pace: float, end: threading.Event, found: Found) -> None:
    """Requests on one connection, the first at `due`, then one each `pace` seconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body, headers = requests()["binary"]
    while not end.is_set():
        end.wait(max(0.0, due - time.monotonic()))
        due = max(due + pace, time.monotonic())
        begin = time.monotonic()
        try:
            connection.request("POST", "/v2/models/sum/infer", body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except OSError as error:
            found.failed.append(repr(error))
            connection.close()
            continue
        if answer.status == 200:
            found.took.append((begin, time.monotonic() - begin))
        else:
            found.failed.append(f"{answer.status} {content[:200]!r}")
    connection.close()


def swap(port: int, process: int, path: Path, content: bytes, found: Found) -> None:
    """Replace the file, load it, and wait until one process is left."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.replace(path)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    begin = time.monotonic()
    connection.request("POST", "/v2/repository/models/sum/load", b"{}")
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    if answer.status != 200:
        found.failed.append(f"load: {answer.status} {said[:200]!r}")
    until = time.monotonic() + 30
    while len(family(process)) > 2 and time.monotonic() < until:
        time.sleep(0.005)
    found.swaps.append((begin, time.monotonic()))
    found.memory.append(memory(process))


def soak(seconds: float, every: float, rate: float, connections: int, options: tuple[str, ...] = ()) -> Found:
    """Run it; the first swap comes after `every` seconds."""
    found = Found()
    with tempfile.TemporaryDirectory() as folder:
        path = bundle(Path(folder))
        contents = [path.read_bytes(), bundle(Path(folder), note="the other one").read_bytes()]
        words = [sys.executable, "-m", "edgekit_runtime", "serve", str(path), "--json", "--port", "0", "--threads", "1"]
        server = subprocess.Popen([*words, *options], stdout=subprocess.PIPE, text=True)
        end = threading.Event()
        try:
            assert server.stdout is not None
            said: dict[str, Any] = json.loads(server.stdout.readline())
            port = int(said["listening"].rpartition(":")[2])
            wait_ready(port, server)
            begin = time.monotonic()
            threads = [
                threading.Thread(target=load, args=(port, begin + i / rate, connections / rate, end, found))
                for i in range(connections)
            ]
            for thread in threads:
                thread.start()
            turn = 0
            while (turn + 1) * every < seconds:
                time.sleep(max(0.0, begin + (turn + 1) * every - time.monotonic()))
                swap(port, server.pid, path, contents[turn % 2], found)
                turn += 1
            time.sleep(max(0.0, begin + seconds - time.monotonic()))
            end.set()
            for thread in threads:
                thread.join()
        finally:
            end.set()
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=20.0, help="seconds between swaps")
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second")
    parser.add_argument("--connections", type=int, default=4)
    options = parser.parse_args()
    found = soak(options.minutes * 60, options.every, options.rate, options.connections)
    steady, during = found.split()
    print(f"{len(found.took)} requests answered, {len(found.failed)} failed {found.failed[:3] or ''}")
    print(f"{len(found.swaps)} swaps, median {statistics.median(e - b for b, e in found.swaps):.2f} s")
    first, last = found.memory[: len(found.memory) // 3 or 1], found.memory[-(len(found.memory) // 3 or 1) :]
    print(
        f"PSS after a swap: median of the first third {statistics.median(first):.1f} MiB, of the last third "
        f"{statistics.median(last):.1f} MiB, most {max(found.memory):.1f} MiB"
    )
    for name, values in (("steady", steady), ("during a swap", during)):
        print(
            f"{name:<14} {len(values):>7} requests, p50 {percentile(values, 0.5) * 1000:.2f} ms, "
            f"p99 {percentile(values, 0.99) * 1000:.2f} ms, longest {max(values) * 1000:.1f} ms"
        )
    print(f"p99 during a swap / steady {percentile(during, 0.99) / percentile(steady, 0.99):.2f}")


if __name__ == "__main__":
    main()
