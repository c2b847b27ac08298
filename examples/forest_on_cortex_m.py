"""A random forest on a microcontroller: a C project that builds, its flash, and its instructions under emulation.

    python examples/forest_on_cortex_m.py FOLDER

Needs `gcc-arm-none-eabi`, `libnewlib-arm-none-eabi`, `qemu-system-arm` and `cmake`. No board: instructions are counted
by qemu, which is exact for instructions and says nothing of time.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

from edgekit import ExportPlan, export
from edgekit.instructions import count


def train(folder: Path) -> None:
    """Your own model and table go here."""
    import skops.io
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import train_test_split

    data = load_breast_cancer()
    labels = data.target_names[data.target]
    x_train, x_test, y_train, y_test = train_test_split(data.data, labels, random_state=0)
    skops.io.dump(RandomForestClassifier(100, random_state=0).fit(x_train, y_train), folder / "forest.skops")
    (folder / "table").mkdir(exist_ok=True)
    for split, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        with (folder / "table" / f"{split}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow([*data.feature_names, "diagnosis"])
            rows.writerows([*map(float, row), label] for row, label in zip(x, y, strict=True))


def main(folder: Path) -> None:
    train(folder)
    result = export(
        ExportPlan(
            model=f"{folder}/forest.skops",
            target="cortex-m4",
            data=f"{folder}/table",
            label="diagnosis",
            prefix="tumour",
            unpack=f"{folder}/project",
            output=f"{folder}/forest.edgekit",
            trust=True,  # we made the file ourselves: skops does not vouch for trees
            overwrite=True,
        )
    )
    made = result.manifest.variant()
    print(f"accuracy {result.source.metrics['accuracy']:.4f}, in C {made.metrics['accuracy']:.4f}")
    print(
        f"flash {made.sizes['cortex-m4']:,} bytes, {count(result.bundle).instructions:,.0f} instructions a prediction"
    )
    # the same C is a project for this machine, too
    project = f"{folder}/project"
    subprocess.run(["cmake", "-S", project, "-B", f"{project}/build"], check=True, capture_output=True)
    subprocess.run(["cmake", "--build", f"{project}/build"], check=True, capture_output=True)
    program = next(p for p in Path(project, "build").iterdir() if p.is_file() and p.name.endswith("example"))
    print(subprocess.run([program], check=True, capture_output=True, text=True).stdout.strip())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
