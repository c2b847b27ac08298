"""`edgekit placement` and the gates of `edgekit export`."""

from __future__ import annotations

import json

import pytest

from edgekit.cli.export import _gate, summary
from edgekit.pipeline import export
from edgekit.placing import model_file, place
from edgekit.speed import Speed
from edgekit.targets import load_target
from edgekit_runtime.errors import UsageError

from .conftest import edgekit, plan

MODEL = "coral_pairs/test_data__deeplabv3_mnv2_dm05_pascal_quant.tflite"


def test_a_model_is_shown_op_by_op_and_held_to_its_gates(assets, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # where no Edge TPU compiler is
    model = str(assets / MODEL)
    shown = edgekit("placement", model, "--target", "coral", "--min-offload", "0.95", cwd=tmp_path)
    assert shown.returncode == 3 and "64 of 72 ops on the Edge TPU (predicted)" in shown.stdout
    assert f"edgetpu_compiler -s {model}" in " ".join(shown.stdout.split())
    assert shown.stderr.count("\n") == 1 and "88.9%" in shown.stderr
    data = json.loads(edgekit("placement", model, "-t", "coral", "--json", cwd=tmp_path).stdout)
    assert data["offload"] == pytest.approx(64 / 72) and len(data["ops"]) == 72
    assert data["ops"][71] == {"index": 71, "op": "ARG_MAX", "unit": "CPU",
                               "reason": "the Edge TPU does not have this operator"}  # fmt: skip
    missing = edgekit("placement", model, "-t", "coral", "--require-compiled", cwd=tmp_path)
    assert missing.returncode == 4 and "edgetpu_compiler" in missing.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.tflite"], "needs a target"),
        (["a.tflite", "-t", "generic-cpu"], "does not say where"),
        (["a.onnx", "-t", "coral"], "does not say where"),
        (["a.keras", "-t", "coral"], "export it first"),
        (["a.tflite", "-t", "pi5", "--require-compiled"], "for coral"),
        (["a.tflite", "-t", "pi5", "--tensorrt", "8.5"], "ONNX files on a Jetson"),
        (["a.onnx", "-t", "jetson", "--tensorrt", "7.0"], "no operator table"),
        (["a.onnx", "-t", "jetson", "--jetpack", "4.6"], "nothing is known of JetPack '4.6': there are 5.1"),
        (["a.onnx", "-t", "jetson", "--jetpack", "6.1", "--tensorrt", "8.5"], "leave --tensorrt out"),
        (["a.tflite", "-t", "pi5", "--jetpack", "6.1"], "for a Jetson"),
        (["a.tflite", "-t", "coral", "--min-offload", "95"], "is not a share"),
    ],
)
def test_what_cannot_be_asked_is_said(tmp_path, arguments, said):
    done = edgekit("placement", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("target", "unit"), [("coral", "the Edge TPU"), ("jetson-orin", "TensorRT"), ("pi5", "XNNPACK")]
)
def test_an_export_says_where_its_operators_run(trained, tmp_path, target, unit, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    asked = plan(trained, tmp_path / "a", target=target, min_offload=0.5)
    result = export(asked)
    assert result.placement is not None and unit in result.placement.in_words() and not _gate(asked, result)
    told = summary(result, Speed({}, "here"))["placement"]
    assert told["accelerated"] <= told["operators"] and told["offload"] == result.placement.offload
    with model_file(result.bundle) as file:
        assert file.target == target
        found = place(file, load_target(target))
    assert found.ops == result.placement.ops
    if target != "pi5":  # XNNPACK has no quantized softmax and pooling
        assert found.offload == 1 and not found.broken(1.0, require_accelerator=True)


def test_gates_where_nothing_is_known_are_refused_before_work(trained, tmp_path):
    with pytest.raises(UsageError, match="is not known"):
        export(plan(trained, tmp_path / "a", target="generic-cpu", require_accelerator=True))


def test_a_jetpack_says_which_tensorrt_counts(digits_onnx):
    with model_file(digits_onnx) as file:
        orin = load_target("jetson-orin")
        old, new = (place(file, orin, jetpack=version) for version in ("5.1", "6.2.1"))
        assert "Python 3.8, CUDA 11.4, cuDNN 8.6, TensorRT 8.5 (ONNX opset up to 17)" in old.notes[0]
        assert "JetPack 6.2: Python 3.10" in new.notes[0] and "TensorRT 10.3" in new.notes[1]
        assert old.ops == place(file, orin, tensorrt="8.5").ops and new.ops == place(file, orin).ops
