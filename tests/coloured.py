"""Synthetic coloured digits where colour decides, and small networks that learnt them behind BGR pictures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

SIZE = 16
SHAPES = (0, 1, 7)
COLOURS = {"red": np.array([0.5, -0.1, -0.4]), "blue": np.array([-0.4, -0.1, 0.5])}
LIGHTS = {"faint": 0.2, "bright": 0.9}
"""How much of a colour is laid on grey. Ranges that come from faint digits alone cut bright ones off."""
LABELS = tuple(f"{light} {colour} {shape}" for shape in SHAPES for colour in COLOURS for light in LIGHTS)
"""A red 7 in a picture whose channels are swapped is a blue 7."""

_PER_SHAPE = 120
_TEST = 400

NETWORKS = '''
import torch
from torch import nn


class Block(nn.Module):
    """Two convolutions (or dense layers) beside a short cut: a fault in between harms the model and does not silence it."""

    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x):
        return torch.relu(x + self.second(torch.relu(self.first(x))))


def head(width):
    return [nn.AvgPool2d(4), nn.Flatten(), nn.Linear(4 * width, 12)]


def plain():
    """Convolutions with biases."""
    block = Block(nn.Conv2d(16, 24, 3, 1, 1), nn.Conv2d(24, 16, 3, 1, 1))
    return nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), block, *head(16))


def normed():
    """Convolutions with batch normalisation."""
    def conv(before, after, stride=1):
        return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after))
    return nn.Sequential(conv(3, 16, 2), nn.ReLU(), Block(conv(16, 24), conv(24, 16)), *head(16))


def dense():
    """Dense layers over the pixels."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(768, 12), nn.ReLU(), Block(nn.Linear(12, 48), nn.Linear(48, 12)), nn.Linear(12, 12)
    )
'''


def pictures() -> dict[str, np.ndarray]:
    """Train and test pictures, (count, 16, 16, 3) uint8 RGB, and their class numbers."""
    import cv2
    from sklearn.datasets import load_digits

    random = np.random.default_rng(0)
    found = load_digits()
    x, y = [], []
    for shape in SHAPES:
        for grey in found.images[found.target == shape][:_PER_SHAPE]:
            large = cv2.resize(grey.astype(np.float32) / 16, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
            for colour, ink in COLOURS.items():
                for light, level in LIGHTS.items():
                    noise = random.normal(0, 0.01, (SIZE, SIZE, 3))
                    painted = 0.45 + large[..., None] * ink * level * random.uniform(0.85, 1.15) + noise
                    x.append(np.clip(np.rint(painted * 255), 0, 255).astype(np.uint8))
                    y.append(LABELS.index(f"{light} {colour} {shape}"))
    order = random.permutation(len(x))
    x, y = np.stack(x)[order], np.array(y)[order]
    return {"x_train": x[_TEST:], "y_train": y[_TEST:], "x_test": x[:_TEST], "y_test": y[:_TEST]}


def one_class(arrays: dict[str, np.ndarray], label: int) -> dict[str, np.ndarray]:
    """The training pictures of a class as a data set of their own."""
    chosen = arrays["y_train"] == label
    return {"x": arrays["x_train"][chosen], "y": arrays["y_train"][chosen]}


def specification(scaling: list[dict[str, object]], colour: str = "bgr") -> dict[str, object]:
    """As the networks were trained, or with something else in its place."""
    return {
        "kind": "image",
        "input": [
            {"step": "decode", "colour": colour},
            {"step": "resize", "height": SIZE, "width": SIZE},
            *scaling,
            {"step": "layout", "order": "chw"},
        ],
        "output": [{"step": "softmax"}, {"step": "top_k", "k": 5}],
    }


SCALINGS: dict[str, list[dict[str, object]]] = {
    "plain": [{"step": "scale", "factor": 1 / 127.5, "offset": -1.0}],
    "normed": [
        {"step": "scale", "factor": 1 / 255},
        {"step": "normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    ],
    "dense": [{"step": "scale", "factor": 1 / 127.5, "offset": -1.0}],
}
"""What each network was trained behind."""
NONE: list[dict[str, object]] = [{"step": "cast", "dtype": "float32"}]


@dataclass(frozen=True)
class Trained:
    """A folder with ``networks.py``, ``<network>.safetensors``, ``pictures.npz`` and a specification of each."""

    folder: Path
    arrays: dict[str, np.ndarray]

    @property
    def data(self) -> str:
        return str(self.folder / "pictures.npz")

    def weights(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def model(self, name: str) -> str:
        return f"{self.folder}/networks.py:{name}"


@pytest.fixture(scope="session")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Both networks, trained."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("coloured")
    (folder / "networks.py").write_text(NETWORKS)
    arrays = pictures()
    np.savez(folder / "pictures.npz", **arrays)
    namespace: dict[str, object] = {}
    exec(NETWORKS, namespace)  # noqa: S102
    for name, scaling in SCALINGS.items():
        network = _train(namespace[name], arrays, scaling)
        save_file(network.state_dict(), str(folder / f"{name}.safetensors"))
        (folder / f"{name}.json").write_text(json.dumps(specification(scaling)))
    return Trained(folder, arrays)


def _train(make, arrays, scaling, epochs: int = 8):
    import torch

    from edgekit_runtime.manifest import SpecificationData
    from edgekit_runtime.specification import Specification
    from edgekit_runtime.specification.step import Context

    steps = Specification.from_data(SpecificationData("image", tuple(specification(scaling)["input"])))
    x = torch.from_numpy(np.stack([steps.preprocess(p, Context()) for p in arrays["x_train"]]))
    y = torch.from_numpy(arrays["y_train"])
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = make().train()
        optimizer = torch.optim.AdamW(network.parameters(), 4e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, epochs * (len(x) // 32 + 1))
        for _ in range(epochs):
            for batch in torch.randperm(len(x)).split(32):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
                optimizer.step()
                schedule.step()
    torch.set_num_threads(before)
    return network.eval()


def scaled_channel(state: dict, factor: float = 1000.0) -> tuple[dict, int]:
    """A state with one channel scaled up inside of the block, and down where it is taken: in float nothing changes.

    Args:
        state: Name to tensor.
        factor: How much.

    Returns:
        The state, and which channel: the one that matters most by its weights.
    """
    found = {name: tensor.clone() for name, tensor in state.items()}
    first = next(n.removesuffix(".bias") for n in found if ".first." in n and n.endswith(".bias"))
    gives = found[f"{first}.weight"]
    taken = next(v for n, v in found.items() if n.endswith((".second.0.weight", ".second.weight")))
    matters = taken.abs().transpose(0, 1).flatten(1).sum(1) * gives.abs().reshape(len(gives), -1).sum(1)
    channel = int(matters.argmax())
    for kind in ("weight", "bias"):
        found[f"{first}.{kind}"][channel] *= factor
    taken[:, channel] /= factor
    return found, channel
