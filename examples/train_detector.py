"""A detector of your own: scenes composed from real digits, with exact boxes, to a bundle that finds them.

    python examples/train_detector.py FOLDER [SCENES] [EPOCHS]

Your own pictures with boxes (COCO, YOLO, Pascal VOC) go in the scenes' place.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgekit import Runtime, TrainConfig, TrainPlan, export, export_plan, open_dataset, train
from edgekit.data.scenes import compose


def main(folder: Path, scenes: int = 600, epochs: int = 40) -> None:
    data = str(folder / "scenes")
    compose(Path(data), scenes)
    # a digit in a mirror is none
    config = TrainConfig("detection", epochs=epochs, batch=16, rate=4e-3, options={"size": 96, "flip": False})
    trained = train(TrainPlan(data, config, str(folder / "digits")))
    found = trained.evaluation.metrics
    print(f"float: mAP {found['map']:.3f}, at half overlap {found['map50']:.3f}")
    result = export(export_plan(trained.run, "generic-cpu", output=str(folder / "digits.edgekit"), overwrite=True))
    print(f"chosen: {result.choice.name}")
    with Runtime.open(result.bundle) as detector:
        sample = open_dataset(data).split("test")[0]
        print(f"{sample.id}: {len(sample.boxes)} drawn")
        for one in detector(sample.load())[: len(sample.boxes)]:
            print(f"  {one.label} ({one.score:.2f}) at {', '.join(f'{edge:.0f}' for edge in one.box)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
