"""The demo: scikit-learn's handwritten digits, a compact network in PyTorch, three bundles."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.plan import ExportPlan
from edgekit.progress import Progress
from edgekit_runtime.errors import MissingRequirement

TARGETS = ("pi5", "jetson-orin", "coral")
_EPOCHS = 12
_SIZE = 32
_SHOWN = 3  # a seven that people read as one too

NETWORK = '''"""A compact network for 32 x 32 grey pictures of digits."""

import torch


def network():
    """Three convolutions and a linear layer, about 24,000 weights."""
    def block(before, after):
        return [
            torch.nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
            torch.nn.BatchNorm2d(after),
            torch.nn.ReLU(),
        ]

    return torch.nn.Sequential(
        *block(1, 16), *block(16, 32), *block(32, 64), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(64, 10),
    )
'''


@dataclass(frozen=True)
class Row:
    """One line of the demo's table.

    Attributes:
        target: Target.
        format: Format that ships.
        precision: Precision that ships.
        bytes: Size of the model file.
        float_accuracy: Accuracy of the PyTorch model on the test digits.
        exported_accuracy: Accuracy of what ships, on the interpreter that ships.
        latency_ms: Median of one inference on this machine.
        bundle: The file.
    """

    target: str
    format: str
    precision: str
    bytes: int
    float_accuracy: float
    exported_accuracy: float
    latency_ms: float
    bundle: str


def run(folder: Path, progress: Progress) -> list[Row]:
    """Train and export; files of an earlier demo in `folder` are replaced.

    Raises:
        MissingRequirement: PyTorch is not installed.
    """
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("litert_torch") is None:
        raise MissingRequirement("the demo trains with PyTorch, which is not installed", 'pip install "edgekit[torch]"')
    from edgekit.pipeline import export
    from edgekit.speed import measure

    folder.mkdir(parents=True, exist_ok=True)
    with progress.stage("data", "handwritten digits of scikit-learn") as stage:
        arrays = digits()
        data = folder / "digits.npz"
        np.savez(data, **arrays)  # type: ignore[arg-type]
        _picture(arrays["x_test"][_SHOWN], folder / "digit.png")
        stage.note = f"{len(arrays['x_train'])} to train, {len(arrays['x_test'])} to test"
    code, weights = folder / "digits_network.py", folder / "digits.safetensors"
    code.write_text(NETWORK, "utf-8")
    with progress.stage("train", "PyTorch, 3 convolutions") as stage:
        train(arrays, code, weights, stage.advance)
        stage.file = weights
    rows = []
    for target in TARGETS:
        progress.say(f"export for {target}")
        plan = ExportPlan(
            model=f"{code}:network",
            target=target,
            output=str(folder / f"digits-{target}.edgekit"),
            weights=str(weights),
            input_shape=(-1, 1, _SIZE, _SIZE),
            data=str(data),
            preprocess="0..1",
            overwrite=True,
        )
        result = export(plan, progress)
        chosen = next(r for r in result.variants if r.variant.name == result.choice.name)
        source = result.source.metrics["accuracy"] if result.source else float("nan")
        rows.append(
            Row(
                target=target,
                format=chosen.variant.format,
                precision=chosen.variant.precision,
                bytes=chosen.bytes,
                float_accuracy=source,
                exported_accuracy=chosen.variant.metrics["accuracy"],
                latency_ms=measure(result.bundle).medians[chosen.variant.name],
                bundle=str(result.bundle),
            )
        )
    return rows


def digits() -> dict[str, np.ndarray]:
    """scikit-learn's 1,797 digits as uint8 pictures of 32 x 32, a fixed 80/20 split."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    found = load_digits()
    pictures = np.repeat(np.repeat(found.images, _SIZE // 8, axis=1), _SIZE // 8, axis=2)
    pictures = np.clip(pictures * (255 / 16), 0, 255).astype(np.uint8)
    x_train, x_test, y_train, y_test = train_test_split(
        pictures, found.target, test_size=0.2, random_state=0, stratify=found.target
    )
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def train(arrays: dict[str, np.ndarray], code: Path, weights: Path, advance: Any) -> None:
    """Train the network in `code` on the digits and save its weights; seeded."""
    import torch
    from safetensors.torch import save_file

    namespace: dict[str, Any] = {}
    exec(compile(code.read_text("utf-8"), str(code), "exec"), namespace)  # noqa: S102 - the file we just wrote
    # for so small a network threads wait for each other longer than they work, and sums differ with their number
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = namespace["network"]()
    x = torch.from_numpy(arrays["x_train"]).float().div(255).unsqueeze(1)
    y = torch.from_numpy(arrays["y_train"]).long()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    steps, done = _EPOCHS * (len(x) // 64), 0
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for _ in range(_EPOCHS):
        order = torch.randperm(len(x))
        for start in range(0, len(x) - 63, 64):
            batch = order[start : start + 64]
            loss = torch.nn.functional.cross_entropy(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            done += 1
            advance(done, steps)
    torch.set_num_threads(threads)
    save_file(model.state_dict(), str(weights))


def _picture(array: np.ndarray, path: Path) -> None:
    import cv2

    cv2.imwrite(str(path), array)
