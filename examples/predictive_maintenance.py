"""When do the sensors need service? Gas sensors age; a model of fresh ones is tried on later months, and shipped.

    python examples/predictive_maintenance.py BATCHES [FOLDER]

BATCHES holds ``batch1.dat``, ``batch2.dat``, … of the gas sensor array drift data (Vergara et al., 2012; UCI): a gas,
its concentration and 128 features a line, one batch for each stretch of months. Prints the accuracy on each batch that
was not learnt from, where drift shows, and makes a bundle of plain C.
Needs `edgekit[trees]`.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from edgekit import TrainPlan, export, train
from edgekit.evaluate import measure_bundle
from edgekit.training import export_plan
from edgekit_converters.train import TrainConfig

LEARNT = 2


def rows(path: Path) -> list[list[str]]:
    """Gas, 128 features; the concentration is what nobody in the field knows."""
    with path.open(newline="") as file:
        return [[row[0], *row[2:]] for row in csv.reader(file) if row]


def write(path: Path, content: list[list[str]]) -> str:
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["gas", *(f"sensor{i // 8 + 1}_{i % 8 + 1}" for i in range(len(content[0]) - 1))])
        out.writerows(content)
    return str(path)


def main(batches: Path, folder: Path) -> None:
    files = sorted(batches.glob("batch*.dat"), key=lambda path: int(path.stem.removeprefix("batch")))
    fresh = write(folder / "fresh.csv", [row for path in files[:LEARNT] for row in rows(path)])
    config = TrainConfig("table", backbone="random-forest", options={"n_estimators": 30})
    trained = train(TrainPlan(fresh, config, str(folder / "run"), label="gas"))
    found = trained.trained.metrics
    print(f"cross-validated accuracy {found['accuracy']:.3f} ({found['low']:.3f} to {found['high']:.3f})")

    bundle = folder / "gas.edgekit"
    made = export(export_plan(trained.run, "generic-c", label="gas", trust=True, output=str(bundle)))  # made just now
    print(f"chosen: {made.choice.name}")
    for path in files[LEARNT:]:
        later = write(folder / f"{path.stem}.csv", rows(path))
        measured = measure_bundle(bundle, later, label="gas", split="all", trust=True)
        print(f"{path.stem}: accuracy {measured.evaluation.metrics['accuracy']:.3f} on {measured.evaluation.samples}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "."))
