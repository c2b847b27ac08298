"""A run folder: what training leaves behind, and how it is recognised and opened again."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.errors import DataError
from edgekit.plan import ExportPlan
from edgekit_runtime.atomic import replacing

CONFIG, LOG, RESULT = "config.json", "log.csv", "result.json"
SPECIFICATION, LABELS = "specification.json", "labels.txt"
PICTURE, PAGE = "curves.png", "curves.html"


def is_run(path: Path) -> bool:
    """Whether training made this folder and was finished with it."""
    return (path / RESULT).is_file() and (path / CONFIG).is_file()


def read_result(run: Path) -> dict[str, Any]:
    """``result.json`` of a finished run.

    Raises:
        DataError: It is damaged, or names a model outside of the run.
    """
    try:
        found = json.loads((run / RESULT).read_text("utf-8"))
        if not (run / found["model"]).resolve().is_relative_to(run.resolve()):
            raise ValueError("the model lies outside of the run")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{run / RESULT} is not what training writes", "train again") from error
    return dict(found)


def of_run(plan: ExportPlan) -> ExportPlan:
    """The plan with a run folder's model, specification and labels in place of the folder; others as they are.

    What the plan says itself is kept: the run only fills in what it leaves open.

    Raises:
        DataError: The run is damaged.
    """
    run = Path(plan.model)
    if ":" in plan.model or not is_run(run):
        return plan
    found = read_result(run)
    beside = {"preprocess": run / SPECIFICATION, "labels": run / LABELS}
    given = {name: str(path) for name, path in beside.items() if getattr(plan, name) is None and path.is_file()}
    for name in ("label", "text"):
        if getattr(plan, name) is None and plan.data is not None and found.get(name):
            given[name] = found[name]
    return replace(plan, output=str(plan.bundle_path()), model=str(run / found["model"]), **given)  # type: ignore[arg-type]


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Whole, or not at all."""
    with replacing(path) as out:
        out.write((json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())


class Log:
    """``log.csv``: a row an epoch, each epoch once, however often the run was interrupted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = _rows(path) if path.is_file() else []

    def add(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Write an epoch's figures; rows of that epoch and later ones, of a run that was cut off, are replaced."""
        self.rows = [r for r in self.rows if r["epoch"] < epoch]
        self.rows.append({"epoch": float(epoch), **metrics})
        names = list(dict.fromkeys(n for r in self.rows for n in r if n != "epoch"))
        with replacing(self.path) as out:
            lines = [["epoch", *names]]
            for row in self.rows:
                lines.append([str(int(row["epoch"])), *(repr(float(row[n])) if n in row else "" for n in names)])
            out.write("".join(",".join(line) + "\n" for line in lines).encode())


def _rows(path: Path) -> list[dict[str, float]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} is not a training log", "give another --output") from error


def curves(rows: list[dict[str, float]]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Chart title to curves: a metric's figures on training and on validation samples share a chart."""
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for row in rows:
        for name, value in row.items():
            if name == "epoch" or not math.isfinite(value):
                continue
            title = name.removeprefix("val_")
            part = "validation" if name.startswith("val_") else "training"
            found.setdefault(title, {}).setdefault(part, []).append((int(row["epoch"]), value))
    return found
