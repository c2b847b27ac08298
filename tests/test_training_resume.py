"""kill -9 in the middle of training: the same plan goes on, and no epoch is lost or repeated but the running one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.runs import Log
from edgekit.training import TrainPlan
from edgekit_converters.train import TrainConfig

CHILD = """
import os, signal, sys
from pathlib import Path
from edgekit.training import TrainPlan, train
from edgekit_converters.train import Watch, checkpoint

plan, told, place, at = sys.argv[1:]
write = checkpoint.write

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Told(Watch):
    def epoch(self, number, of, metrics):
        with open(told, "a") as file:
            file.write(f"{number}\\n")
        if place == "told" and number == int(at):
            die()
        return True

def written(run, state):
    if place == "unsaved" and state.epoch == int(at):
        die()
    write(run, state)
    if place == "saved" and state.epoch == int(at):
        die()

checkpoint.write = written
train(TrainPlan.from_json(Path(plan).read_text()), watch=Told())
"""


def child(plan: TrainPlan, folder: Path, place: str, at: int) -> int:
    (folder / "plan.json").write_text(plan.to_json())
    words = [str(folder / "plan.json"), str(folder / "told"), place, str(at)]
    done = subprocess.run([sys.executable, "-c", CHILD, *words], capture_output=True, text=True, check=False,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    assert done.returncode in (0, -signal.SIGKILL), done.stderr[-3000:]
    return done.returncode


def told(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "told").read_text().split()]


def windows(path: Path) -> str:
    random = np.random.default_rng(0)
    kinds = random.integers(0, 2, 240)
    values = random.normal(size=(240, 16, 2)) + np.linspace(0, 2, 16)[None, :, None] * kinds[:, None, None]
    np.savez(path, x=values.astype(np.float32), y=kinds)
    return str(path)


def test_a_torch_run_that_is_killed_twice_ends_as_one_that_was_not(tmp_path):
    from safetensors.numpy import load_file

    config = TrainConfig("sensor", epochs=5, patience=0, batch=16)
    data, killed, whole = windows(tmp_path / "windows.npz"), tmp_path / "killed", tmp_path / "whole"
    plan = TrainPlan(data, config, str(killed))
    assert child(plan, tmp_path, "told", 2) == -signal.SIGKILL
    assert child(plan, tmp_path, "saved", 3) == -signal.SIGKILL
    assert not (killed / "result.json").exists()
    assert child(plan, tmp_path, "never", 0) == 0
    assert told(tmp_path) == [1, 2, 2, 3, 4, 5]  # the running one twice, none else
    assert [row["epoch"] for row in Log(killed / "log.csv").rows] == [1, 2, 3, 4, 5]
    assert not (killed / "checkpoint").exists()
    assert child(TrainPlan(data, config, str(whole)), tmp_path, "never", 0) == 0
    one, other = load_file(killed / "weights.safetensors"), load_file(whole / "weights.safetensors")
    for name, value in one.items():
        np.testing.assert_allclose(value, other[name], atol=1e-5, err_msg=name)


def test_a_keras_run_that_is_killed_goes_on_where_it_was(tmp_path):
    pytest.importorskip("tensorflow")
    random = np.random.default_rng(0)
    kinds = random.integers(0, 2, 80)
    pictures = random.integers(0, 90, (80, 32, 32, 3)) + kinds[:, None, None, None] * 120
    np.savez(tmp_path / "pictures.npz", x=pictures.astype(np.uint8), y=kinds)
    run = tmp_path / "run"
    config = TrainConfig(
        "image", "mobilenet_v1_025_128", weights="none", epochs=3, patience=0, options={"size": 32}
    )  # fmt: skip
    plan = TrainPlan(str(tmp_path / "pictures.npz"), config, str(run))
    assert child(plan, tmp_path, "unsaved", 2) == -signal.SIGKILL
    before = Log(run / "log.csv").rows
    assert child(plan, tmp_path, "never", 0) == 0
    assert told(tmp_path) == [1, 2, 2, 3]
    rows = Log(run / "log.csv").rows
    assert [row["epoch"] for row in rows] == [1, 2, 3] and rows[0] == before[0]
    result = json.loads((run / "result.json").read_text())
    assert result["epochs"] == 3 and result["model"] == "model.keras" and (run / "curves.png").stat().st_size > 1000
