"""A study: read strictly, exact in its number of trials over all workers, and none lost when a worker is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import joblib
import optuna
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from edgekit.contract.tune import TunePlan, read_plan, tune
from edgekit.contract.tune.space import grid_points
from edgekit.contract.tune.storage import open_storage, shown
from edgekit_runtime.errors import UsageError

from .conftest import edgekit

STUDY = """
objectives = ["accuracy", "size"]
sampler = "{sampler}"
trials = {trials}

[export]
model = "m.joblib"
target = "generic-cpu"
data = "t.csv"
label = "y"
format = "onnx"
trust = true

[space]
calibration_samples = {{low = 1, high = 100}}
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """A model and its table."""
    x, y = load_iris(return_X_y=True)
    joblib.dump(LogisticRegression(max_iter=500).fit(x, y), tmp_path / "m.joblib")
    (tmp_path / "t.csv").write_text("a,b,c,d,y\n" + "\n".join(",".join(map(str, [*r, k])) for r, k in zip(x, y)))
    return tmp_path


def study(folder: Path, sampler: str = "random", trials: int = 6) -> Path:
    (folder / "study.toml").write_text(STUDY.format(sampler=sampler, trials=trials))
    return folder / "study.toml"


def plan(**changes) -> TunePlan:
    return TunePlan.from_data({"space": {"quantize": ["int8", "fp32"]}, "export": {"model": "m"}, **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"space": {"quantise": ["int8"]}}, "did you mean quantize"),
        ({"space": {"percentil": [99.0]}}, "did you mean percentile"),
        ({"space": {"rate": [0.1]}}, "no parameter 'rate'"),
        ({"space": {}}, "is empty"),
        ({"space": {"quantize": "int8"}}, "is one value"),
        ({"space": {"quantize": ["int8", "int8"]}}, "there twice"),
        ({"space": {"percentile": {"low": 99.9, "high": 99.0}}}, "low < high"),
        ({"space": {"percentile": {"low": 1, "high": 2, "logs": True}}}, "did you mean log"),
        ({"space": {"percentile": {"low": 0, "high": 2, "log": True}}}, "cannot be so"),
        ({"sampler": "tpee"}, "did you mean tpe"),
        ({"objectives": ["acuracy"]}, "did you mean accuracy"),
        ({"objectives": []}, "needs objectives"),
        ({"trails": 3}, "did you mean trials"),
        ({"trials": 0}, "at least 1"),
        ({"export": {"modle": "m"}}, "did you mean model"),
        ({"export": {}}, "nothing to try"),
    ],
)
def test_what_is_misspelt_is_refused_with_the_nearest_name(changes, said):
    with pytest.raises(UsageError) as raised:
        plan(**changes)
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_a_grid_is_every_combination_and_lists_are_choices_too():
    space = plan(
        space={"exclude": [[], ["a"]], "calibration_samples": {"low": 10, "high": 30, "step": 10}}
    ).parameters()
    points = list(grid_points(space))
    assert len(points) == 6 and {p["calibration_samples"] for p in points} == {10, 20, 30}
    with pytest.raises(UsageError, match="a grid needs a list"):
        list(grid_points(plan(space={"percentile": {"low": 99.0, "high": 99.9}}).parameters()))


def test_a_password_is_never_shown():
    assert "secret" not in shown("postgresql://me:secret@host/db") and "me" in shown("postgresql://me:secret@host/db")
    for wrong in ("postgresql://me:secret@127.0.0.1:1/db", "mysql://me:secret@host/db", "me:secret"):
        with pytest.raises(Exception, match="storage") as raised:
            open_storage(wrong)
        assert "secret" not in str(raised.value)


def test_a_study_is_made_gone_on_with_and_replayed(folder):
    study(folder, trials=3)
    done = edgekit("tune", "--config", "study.toml", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [t["state"] for t in said["trials"]] == ["complete"] * 3 and said["best"]
    more = json.loads(edgekit("tune", "--config", "study.toml", "--trials", "5", "--json", cwd=folder).stdout)
    assert more["trials"][:3] != [] and len(more["trials"]) == 5
    assert [t["params"] for t in more["trials"][:3]] == [t["params"] for t in said["trials"]]
    replayed = edgekit("export", "--config", "study/best/export.json", "-o", "a.edgekit", cwd=folder)
    assert replayed.returncode == 0, replayed.stderr
    other = edgekit("tune", "--config", "study.toml", "--seed", "7", cwd=folder)
    assert other.returncode == 2 and "is another one" in other.stderr


def test_a_trial_that_fails_says_why_and_the_study_goes_on(folder, monkeypatch):
    monkeypatch.chdir(folder)
    study(folder)
    asked = read_plan("study.toml", sampler="grid")
    asked = TunePlan.from_data({**asked.to_data(), "space": {"quantize": ["fp32", "int8"]}})
    found = tune(asked)
    assert [t.state for t in found.trials] == ["complete", "failed"]
    assert "quantizer failed" in found.trials[1].reason and len(found.front) == 1


def started(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "edgekit", "tune", "--config", "study.toml", *words]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                            start_new_session=True)  # fmt: skip


def finished(address: str) -> list[int]:
    """Numbers of the complete trials."""
    try:
        found = optuna.load_study(study_name="study", storage=open_storage(address))
    except KeyError:
        return []
    return [t.number for t in found.get_trials(states=(optuna.trial.TrialState.COMPLETE,))]


def check_whole(address: str, trials: int) -> None:
    """Every slot of the study is complete exactly once."""
    found = optuna.load_study(study_name="study", storage=open_storage(address))
    done = [t.user_attrs["slot"] for t in found.trials if t.state == optuna.trial.TrialState.COMPLETE]
    assert sorted(done) == list(range(trials))
    assert all("lost" in t.user_attrs for t in found.trials if t.state == optuna.trial.TrialState.FAIL)


def test_a_killed_study_loses_and_repeats_nothing(folder):
    study(folder, trials=60)
    address = f"sqlite:///{folder / 'study/study.db'}"
    process = started(folder)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not ((folder / "study/study.db").exists() and len(finished(address)) >= 3):
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = finished(address)
    assert 3 <= len(before) < 60
    done = edgekit("tune", "--config", "study.toml", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["waiting"] == 0 and set(before) <= set(finished(address))
    check_whole(address, 60)


@pytest.fixture
def postgres(tmp_path):
    """A server of this test's own on a Unix socket; as root it runs as another user, which PostgreSQL insists on."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    initdb = programs[-1] / "initdb" if programs else Path(str(shutil.which("initdb"))).resolve()
    place = Path(tempfile.gettempdir()) / f"edgekit-pg-{os.getpid()}"  # a socket's path is short
    place.mkdir(mode=0o700)
    user: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(place, "nobody")
        user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
    control = [*user, str(initdb.parent / "pg_ctl"), "-D", str(place / "data"), "-w"]
    try:
        subprocess.run(
            [*user, str(initdb), "-D", str(place / "data"), "-U", "edgekit", "-A", "trust", "-N"], **quiet, check=True
        )
        options = f"-c listen_addresses='' -c unix_socket_directories='{place}' -c fsync=off"
        subprocess.run([*control, "-l", str(place / "log"), "-o", options, "start"], **quiet, check=True)
        try:
            yield f"postgresql://edgekit:secret@/postgres?host={place}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **quiet, check=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)


@pytest.mark.tool("initdb")
def test_two_machines_share_a_study_in_postgresql_and_one_is_killed(folder, postgres):
    study(folder, trials=40)
    machines = [started(folder, "--storage", postgres, "-o", f"machine{i}") for i in range(2)]
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(finished(postgres)) < 4:
        assert all(m.poll() is None for m in machines)
    os.kill(machines[0].pid, signal.SIGKILL)
    machines[0].wait()
    assert machines[1].wait(timeout=200) == 0, "it also does what the other one held"
    check_whole(postgres, 40)
    for file in folder.rglob("*"):
        assert not file.is_file() or b"secret" not in file.read_bytes(), file


def test_workers_here_do_no_more_than_was_asked_for(folder):
    study(folder, trials=5)
    done = edgekit("tune", "--config", "study.toml", "--workers", "2", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["trials"]) == 5
