"""A PyTorch network to a Jetson: signed symmetric QDQ that TensorRT takes, under an accuracy contract.

python examples/pytorch_to_jetson.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from edgekit import ExportPlan, Runtime, export
from edgekit.demo import NETWORK, digits, train


def main(folder: Path) -> None:
    # your own network, weights and pictures go here
    (folder / "network.py").write_text(NETWORK)
    arrays = digits()
    np.savez(folder / "digits.npz", **arrays)
    train(arrays, folder / "network.py", folder / "digits.safetensors", lambda _done, _total: None)

    result = export(
        ExportPlan(
            model=f"{folder}/network.py:network",
            weights=f"{folder}/digits.safetensors",
            input_shape=(-1, 1, 32, 32),
            target="jetson",
            data=f"{folder}/digits.npz",
            preprocess="0..1",
            max_drop=0.01,
            output=f"{folder}/digits.edgekit",
            overwrite=True,
        )
    )
    for made in result.variants:
        print(f"{made.variant.name}: {made.bytes / 1000:.0f} KB, accuracy {made.variant.metrics['accuracy']:.4f}")
    print(f"chosen: {result.choice.name}, contract held: {result.choice.held}")
    with Runtime.open(result.bundle) as model:
        best = model(arrays["x_test"][0])[0]
    print(f"first test digit: {best.label} ({best.score:.2f}), truth {arrays['y_test'][0]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
