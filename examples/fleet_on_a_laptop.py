"""Three boards and a fleet server on one laptop, each a process: a signed bundle to all of them, a newer one, and back.

python examples/fleet_on_a_laptop.py FOLDER
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgekit import ExportPlan, export
from edgekit.demo import NETWORK, digits, train
from edgekit_runtime.agent.protocol import ENDED

EDGEKIT = (sys.executable, "-m", "edgekit")
RUNTIME = (sys.executable, "-m", "edgekit_runtime")
BOARDS = ("porch-1", "porch-2", "attic-1")


def printed(*words: str | Path) -> str:
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return done.stdout


@contextmanager
def running(log: Path, *words: str | Path) -> Iterator[None]:
    """A process that is told to stop at the end."""
    with log.open("w") as out:
        process = subprocess.Popen([str(w) for w in words], stdout=out, stderr=out)
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def waited(*words: str | Path, seconds: float = 180) -> str:
    """What a command says once it works."""
    end = time.monotonic() + seconds
    while True:
        done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout
        if time.monotonic() > end:
            sys.exit(done.stdout + done.stderr)
        time.sleep(0.5)


def asked(data: Path, *words: str | Path) -> dict[str, Any]:
    """What `edgekit fleet` says to a program."""
    said: dict[str, Any] = json.loads(printed(*EDGEKIT, "fleet", *words, "--json", "--data", data))
    return said


def over(data: Path, rollout: str) -> dict[str, str]:
    """Each board's end of a rollout."""
    while True:
        ends = {d["device"]: d["state"] for d in asked(data, "rollout", "status", rollout)["devices"]}
        if len(ends) == len(BOARDS) and all(state in ENDED for state in ends.values()):
            return ends
        time.sleep(0.5)


def bundles(folder: Path) -> list[Path]:
    """The digits in float, then in int8; both signed."""
    (folder / "network.py").write_text(NETWORK)
    arrays = digits()
    np.savez(folder / "digits.npz", **arrays)
    train(arrays, folder / "network.py", folder / "digits.safetensors", lambda _done, _total: None)
    printed(*EDGEKIT, "bundle", "keygen", folder / "release")
    made = []
    for precision in ("fp32", "int8"):
        plan = ExportPlan(
            model=f"{folder}/network.py:network",
            weights=f"{folder}/digits.safetensors",
            input_shape=(-1, 1, 32, 32),
            target="pi5",
            quantize=precision,
            data=f"{folder}/digits.npz",
            preprocess="0..1",
            output=f"{folder}/{precision}.edgekit",
        )
        made.append(export(plan).bundle)
        printed(*EDGEKIT, "bundle", "sign", made[-1], "--key", folder / "release.key")
    return made


def main(folder: Path) -> None:
    first, second = bundles(folder)
    data = folder / "fleet"
    fleet = (*EDGEKIT, "fleet")
    with running(folder / "fleet.log", *fleet, "serve", "--port", "0", "--data", data, "--poll-seconds", "1"):
        waited(*fleet, "status", "--data", data)
        server = json.loads((data / "server.json").read_text())["url"]
        agents = [
            running(
                folder / f"{name}.log", *RUNTIME, "agent", "--server", server, "--name", name, "--group", "house",
                "--root", folder / name, "--token-file", data / "tokens/enrolment", "--key", folder / "release.pub",
            )
            for name in BOARDS
        ]  # fmt: skip
        with agents[0], agents[1], agents[2]:
            for bundle in (first, second):
                made = asked(data, "rollout", "create", bundle, "--group", "house", "--soak", "1")
                print(f"{bundle.name}: {over(data, str(made['rollout']))}")
            print(printed(*fleet, "devices", "--data", data))
            back = asked(data, "rollout", "undo", str(made["rollout"]))
            print(f"and back: {over(data, str(back['rollout']))}")
            print(printed(*fleet, "devices", "--data", data))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
