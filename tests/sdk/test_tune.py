"""A study: read strictly, exact in its number of trials over all workers, and none lost when a worker is killed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
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

from edgekit import ExportPlan, export
from edgekit.contract.tune import TunePlan, queue, read_plan, search, tune
from edgekit.contract.tune.objective import Bench, Outcome
from edgekit.contract.tune.space import grid_points
from edgekit.contract.tune.storage import open_storage, shown
from edgekit_converters.errors import ConversionError
from edgekit_runtime.errors import UsageError

from .conftest import edgekit
from .conftest import plan as plan_of_digits

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
    assert other.returncode == 2 and "with another seed" in other.stderr


def test_a_trial_that_fails_says_why_and_the_study_goes_on(folder, monkeypatch):
    monkeypatch.chdir(folder)
    study(folder)
    asked = read_plan("study.toml", sampler="grid")
    asked = TunePlan.from_data({**asked.to_data(), "space": {"quantize": ["fp32", "int8"]}})
    found = tune(asked)
    assert [t.state for t in found.trials] == ["complete", "failed"]
    assert "nothing to quantize" in found.trials[1].reason and len(found.front) == 1


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_the_front_of_three_objectives_holds_all_that_nothing_beats(sampler, tmp_path, monkeypatch):
    def made_up(self, params, folder, watch):
        """Larger is better, slower and larger; some cannot be made, and some take long for nothing."""
        share = params["calibration_samples"] / 100
        if params["calibration_samples"] % 7 == 0:
            raise ConversionError("it cannot be made", "take another")
        waste = params["quantize"] == "fp32"
        return Outcome((round(share**0.5, 3), 1 + share + waste, 1000 * share * (1 + waste)), {}, {})

    monkeypatch.setattr(Bench, "run", made_up)
    asked = plan(
        objectives=["accuracy", "latency", "size"], sampler=sampler, trials=24, output=str(tmp_path / "s"),
        space={"quantize": ["int8", "fp32"], "calibration_samples": {"low": 1, "high": 100}},
    )  # fmt: skip
    found = tune(asked)
    assert len(found.trials) == 24 and not found.waiting
    done = [t for t in found.trials if t.state == "complete"]
    assert all((t.state == "failed") == (t.params["calibration_samples"] % 7 == 0) for t in found.trials)

    def beaten(one):
        return any(
            o.values != one.values and o.values[0] >= one.values[0]
            and o.values[1] <= one.values[1] and o.values[2] <= one.values[2]
            for o in done
        )  # fmt: skip

    assert {t.number for t in found.front} == {t.number for t in done if not beaten(t)}
    accuracies = [t.values[0] for t in found.front]
    assert accuracies == sorted(accuracies, reverse=True)


def started(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "edgekit", "tune", "--config", "study.toml", *words]
    with (folder / f"said-{len(list(folder.glob('said-*')))}").open("wb") as said:
        return subprocess.Popen(command, cwd=folder, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)


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
    study(folder, trials=25)
    address = f"sqlite:///{folder / 'study/study.db'}"
    process = started(folder)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not ((folder / "study/study.db").exists() and len(finished(address)) >= 3):
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = finished(address)
    assert 3 <= len(before) < 25
    done = edgekit("tune", "--config", "study.toml", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["waiting"] == 0 and set(before) <= set(finished(address))
    check_whole(address, 25)


@pytest.fixture
def postgres():
    """A server of this test's own on a Unix socket; as root it runs as another user, which PostgreSQL insists on."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    initdb = programs[-1] / "initdb" if programs else Path(str(shutil.which("initdb"))).resolve()
    place = Path(tempfile.mkdtemp(prefix="edgekit-pg-"))  # pytest's folders are root's alone, and too deep for a socket
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


@pytest.mark.tool("psql")
def test_two_machines_share_a_study_in_postgresql_and_one_is_killed(folder, postgres):
    study(folder, trials=24)
    machines = [started(folder, "--storage", postgres, "-o", f"machine{i}") for i in range(2)]
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(finished(postgres)) < 4:
        assert all(m.poll() is None for m in machines)
    os.kill(machines[0].pid, signal.SIGKILL)
    machines[0].wait()
    assert machines[1].wait(timeout=200) == 0, "it also does what the other one held"
    check_whole(postgres, 24)
    for file in folder.rglob("*"):
        assert not file.is_file() or b"secret" not in file.read_bytes(), file


def test_workers_here_do_no_more_than_was_asked_for(folder):
    study(folder, trials=5)
    done = edgekit("tune", "--config", "study.toml", "--workers", "2", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["trials"]) == 5


TRAINING = """
name = "forest"
sampler = "{sampler}"
trials = {trials}
objectives = {objectives}

[train]
data = "t.csv"
label = "y"
config = {{task = "table", backbone = "random-forest"}}
{export}
[space]
"option.n_estimators" = {trees}
"option.max_depth" = [1, 4]
"""
PLANNED = ("accuracy", "size")


def test_a_trained_and_exported_forest_is_searched_for_accuracy_and_size_and_replayed(folder):
    (folder / "study.toml").write_text(TRAINING.format(
        sampler="grid", trials=20, objectives=list(PLANNED), trees="[2, 20]",
        export='[export]\ntarget = "generic-cpu"\nformat = "onnx"\ntrust = true',
    ))  # fmt: skip
    done = edgekit("tune", "--config", "study.toml", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [t["state"] for t in said["trials"]] == ["complete"] * 4 and said["waiting"] == 0
    values = {(t["params"]["option.n_estimators"], t["params"]["option.max_depth"]): t["values"]
              for t in said["trials"]}  # fmt: skip
    assert values[2, 1][1] < values[20, 4][1], "more and deeper trees are a larger file"
    front = [t["values"] for t in said["trials"] if t["best"]]
    assert not any(a[0] >= b[0] and a[1] <= b[1] and a != b for a in front for b in front)
    best = folder / "study/best"
    assert len({p.name[:4] for p in best.glob("0*.json")}) == len(front)
    replayed = edgekit("train", "--config", "study/best/train.json", "-o", "again", cwd=folder)
    assert replayed.returncode == 0, replayed.stderr
    exported = edgekit("export", "--config", "study/best/export.json", "-o", "a.edgekit", "--json", cwd=folder)
    assert exported.returncode == 0, exported.stderr
    first = next(t for t in said["trials"] if t["number"] == said["best"][0])
    assert json.loads(exported.stdout)["variants"][0]["bytes"] == first["values"][1]
    for name in ("history-accuracy", "history-size", "importance-size", "pareto"):
        assert (folder / f"study/{name}.png").read_bytes().startswith(b"\x89PNG"), name
    page = (folder / "study/study.html").read_text("utf-8")
    assert page.count("data:image/png;base64,") >= 4 and "option.max_depth" in page and "<script" not in page


def test_a_study_of_trainings_alone_ends_with_exit_1_where_every_trial_fails(folder):
    (folder / "study.toml").write_text(
        TRAINING.format(sampler="grid", trials=9, objectives=["accuracy"], trees="[-1, -2]", export="")
    )
    done = edgekit("tune", "--config", "study.toml", cwd=folder)
    assert done.returncode == 1, done.stderr
    assert "every trial failed" in done.stderr and "n_estimators" in done.stderr and "Traceback" not in done.stderr
    assert (folder / "study/study.html").is_file()


def test_a_training_below_the_median_of_the_others_is_ended_early(folder, monkeypatch):
    monkeypatch.chdir(folder)
    space = {"option.max_iter": [300, 301, 302, 303, 304, 1]}
    asked = TunePlan.from_data({
        "train": {"data": "t.csv", "label": "y", "config": {"task": "table", "backbone": "logistic"}},
        "space": space, "sampler": "grid",
    })  # fmt: skip
    found = tune(asked)
    assert [t.state for t in found.trials] == ["complete"] * 5 + ["pruned"]
    assert found.front[0].number < 5


@pytest.mark.parametrize("asked", ["train", "passes"])
def test_settings_that_stay_are_read_strictly_too(asked):
    given = {"train": {"train": {"dat": "t.csv"}}, "passes": {"export": {"model": "m", "passes": {"methd": "mse"}}}}
    with pytest.raises(UsageError, match="did you mean (data|method)"):
        plan(**given[asked])


def test_ctrl_c_leaves_a_study_that_goes_on(folder):
    study(folder, trials=16)
    process = started(folder)
    address = f"sqlite:///{folder / 'study/study.db'}"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not ((folder / "study/study.db").exists() and len(finished(address)) >= 2):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert edgekit("tune", "--config", "study.toml", cwd=folder).returncode == 0
    check_whole(address, 16)


def held(folder: Path, monkeypatch) -> tuple[TunePlan, optuna.Study, object]:
    """A study whose first trial a worker on another machine holds."""
    monkeypatch.setattr(queue, "identity", lambda: "another-machine:1:1")
    asked = plan(trials=1)
    opened = open_storage(f"sqlite:///{folder / 'study.db'}")
    found = search._study(asked, opened)
    queue.fill(found, opened, asked)
    assert queue.take(found, opened) is not None
    return asked, found, opened


def test_a_trial_of_another_machine_is_put_in_line_again_only_without_signs_of_life(tmp_path, monkeypatch):
    asked, found, opened = held(tmp_path, monkeypatch)
    queue.fill(found, opened, asked)
    assert [t.state.name for t in found.trials] == ["RUNNING"]
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db")) as database, database:
        database.execute("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'")
    queue.fill(found, opened, asked)
    queue.fill(found, opened, asked)
    assert [t.state.name for t in found.trials] == ["FAIL", "WAITING"]
    assert not queue.counts(found.trials[0]) and found.trials[1].user_attrs["slot"] == 0


def test_a_trial_that_kills_its_workers_counts_as_failed_after_three(tmp_path, monkeypatch):
    asked, found, opened = held(tmp_path, monkeypatch)
    for _ in range(queue.MOST):
        running = next(t for t in found.trials if t.state.name == "RUNNING")
        queue.lose(opened, running._trial_id, "its worker died")
        queue.fill(found, opened, asked)
        queue.take(found, opened)
    assert [t.state.name for t in found.trials] == ["FAIL"] * queue.MOST
    (row,) = search.finish(TunePlan.from_data({**asked.to_data(), "output": str(tmp_path)}), found).trials
    assert row.state == "failed" and row.reason == "its worker died"


def test_settings_of_a_pass_are_searched_by_accuracy_and_latency_and_replayed(
    digits_onnx, trained, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    base = json.loads(plan_of_digits(trained, tmp_path / "a.edgekit", model=str(digits_onnx), format="onnx").to_json())
    base.pop("output", None)
    found = tune(TunePlan.from_data({
        "export": {**base, "calibration_samples": 40}, "objectives": ["accuracy", "latency"], "sampler": "grid",
        "space": {"quantize": ["int8", "fp32"], "method": ["minmax", "mse"]},
    }))  # fmt: skip
    assert [t.state for t in found.trials] == ["complete"] * 4, [t.reason for t in found.trials]
    recipes = {(t.params["quantize"], t.params["method"]): t.facts["recipe"] for t in found.trials}
    assert recipes["int8", "mse"][0]["method"] == "mse" and recipes["fp32", "mse"] == []
    assert all(t.values[0] > 0.8 and t.values[1] > 0 and t.facts["latency_ms"] > 0 for t in found.trials)
    name = f"{found.front[0].number:04d}-export.json"
    asked = ExportPlan.from_json((tmp_path / "study/best" / name).read_text(), output="a.edgekit")
    made = export(asked)
    assert [dict(step) for step in made.manifest.variants[0].recipe] == found.front[0].facts["recipe"]
    assert made.variants[0].bytes == found.front[0].facts["bytes"]


def test_an_export_plan_tells_the_pass_its_settings(digits_onnx, trained, tmp_path):
    asked = plan_of_digits(trained, tmp_path / "a.edgekit", model=str(digits_onnx), format="onnx", quantize="int8",
                           passes={"method": "mse"})  # fmt: skip
    again = ExportPlan.from_json(asked.to_json())
    assert again == asked
    assert export(again).manifest.variants[0].recipe[0]["method"] == "mse"
