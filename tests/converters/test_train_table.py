"""Classic models on tables: what comes out is what export takes, and what cannot be learnt from is said."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from edgekit import ExportPlan, Runtime, export
from edgekit.runs import LABELS
from edgekit.training import TrainPlan, train
from edgekit_converters.errors import TrainingError
from edgekit_converters.train import TrainConfig
from edgekit_converters.train.table import interval
from edgekit_converters.train.table_models import BACKBONES
from edgekit_runtime.errors import EdgekitError, UsageError

WORDS = ("red", "green", "blue")


def table(path: Path, rows: int = 240, words: bool = True, gaps: bool = True, numbers: bool = False) -> str:
    """Machines that wear out when they are hot or blue; some readings are missing."""
    random = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["machine", "heat", "hum", *(["colour"] if words else []), "state"])
        for row in range(rows):
            heat, hum, colour = random.normal(), random.normal(), WORDS[random.integers(3)]
            worn = heat + (1.5 if colour == "blue" and words else 0) + 0.1 * random.normal()
            state = f"{worn:.4f}" if numbers else "worn" if worn > 0.5 else "fine"
            cells = ["" if gaps and random.random() < 0.05 else f"{heat:.4f}", f"{hum:.4f}"]
            out.writerow([f"m{row % 12}", *cells, *([colour] if words else []), state])
    return str(path)


def fitted(folder: Path, data: str, **settings: object):
    options = {"folds": 3, "groups": "machine", **settings.pop("options", {})}  # type: ignore[dict-item]
    config = TrainConfig("table", options=options, **settings)  # type: ignore[arg-type]
    return train(TrainPlan(data, config, str(folder), label="state"))


@pytest.mark.parametrize("words", [True, False], ids=["words", "numbers alone"])
@pytest.mark.parametrize("name", [n for n, b in BACKBONES.items() if b.classifier])
def test_every_classifier_ships_what_it_learnt(tmp_path, name, words):
    data = table(tmp_path / "machines.csv", words=words)
    options = {"n_estimators": 10} if name in ("random-forest", "extra-trees") else {}
    result = fitted(tmp_path / "run", data, backbone=name, options=options)
    assert result.evaluation.metrics["accuracy"] > (0.6 if name == "mlp" else 0.8)  # few rows for a network
    assert result.trained.metrics["low"] <= result.trained.metrics["accuracy"] <= result.trained.metrics["high"]
    assert result.trained.model.suffix != ".pkl" and (tmp_path / "run" / LABELS).read_text() == "fine\nworn\n"
    bundle = tmp_path / "machines.edgekit"
    made = export(ExportPlan(str(tmp_path / "run"), "generic-c", data=data, trust=True, output=str(bundle)))
    assert made.source.metrics["accuracy"] == result.evaluation.metrics["accuracy"]
    assert made.variants[0].drop == 0
    with Runtime.open(bundle, trust=True) as runtime:
        hot = runtime({"heat": 3.0, "hum": 0.0, "colour": "red"})
        odd = runtime({"heat": None, "hum": 0.0, "colour": "mauve"})
    if name == "lightgbm" and not words:  # its own file of two classes gives the second one's probability alone
        assert hot > 0.5 and 0 <= odd <= 1
        return
    assert hot[0].label == "worn" and {a.label for a in odd} == {"fine", "worn"}


@pytest.mark.parametrize("name", [n for n, b in BACKBONES.items() if b.regressor])
def test_every_regressor_learns_numbers(tmp_path, name):
    data = table(tmp_path / "machines.csv", numbers=True, gaps=False)
    options = {"n_estimators": 20} if name in ("random-forest", "extra-trees") else {}
    result = fitted(tmp_path / "run", data, backbone=name, options=options)
    assert result.trained.metrics["r2"] > 0.5
    assert result.evaluation.metrics["mae"] < 0.8


def test_rows_of_one_group_are_never_on_both_sides(tmp_path):
    """A column that gives the machine away helps only where its rows are split."""
    random, path = np.random.default_rng(0), tmp_path / "given_away.csv"
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["machine", "serial", "noise", "state"])
        for row in range(600):
            machine = row % 30
            out.writerow(
                [f"m{machine}", machine * 7 % 31, f"{random.normal():.4f}", ("fine", "worn")[machine * 5 % 11 > 5]]
            )
    split = fitted(tmp_path / "split", str(path), backbone="random-forest", options={"groups": ""})
    kept = fitted(tmp_path / "kept", str(path), backbone="random-forest")
    assert split.trained.metrics["accuracy"] > 0.99
    assert kept.trained.metrics["accuracy"] < 0.9
    assert kept.trained.metrics["high"] - kept.trained.metrics["low"] > 0.05


def test_an_interrupted_run_does_not_measure_a_fold_twice(tmp_path):
    data = table(tmp_path / "machines.csv")
    whole = fitted(tmp_path / "whole", data, backbone="logistic")
    run = tmp_path / "cut"
    fitted(run, data, backbone="logistic")
    (run / "result.json").unlink()
    (run / "folds.json").write_text(json.dumps([0.25, *json.loads((run / "folds.json").read_text())[1:2]]))
    again = fitted(run, data, backbone="logistic")
    assert json.loads((run / "folds.json").read_text())[0] == 0.25  # as it was found
    assert again.evaluation.metrics == whole.evaluation.metrics


def test_bad_tables_are_refused_or_remarked_on(tmp_path):
    path = tmp_path / "t.csv"

    def run(text: str, name: str, **settings: object):
        path.write_text(text)
        options = {"groups": "", "folds": 2}
        return fitted(tmp_path / name, str(path), backbone="logistic", options=options, **settings)

    rows = "".join(f"{i},1,{'ab'[i % 2]}\n" for i in range(40))
    with pytest.raises(EdgekitError, match="class"):
        run("x,state\n" + "".join(f"{i},a\n" for i in range(40)), "one")
    with pytest.raises(TrainingError, match="empty in every sample"):
        run("x,y,state\n" + "".join(f"{i},,{'ab'[i % 2]}\n" for i in range(40)), "empty")
    with pytest.raises(EdgekitError, match="has no state"):
        run("x,state\n1,a\n2,\n" + "".join(f"{i},b\n" for i in range(40)), "missing")
    with pytest.raises(UsageError, match="no setting 'depht'"):
        path.write_text("x,same,state\n" + rows)
        fitted(tmp_path / "word", str(path), backbone="logistic", options={"groups": "", "depht": 3})
    with pytest.raises(UsageError, match="500 folds of"):
        fitted(tmp_path / "folds", str(path), backbone="logistic", options={"groups": "", "folds": 500})
    with pytest.raises(UsageError, match="no column 'machine'"):
        fitted(tmp_path / "group", str(path), backbone="logistic")


def test_a_class_with_one_sample_is_remarked_on_and_learnt_all_the_same(tmp_path):
    rows = "".join(f"{i},{'ab'[i % 2]}\n" for i in range(40))
    for split, more in (("train", "99,c\n"), ("validation", ""), ("test", "")):
        (tmp_path / f"{split}.csv").write_text("x,state\n" + (rows if split == "train" else rows[-60:]) + more)
    result = fitted(
        tmp_path / "run", str(tmp_path), backbone="random-forest", options={"groups": "", "n_estimators": 5}
    )
    assert any("class c has one sample" in remark for remark in result.remarks)
    assert (tmp_path / "run" / LABELS).read_text().split() == ["a", "b", "c"]


def test_the_interval_knows_that_folds_share_rows():
    low, high = interval([0.8, 0.82, 0.78, 0.81, 0.79], 5)
    deviation = np.std([0.8, 0.82, 0.78, 0.81, 0.79], ddof=1)
    assert (high - low) / 2 == pytest.approx(2.776445 * deviation * (1 / 5 + 1 / 4) ** 0.5, rel=1e-5)
    assert low + high == pytest.approx(1.6)
