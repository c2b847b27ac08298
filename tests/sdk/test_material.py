"""What each sample is for: what chooses is neither measured nor calibrated with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.material import LEAST_CHOOSING, Material, gather
from edgekit.plan import ExportPlan


def gathered(folder: Path, **changes) -> Material:
    return gather(ExportPlan("a.onnx", "generic-cpu", data=str(folder / "d.npz"), **changes))


def arrays(train: int = 100, validation: int = 0, test: int = 50, *, labelled: bool = True) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    found = {}
    for name, count in (("train", train), ("validation", validation), ("test", test)):
        if count:
            found[f"x_{name}"] = random.random((count, 3)).astype(np.float32)
            if labelled:
                found[f"y_{name}"] = np.arange(count) % 2
    return found


def hashes(samples) -> set[str]:
    return {s.sha256 for s in samples}


def test_a_validation_split_of_its_own_chooses(tmp_path):
    np.savez(tmp_path / "d.npz", **arrays(validation=60))
    material = gathered(tmp_path)
    assert len(material.choosing) == 60 and all(s.label is not None for s in material.choosing)
    assert not hashes(material.choosing) & (hashes(material.evaluation) | hashes(material.calibration))
    assert len(gathered(tmp_path, limit=40).choosing) == 40


@pytest.mark.parametrize(
    "given",
    [
        {"validation": LEAST_CHOOSING - 1},
        {"validation": 60, "test": 0},  # it is evaluated then
        {"validation": 60, "labelled": False},
        {},
    ],
    ids=["too few", "no test split", "no labels", "no validation split"],
)
def test_without_one_nothing_is_set_aside(tmp_path, given):
    np.savez(tmp_path / "d.npz", **arrays(**given))
    assert gathered(tmp_path).choosing == ()


def test_what_is_evaluated_too_does_not_choose(tmp_path):
    found = arrays(validation=60)
    found["x_validation"][:20] = found["x_test"][:20]
    np.savez(tmp_path / "d.npz", **found)
    material = gathered(tmp_path)
    assert len(material.choosing) == 40 and not hashes(material.choosing) & hashes(material.evaluation)


def test_unlabelled_samples_are_halved_by_content(tmp_path):
    np.savez(tmp_path / "d.npz", **arrays(50, 0, 240, labelled=False))
    material = gathered(tmp_path)
    choosing, proving = material.halves
    assert hashes(choosing) | hashes(proving) == hashes(material.unlabelled)
    assert not hashes(choosing) & hashes(proving) and min(len(choosing), len(proving)) > 80
    np.savez(tmp_path / "d.npz", **arrays(50, 0, 100, labelled=False))
    few = gathered(tmp_path)
    assert few.halves == ((), few.unlabelled)
