"""A picture classifier of your own from a pre-trained backbone, trained and exported to a Pi as int8.

    python examples/train_clothes.py PICTURES BACKBONE.keras FOLDER [EPOCHS]

`PICTURES` holds `train`, `validation` and `test` folders with one folder a class. `BACKBONE.keras` takes pictures in
0..255 and gives features. Interrupt it when you like: the same command goes on.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgekit import Runtime, TrainConfig, TrainPlan, Watch, export, export_plan, open_dataset, train


class Printed(Watch):
    """Says how far it is; False would end training."""

    def epoch(self, number: int, of: int, metrics: dict[str, float]) -> bool:
        print(f"epoch {number} of {of}: {metrics['val_accuracy']:.3f} on validation pictures")
        return True


def main(pictures: str, backbone: str, folder: Path, epochs: int = 25) -> None:
    config = TrainConfig(
        "image", "keras-file", weights=backbone, head_epochs=min(3, epochs), epochs=epochs, rate=5e-3, fine_rate=5e-4
    )
    trained = train(TrainPlan(pictures, config, str(folder / "clothes")), watch=Printed())
    print(f"float: {trained.evaluation.metrics['accuracy']:.3f} on {trained.evaluation.samples} test pictures")
    result = export(export_plan(trained.run, "pi5", output=str(folder / "clothes.edgekit"), overwrite=True))
    for made in result.variants:
        print(f"{made.variant.name}: {made.bytes / 1000:.0f} KB, drop {made.drop:+.4f}")
    with Runtime.open(result.bundle) as runtime:
        sample = open_dataset(pictures).split("test")[0]
        print(f"{sample.id} shows {runtime(sample.load())[0].label}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *map(int, sys.argv[4:]))
