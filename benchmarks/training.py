"""Is a pre-trained backbone worth it? Clothes in ten classes, MobileNetV1-0.25@128: head alone, fine-tuned, from scratch.

    python benchmarks/training.py ASSETS FOLDER [--epochs 18] [--seeds 3] [--only fine|head|scratch] [--export]

Every run is a run folder below FOLDER and is made once; a benchmark that was cut off goes on where it was. From scratch
means keras.applications' own network with its batch norms, at five learning rates and as many epochs; the best of them
by validation is what is reported. Intervals are bootstrap intervals of the test accuracy (95 %).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from edgekit import ExportPlan, TrainConfig, TrainPlan, export, open_dataset, train
from edgekit.evaluate import metric_interval
from edgekit.runs import is_run

HEAD_EPOCHS = 3
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
FINE_RATE = 5e-4


def configs(weights: str, epochs: int, seeds: int) -> dict[str, TrainConfig]:
    common = {"task": "image", "patience": 0, "class_weights": False, "options": {"light": 0.1}}
    given = {"backbone": "keras-file", "weights": weights, "rate": 5e-3}
    # the rate of the second phase is too small to move anything: that is the head alone, at as many epochs
    found = {"head": TrainConfig(**common, **given, head_epochs=epochs - 1, epochs=1, fine_rate=1e-12)}
    for seed in range(seeds):
        found[f"fine-{seed}"] = TrainConfig(
            **common, **given, head_epochs=HEAD_EPOCHS, epochs=epochs - HEAD_EPOCHS, fine_rate=FINE_RATE, seed=seed
        )
    for rate in RATES:
        found[f"scratch-{rate:g}"] = TrainConfig(
            **common, backbone="mobilenet_v1_025_128", weights="none", rate=rate, epochs=epochs
        )
    return found


def one(name: str, config: TrainConfig, data: str, folder: Path) -> dict:
    """The run's figures; trains where it has not been."""
    run, figures = folder / name, folder / f"{name}.json"
    if not (is_run(run) and figures.is_file()):
        found = train(TrainPlan(data, config, str(run), overwrite=is_run(run))).evaluation
        interval = metric_interval(found.class_scores, found.targets, "classification")
        result = json.loads((run / "result.json").read_text())
        right = (found.predicted == found.targets).astype(int).tolist()
        figures.write_text(json.dumps({
            "test": found.metrics["accuracy"], "low": interval.low, "high": interval.high,
            "validation": result["validation"]["val_accuracy"], "right": right,
        }))  # fmt: skip
    return json.loads(figures.read_text())


def shipped(name: str, data: str, folder: Path, target: str) -> None:
    out = folder / f"{name}-{target}.edgekit"
    result = export(
        ExportPlan(str(folder / name), target, data=data, output=str(out), keep="all", overwrite=True, max_drop=0.006)
    )
    for row in result.variants:
        print(f"{name:14} {target:12} {row.variant.name:14} {row.bytes / 1000:7.1f} KB  "
              f"accuracy {row.variant.metrics['accuracy']:.4f}  drop {row.drop:+.4f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("assets", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="names that begin with this")
    parser.add_argument("--export", action="store_true", help="export the fine-tuned runs to int8 too")
    options = parser.parse_args()
    data = str(options.assets / "data/clothing_small_160")
    name = "mobilenet_v1_025_128_imagenet_float"
    weights = str(options.assets / "models" / name / f"{name}.keras")
    options.folder.mkdir(parents=True, exist_ok=True)
    assert open_dataset(data).labels
    rows = {}
    for name, config in configs(weights, options.epochs, options.seeds).items():
        if name.startswith(options.only):
            rows[name] = one(name, config, data, options.folder)
            found = rows[name]
            print(f"{name:14} validation {found['validation']:.4f}  test {found['test']:.4f} "
                  f"({found['low']:.4f} to {found['high']:.4f})", flush=True)  # fmt: skip
    fine = [r for n, r in rows.items() if n.startswith("fine")]
    scratch = [r for n, r in rows.items() if n.startswith("scratch")]
    if fine:
        tests = [r["test"] for r in fine]
        print(f"fine-tuned, {len(fine)} seeds: test {np.mean(tests):.4f} ± {np.std(tests):.4f}")
    if fine and scratch:
        best = max(scratch, key=lambda r: r["validation"])
        ahead = np.mean([r["right"] for r in fine], axis=0) - np.array(best["right"])
        random = np.random.default_rng(0)
        means = [ahead[random.integers(len(ahead), size=len(ahead))].mean() for _ in range(2000)]
        low, high = np.quantile(means, [0.025, 0.975])
        print(f"ahead of the best from scratch by {ahead.mean():.4f} ({low:.4f} to {high:.4f})")
    if options.export:
        for name in rows:
            if name.startswith("fine"):
                for target in ("generic-cpu", "pi5"):
                    shipped(name, data, options.folder, target)


if __name__ == "__main__":
    main()
