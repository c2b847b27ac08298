"""Memory of the agent's resident process: resident and private, with its server process apart.

python benchmarks/agent.py [--seconds 20]

The agent polls a stand-in server of the protocol's messages (`tests/runtime/agent/fleet.py`) every 0.2 s, so that some
seconds are an hour of a board's polls; it has taken in one bundle, and its serving process is not counted.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))


def memory(pid: int) -> dict[str, float]:
    """MiB by name, from smaps_rollup."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    found = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.endswith("kB")}
    return {"RSS": found["Rss"], "PSS": found["Pss"], "private": found["Private_Clean"] + found["Private_Dirty"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    seconds = parser.parse_args().seconds
    fleet_module = importlib.import_module("tests.runtime.agent.fleet")
    tests = importlib.import_module("tests.runtime.agent.test_agent")
    bare = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with tempfile.TemporaryDirectory() as folder:
        fleet = fleet_module.Fleet()
        board = tests.Board(Path(folder) / "root", fleet)
        content, digest = tests.bundle(Path(folder), "first")
        fleet.order("1", "double", content, digest, soak=tests.QUICK)
        state = board.end("1")
        begin, polls = memory(board.process.pid), len(fleet.polls)
        time.sleep(seconds)
        end = memory(board.process.pid)
        python = memory(bare.pid)
        board.process.terminate()
        board.process.wait()
        print(f"job {state}; {len(fleet.polls) - polls} polls in {seconds:g} s")
        fleet.close()
    bare.communicate(b"\n")
    for name, figures in (("bare Python", python), ("agent, bundle just taken in", begin), ("agent, at the end", end)):
        print(f"{name}: " + ", ".join(f"{k} {v:.1f} MiB" for k, v in figures.items()))


if __name__ == "__main__":
    main()
