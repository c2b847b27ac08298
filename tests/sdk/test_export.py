"""From a model and data to a bundle: contracts, leaks, bad input, and the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgekit.contract import Candidate, choose
from edgekit.data import open_dataset
from edgekit.errors import DataError
from edgekit.pipeline import export
from edgekit.plan import ExportPlan
from edgekit.targets import resolve_target
from edgekit_runtime import Runtime
from edgekit_runtime.errors import EdgekitError, UsageError

from ..digits import plan
from .conftest import edgekit


def test_the_same_export_gives_the_same_bytes(trained, tmp_path):
    digests = {export(plan(trained, tmp_path / n, format="onnx")).digest for n in ("a", "b")}
    assert len(digests) == 1


def test_sixteen_bit_activations_run_on_onnxruntime(trained, digits_onnx, tmp_path):
    result = export(plan(trained, tmp_path / "a", model=str(digits_onnx), weights=None, input_shape=(), quantize="16x8",
                         format="onnx"))  # fmt: skip
    (made,) = result.variants
    assert made.variant.name == "onnx-w8a16" and abs(made.drop) < 0.01
    assert made.bytes < digits_onnx.stat().st_size / 2.5


def test_the_one_pass_way_of_a_picture_answers_as_the_two_step_way(trained, tmp_path):
    result = export(plan(trained, tmp_path / "a", target="coral"))
    with np.load(trained / "digits.npz") as arrays, Runtime.open(result.bundle) as model:
        pictures = list(arrays["x_test"][:20])
        for picture, answer in zip(pictures, model.predict_batch(pictures), strict=True):
            (two_steps,) = model.run(model.preprocess(picture)).values()
            (one_pass,) = model.tensors(picture).values()
            assert np.array_equal(one_pass, two_steps[0]) and answer == model(picture)


def test_a_broken_contract_still_writes_the_best(trained, tmp_path):
    """Calibrated on black pictures, int8 collapses: that is measured, not shipped in silence."""
    x = np.zeros((20, 32, 32), np.uint8)
    x[:, 0, 0] = np.arange(20)
    np.savez(tmp_path / "black.npz", x_train=x, y_train=np.zeros(20, int), x_test=x[:1], y_test=[0])
    result = export(plan(trained, tmp_path / "a", quantize="int8", max_drop=0.01, format="onnx",
                         calibration_data=str(tmp_path / "black.npz"), keep="all"))  # fmt: skip
    drops = {r.variant.precision: r.drop for r in result.variants}
    assert drops["int8"] > 0.3
    assert result.choice.name == "onnx-fp32" and result.choice.held and "loses" in result.choice.remark


def test_choosing_among_measured_variants():
    good, bad, worse = Candidate("a", 0.001), Candidate("b", 0.2), Candidate("c", 0.3)
    assert choose([good, bad], 0.01).name == "a" and choose([bad, good], 0.01).name == "a"
    broken = choose([worse, bad], 0.01)
    assert broken.name == "b" and not broken.held and "0.2" in broken.remark
    assert choose([Candidate("a", None)], None).held


def test_calibrating_on_the_evaluation_split_is_refused(trained, tmp_path):
    with np.load(trained / "digits.npz") as arrays:
        np.savez(tmp_path / "leak.npz", x_train=arrays["x_test"], y_train=arrays["y_test"],
                 x_test=arrays["x_test"], y_test=arrays["y_test"])  # fmt: skip
        np.savez(tmp_path / "leaky.npz", x_train=arrays["x_test"], y_train=arrays["y_test"],
                 x_test=arrays["x_train"][:5], y_test=arrays["y_train"][:5])  # fmt: skip
    with pytest.raises(DataError, match="evaluation split"):
        export(plan(trained, tmp_path / "a", calibration_data=str(tmp_path / "leaky.npz")))
    assert not open_dataset(str(tmp_path / "leak.npz")).split("train")
    assert not list(tmp_path.glob("*.edgekit"))


def test_without_data_accuracy_is_said_not_to_be_measured(trained, tmp_path):
    result = export(plan(trained, tmp_path / "a", data=None, preprocess=None, quantize="fp32"))
    assert result.source is None and any("not measured" in w for w in result.manifest.warnings)
    assert result.manifest.variant().fidelity["max_abs"] < 1e-4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preprocess": None}, "how pictures must be prepared"),
        ({"preprocess": "0..2"}, "no preset"),
        ({"target": "pi6"}, "did you mean pi"),
        ({"target": "jetson-nano"}, "JetPack 4"),
        ({"target": "coral", "data": None, "preprocess": None}, "int8 only"),
        ({"target": "pi3", "format": "onnx"}, "does not run onnx"),
        ({"quantize": "int7"}, "did you mean"),
        ({"quantize": "w8a16", "target": "jetson-orin"}, "TensorRT has no 16-bit activations"),
        ({"data": "nowhere"}, "no data set"),
        ({"weights": "nowhere.pt"}, "no weights file"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_written(trained, tmp_path, changes, message):
    with pytest.raises(EdgekitError, match=message) as error:
        export(plan(trained, tmp_path / "a", **changes))
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_family_names_say_which_member_they_mean():
    assert resolve_target("pi").target.name == "pi5" and "pi5" in resolve_target("pi").said
    assert resolve_target("Jetson").target.name == "jetson-orin"
    assert not resolve_target("pi5").said


def test_the_command_line_end_to_end(trained, tmp_path):
    arguments = ["export", f"{trained}/network.py:network", "--target", "jetson", "--weights", f"{trained}/digits.safetensors",
                 "--input-shape", "-1,1,32,32", "--data", f"{trained}/digits.npz", "--preprocess", "0..1",
                 "--output", "digits.edgekit"]  # fmt: skip
    dry = edgekit(*arguments, "--dry-run", cwd=tmp_path)
    assert dry.returncode == 0 and not list(tmp_path.iterdir())
    (tmp_path / "plan.json").write_text(dry.stdout)
    done = edgekit("export", "--config", "plan.json", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["target"] == "jetson-orin" and printed["contract"]["held"] and printed["chosen"] == "onnx-int8"
    again = edgekit(*arguments, cwd=tmp_path)
    assert "jetson means jetson-orin" in again.stdout
    assert again.returncode == 2 and "--overwrite" in again.stderr and "Traceback" not in again.stderr
    measured = json.loads(
        edgekit("eval", "digits.edgekit", "--data", f"{trained}/digits.npz", "--json", cwd=tmp_path).stdout
    )
    assert measured["metrics"]["accuracy"] == pytest.approx(printed["variants"][0]["metrics"]["accuracy"])
    inspected = json.loads(edgekit("inspect", "digits.edgekit", "--json", cwd=tmp_path).stdout)
    assert inspected["chosen"] == "onnx-int8" and "latency" not in json.dumps(inspected)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["export"], 2), (["export", "a.onnx", "--target", "pi6"], 2), (["inspect", "no.edgekit"], 1), (["nonsense"], 2)],
)
def test_exit_codes_without_tracebacks(arguments, code, tmp_path):
    done = edgekit(*arguments, cwd=tmp_path)
    assert done.returncode == code and "Traceback" not in done.stderr and done.stderr


def test_a_plan_replays_and_a_wrong_one_is_refused():
    wanted = ExportPlan(model="m.onnx", target="pi5", max_drop=0.01, data="d")
    assert ExportPlan.from_json(wanted.to_json()) == wanted
    with pytest.raises(UsageError, match="--data"):
        ExportPlan(model="m.onnx", target="pi5", max_drop=0.01)
    with pytest.raises(UsageError, match="not an export plan"):
        ExportPlan.from_json("{}")
