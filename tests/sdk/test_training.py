"""The frame of training: plans, run folders, what is refused before any work."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from edgekit import ExportPlan
from edgekit.cli.app import app
from edgekit.errors import DataError
from edgekit.runs import CONFIG, LABELS, RESULT, SPECIFICATION, Log, curves, of_run
from edgekit.training import TrainPlan, train
from edgekit_converters.errors import TrainingError
from edgekit_converters.train import TrainConfig, tasks, trainer_for
from edgekit_runtime.errors import UsageError


def archive(path, labels, shape=(8, 2), **more):
    """A data set of windows with one label a row; rows of a class are alike and no two are equal."""
    labels = np.asarray(labels)
    noise = np.random.default_rng(0).normal(size=(len(labels), *shape)).astype(np.float32)
    ramp = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None]
    np.savez(path, x=noise * 0.3 + ramp * labels.astype(np.float32)[:, None, None], y=labels, **more)
    return str(path)


def test_a_plan_survives_being_written_and_names_what_it_does_not_know():
    plan = TrainPlan("data", TrainConfig("sensor", epochs=3, devices=2, options={"size": 32}), output="run")
    assert TrainPlan.from_json(plan.to_json()) == plan
    for text in ('{"data": "d", "config": {"task": "image", "epoch": 3}}', '{"dta": 1}', "[]", "{"):
        with pytest.raises(UsageError):
            TrainPlan.from_json(text)


@pytest.mark.parametrize(
    "setting",
    [{"epochs": 0}, {"batch": 0}, {"rate": 0.0}, {"fine_rate": float("nan")}, {"framework": "jax"}, {"seed": -1}],
)
def test_settings_that_make_no_sense_are_refused(setting):
    with pytest.raises(UsageError):
        TrainConfig("image", **setting)


def test_options_are_those_of_the_task_and_of_their_type():
    config = TrainConfig("sensor", options={"window": 3})
    assert config.option("window", 1.5) == 3.0
    with pytest.raises(UsageError, match="not like"):
        config.option("window", "wide")
    with pytest.raises(UsageError, match=r"no option 'window'.*width"):
        config.check_options("width")


def test_there_is_a_trainer_for_every_task_and_no_other():
    assert {"image", "audio", "sensor", "detection", "text", "table"} <= set(tasks())
    with pytest.raises(UsageError, match="no task 'video'"):
        trainer_for("video")


def test_the_log_holds_each_epoch_once_however_often_a_run_is_cut_off(tmp_path):
    log = Log(tmp_path / "log.csv")
    for epoch in (1, 2, 3):
        log.add(epoch, {"loss": 1 / epoch, "val_loss": 2 / epoch})
    again = Log(tmp_path / "log.csv")
    again.add(3, {"loss": 0.25, "val_loss": 0.5, "val_accuracy": 0.75})
    text = (tmp_path / "log.csv").read_text().splitlines()
    assert text[0] == "epoch,loss,val_loss,val_accuracy"
    assert [line.split(",")[0] for line in text[1:]] == ["1", "2", "3"] and text[3] == "3,0.25,0.5,0.75"
    assert curves(again.rows)["loss"]["validation"] == [(1, 2.0), (2, 1.0), (3, 0.5)]
    (tmp_path / "log.csv").write_text("epoch,loss\n1,many\n")
    with pytest.raises(DataError, match="not a training log"):
        Log(tmp_path / "log.csv")


def test_export_takes_a_run_folder_and_what_is_said_besides_stands(tmp_path):
    run = tmp_path / "clothes"
    run.mkdir()
    plan = ExportPlan(str(run), "pi5")
    assert of_run(plan) == plan  # an unfinished run is no run
    for name in (CONFIG, LABELS, SPECIFICATION):
        (run / name).write_text("{}")
    (run / RESULT).write_text(json.dumps({"model": "model.keras"}))
    found = of_run(plan)
    assert (found.model, found.preprocess) == (f"{run}/model.keras", f"{run}/{SPECIFICATION}")
    assert (found.output, found.labels) == ("clothes-pi5.edgekit", f"{run}/{LABELS}")
    assert of_run(ExportPlan(str(run), "pi5", preprocess="0..1", output="o")).preprocess == "0..1"


@pytest.mark.parametrize("model", ["../other.keras", "/etc/hostname", "inside/../../other.keras", 3, None])
def test_a_run_names_no_model_outside_of_itself(tmp_path, model):
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "other.keras").write_bytes(b"")
    (run / CONFIG).write_text("{}")
    (run / RESULT).write_text(json.dumps({"model": model}))
    with pytest.raises(DataError, match="result.json"):
        of_run(ExportPlan(str(run), "pi5"))


def test_a_run_whose_model_is_a_link_to_somewhere_else_is_refused(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / CONFIG).write_text("{}")
    (tmp_path / "other.keras").write_bytes(b"")
    (run / "model.keras").symlink_to(tmp_path / "other.keras")
    (run / RESULT).write_text('{"model": "model.keras"}')
    with pytest.raises(DataError, match="result.json"):
        of_run(ExportPlan(str(run), "pi5"))


def test_what_cannot_be_learnt_is_said_before_any_work(tmp_path):
    config = TrainConfig("sensor", epochs=1)
    data = archive(tmp_path / "one.npz", np.zeros(40, int))
    with pytest.raises(TrainingError, match="every training sample is of class '0'"):
        train(TrainPlan(data, config, str(tmp_path / "a")))
    np.save(tmp_path / "none.npy", np.zeros((20, 8, 2), np.float32))
    with pytest.raises(TrainingError, match="no labels"):
        train(TrainPlan(str(tmp_path / "none.npy"), config, str(tmp_path / "b")))
    rows = np.random.default_rng(1).normal(size=(12, 8, 2)).astype(np.float32)
    np.savez(tmp_path / "unseen.npz", x_train=rows[:8], y_train=np.array([0, 1] * 4), x_test=rows[8:],
             y_test=np.array([0, 1, 2, 2]))  # fmt: skip
    with pytest.raises(DataError, match="nothing can be learnt of 2"):
        train(TrainPlan(str(tmp_path / "unseen.npz"), config, str(tmp_path / "c")))
    with pytest.raises(TrainingError, match="--task image learns"):
        train(TrainPlan(archive(tmp_path / "two.npz", [0, 1] * 20), TrainConfig("image"), str(tmp_path / "d")))


def test_a_folder_that_is_somebody_elses_is_left_alone(tmp_path):
    data = archive(tmp_path / "two.npz", [0, 1] * 20)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="no training made"):
            train(TrainPlan(data, TrainConfig("sensor"), str(mine), overwrite=overwrite))
    assert (mine / "thesis.txt").read_text() == "mine"
    with pytest.raises(UsageError, match="is a file"):
        train(TrainPlan(data, TrainConfig("sensor"), data))


def test_the_command_prints_its_plan_and_replays_it(tmp_path):
    options = [
        "--task",
        "sensor",
        "--data",
        "d",
        "--epochs",
        "3",
        "--option",
        "channels=8",
        "--devices",
        "2",
        "--no-augment",
    ]
    said = CliRunner().invoke(app, ["train", *options, "--dry-run"])
    assert said.exit_code == 0
    plan = json.loads(said.stdout)
    assert plan == {"data": "d", "config": {"task": "sensor", "epochs": 3, "devices": 2, "augment": False,
                                            "options": {"channels": 8}}}  # fmt: skip
    (tmp_path / "plan.json").write_text(said.stdout)
    again = CliRunner().invoke(app, ["train", "--config", str(tmp_path / "plan.json"), "--seed", "4", "--dry-run"])
    assert json.loads(again.stdout)["config"] == {**plan["config"], "seed": 4}
    listed = CliRunner().invoke(app, ["train", "--task", "image", "--backbone", "list"])
    assert listed.exit_code == 0 and "mobilenet_v2" in listed.stdout and "shufflenet_v2" in listed.stdout
    for wrong in (["--data", "d"], ["--task", "sensor"], [*options, "--option", "channels"]):
        assert isinstance(CliRunner().invoke(app, ["train", *wrong]).exception, UsageError)
