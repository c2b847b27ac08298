"""A keyword spotter of your own: wav files to a network of 23,000 parameters, to a Pi with its sound front end.

    python examples/train_keywords.py WAVS FOLDER [EPOCHS]

`WAVS` holds one folder of one-second wav files a word. Two thirds of a hundred wavs a word make a toy; a few hundred a
word make a spotter.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgekit import Runtime, TrainConfig, TrainPlan, export, export_plan, open_dataset, train


def main(wavs: str, folder: Path, epochs: int = 60) -> None:
    config = TrainConfig("audio", epochs=epochs, rate=5e-3, batch=16, patience=max(5, epochs // 3))
    trained = train(TrainPlan(wavs, config, str(folder / "keywords")))
    print(f"float: {trained.evaluation.metrics['accuracy']:.3f} on {trained.evaluation.samples} test wavs")
    result = export(export_plan(trained.run, "pi4", output=str(folder / "keywords.edgekit"), overwrite=True))
    print(f"chosen: {result.choice.name}")
    with Runtime.open(result.bundle) as spotter:
        for sample in open_dataset(wavs).split("test")[:3]:
            best = spotter(sample.load())[0]
            print(f"{sample.id}: {best.label} ({best.score:.2f})")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
