"""Inputs without labels: nothing is measured, and that is said; outputs are compared on them, devices tested with them."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from edgekit.pipeline import export
from edgekit.plan import ExportPlan
from edgekit_runtime import Bundle, Runtime
from edgekit_runtime.errors import UsageError
from edgekit_runtime.samples import array_from

from .conftest import edgekit

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture
def pictures(trained, tmp_path):
    """A folder of 20 loose digits."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    with np.load(trained / "digits.npz") as arrays:
        for i, picture in enumerate(arrays["x_test"][:20]):
            cv2.imwrite(str(folder / f"{i:02}.png"), picture)
    return folder


def decoded(bundle: Bundle) -> list[np.ndarray]:
    return [array_from(bundle.read(s.decoded), s.decoded) for s in bundle.manifest.golden.samples]


def test_loose_pictures_at_the_command_line(digits_onnx, pictures, tmp_path):
    done = edgekit("export", str(digits_onnx), "--target", "generic-cpu", "--data", "pictures", "--preprocess", "0..1",
                   "-o", "a.edgekit", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "accuracy is not measured: give labelled --data" in done.stdout
    assert "accuracy was not measured (no labelled --data)" in done.stdout
    assert "20 to compare with the source" in done.stdout
    with Bundle.open(tmp_path / "a.edgekit") as bundle:
        manifest = bundle.manifest
        known = {cv2.imread(str(p))[..., ::-1].tobytes() for p in pictures.iterdir()}
        assert len(manifest.golden.samples) == 8 and all(d.tobytes() in known for d in decoded(bundle))
    assert manifest.task == "none" and manifest.chosen == "onnx-int8" and not manifest.variant().metrics
    assert any("not measured" in w for w in manifest.warnings)
    assert {d.role: d.samples for d in manifest.data}.keys() == {"comparison", "calibration", "reference"}
    assert manifest.variant().fidelity["relative"] < 0.2, "calibrated and compared on the user's own pictures"


def test_arrays_without_labels_and_a_named_task_answer_with_classes(digits_onnx, trained, tmp_path):
    with np.load(trained / "digits.npz") as arrays:
        x, y = arrays["x_test"][:40], arrays["y_test"][:40]
    np.savez(tmp_path / "x.npz", x=x)
    (tmp_path / "labels.txt").write_text("\n".join(NAMES))
    plan = ExportPlan(model=str(digits_onnx), target="generic-cpu", data=str(tmp_path / "x.npz"), preprocess="0..1",
                      task="classification", labels=str(tmp_path / "labels.txt"), output=str(tmp_path / "a"))  # fmt: skip
    result = export(plan)
    assert result.source is None and not result.samples
    with Runtime.open(result.bundle) as model:
        answers = [model(picture)[0] for picture in x]
    assert np.mean([a.index for a in answers] == y) > 0.9 and answers[0].label in NAMES


def test_calibration_data_alone_is_compared_on_and_becomes_golden(digits_onnx, trained, tmp_path):
    with np.load(trained / "digits.npz") as arrays:
        x = arrays["x_train"][:30]
    np.savez(tmp_path / "c.npz", x_train=x)
    result = export(ExportPlan(model=str(digits_onnx), target="generic-cpu", preprocess="0..1",
                               calibration_data=str(tmp_path / "c.npz"), output=str(tmp_path / "a")))  # fmt: skip
    assert result.manifest.chosen == "onnx-int8"
    with Bundle.open(result.bundle) as bundle:
        known = {np.repeat(p[..., None], 3, 2).tobytes() for p in x}
        assert all(d.tobytes() in known for d in decoded(bundle))
    roles = {d.role: d.origin for d in result.manifest.data}
    assert roles == {"comparison": "--calibration-data", "calibration": "--calibration-data"}


def test_a_few_inputs_are_filled_up_to_eight_golden_samples(digits_onnx, pictures, tmp_path):
    for path in sorted(pictures.iterdir())[3:]:
        path.unlink()
    result = export(ExportPlan(model=str(digits_onnx), target="generic-cpu", preprocess="0..1", quantize="fp32",
                               data=str(pictures), output=str(tmp_path / "a")))  # fmt: skip
    with Bundle.open(result.bundle) as bundle:
        own = [d.shape for d in decoded(bundle)].count((32, 32, 3))
    assert len(result.manifest.golden.samples) == 8 and own == 3


def test_a_contract_without_labels_is_bad_usage(digits_onnx, pictures, tmp_path):
    with pytest.raises(UsageError, match="--max-drop needs labelled data"):
        export(ExportPlan(model=str(digits_onnx), target="generic-cpu", preprocess="0..1", max_drop=0.01,
                          data=str(pictures), output=str(tmp_path / "a")))  # fmt: skip
    assert not list(tmp_path.glob("*.edgekit"))


def test_two_kinds_of_data_are_bad_usage(digits_onnx, trained, pictures, tmp_path):
    np.savez(tmp_path / "rows.npz", x=np.zeros((9, 4), np.float32))
    done = edgekit("export", str(digits_onnx), "--target", "generic-cpu", "--preprocess", "0..1", "--data", "pictures",
                   "--calibration-data", "rows.npz", "--json", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 2 and "image samples" in done.stderr and "tensor samples" in done.stderr
    with pytest.raises(json.JSONDecodeError):
        json.loads(done.stdout)
