"""A detector for a Coral: balls and crates, trained here on drawn pictures, int8, with its CPU twin.

    python examples/coral_detector.py FOLDER

With `edgetpu_compiler` on PATH the bundle holds the compiled model, which runs on an Edge TPU and nowhere else, and its
twin for the CPU. Without it the twin is alone, and the export prints the line to run. Here the twin answers, since it
is asked for by name; on the board `edgekit-runtime predict BUNDLE PICTURE` takes the Edge TPU or says why it cannot.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from edgekit import ExportPlan, Runtime, export
from edgekit_runtime.plain import encode
from edgekit_runtime.specification.presets import image_specification

SIDE, CELLS, LABELS = 96, 6, ("ball", "crate")

NETWORK = """
import torch

class Detector(torch.nn.Module):
    # a grid of 6 x 6 cells: whether an object is there, its box, its class, as step grid_boxes reads them
    def __init__(self):
        super().__init__()
        layers, width = [], 3
        for wider in (16, 32, 48, 64):
            layers += [torch.nn.Conv2d(width, wider, 3, 2, padding=1), torch.nn.BatchNorm2d(wider), torch.nn.ReLU()]
            width = wider
        self.body, self.head = torch.nn.Sequential(*layers), torch.nn.Conv2d(width, 7, 1)

    def forward(self, pictures):
        grid = self.head(self.body(pictures))
        return torch.cat([torch.sigmoid(grid[:, :1]), grid[:, 1:5], torch.sigmoid(grid[:, 5:])], 1)

def detector():
    return Detector()
"""


def draw(generator: np.random.Generator) -> tuple[np.ndarray, int, tuple[int, int, int]]:
    """A noisy picture with one object: its class, and (left, top, size) in pixels."""
    picture = generator.integers(0, 90, (SIDE, SIDE, 3)).astype(np.uint8)
    kind, size = int(generator.integers(2)), int(generator.integers(20, 44))
    left, top = (int(v) for v in generator.integers(0, SIDE - size, 2))
    y, x = np.mgrid[0:size, 0:size] - (size - 1) / 2
    inside = x**2 + y**2 <= (size / 2) ** 2 if kind == 0 else np.ones((size, size), bool)
    picture[top : top + size, left : left + size][inside] = generator.integers(150, 256, 3)
    return picture, kind, (left, top, size)


def wanted(kind: int, place: tuple[int, int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """What the grid should hold in the object's cell, and which cell that is."""
    left, top, size = place
    centre = np.array([left + size / 2, top + size / 2]) / SIDE * CELLS
    cell = centre.astype(int)
    return np.array([*np.arctanh(np.clip(centre - cell, 0.01, 0.95)), *np.log([size / SIDE / (1 - size / SIDE)] * 2),
                     kind == 0, kind == 1]), (int(cell[1]), int(cell[0]))  # fmt: skip


def train(network: torch.nn.Module, steps: int = 160, batch: int = 32) -> None:
    generator, optimizer = np.random.default_rng(0), torch.optim.Adam(network.parameters(), 4e-3)
    entropy, distance = torch.nn.functional.binary_cross_entropy, torch.nn.functional.smooth_l1_loss
    numbers = torch.arange(batch)
    for _ in range(steps):
        pictures, kinds, places = zip(*(draw(generator) for _ in range(batch)), strict=True)
        values, cells = zip(*(wanted(kind, place) for kind, place in zip(kinds, places, strict=True)), strict=True)
        grid = network(torch.tensor(np.stack(pictures)).permute(0, 3, 1, 2) / 255)
        target, (rows, columns) = torch.tensor(np.stack(values), dtype=torch.float32), torch.tensor(cells).T
        there = torch.zeros(batch, CELLS, CELLS)
        there[numbers, rows, columns] = 1
        own = grid[numbers, :, rows, columns]
        loss = 8 * entropy(grid[:, 0], there) + 4 * distance(own[:, 1:5], target[:, :4])
        loss = loss + entropy(own[:, 5:], target[:, 4:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()


def main(folder: Path) -> None:
    torch.manual_seed(0)
    (folder / "network.py").write_text(NETWORK)
    space: dict[str, object] = {}
    exec(NETWORK, space)  # noqa: S102 - the very text above
    network = space["detector"]()  # type: ignore[operator]
    train(network)
    save_file(network.state_dict(), str(folder / "detector.safetensors"))
    output = [{"step": "grid_boxes"}, {"step": "nms", "score": 0.5}]
    steps = image_specification("0..1", SIDE, SIDE, layout="chw", output=output)
    (folder / "steps.json").write_text(json.dumps(encode(steps.to_data())))
    (folder / "labels.txt").write_text("\n".join(LABELS))
    (folder / "pictures").mkdir(exist_ok=True)
    generator = np.random.default_rng(1)
    for number in range(100):
        Image.fromarray(draw(generator)[0]).save(folder / "pictures" / f"{number}.png")
    result = export(
        ExportPlan(
            model=f"{folder}/network.py:detector",
            target="coral",
            weights=f"{folder}/detector.safetensors",
            input_shape=(1, 3, SIDE, SIDE),
            calibration_data=f"{folder}/pictures",
            preprocess=f"{folder}/steps.json",
            labels=f"{folder}/labels.txt",
            output=f"{folder}/detector.edgekit",
            overwrite=True,
        )
    )
    print(f"{result.placement.in_words() if result.placement else 'placement unknown'}")
    right = 0
    with Runtime.open(result.bundle, backend="litert") as twin:  # the CPU, because it is asked for
        print(f"here: {twin.variant.name} on {twin.session.placement}")
        for _ in range(50):
            picture, kind, (left, top, size) = draw(generator)
            found = twin(picture)
            near = [d for d in found if np.abs(np.array(d.box) - (left, top, left + size, top + size)).max() < 8]
            right += len(found) == 1 and [d.label for d in near] == [LABELS[kind]]
    print(f"{right} of 50 drawn pictures: the one object found, named and boxed within 8 pixels")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
