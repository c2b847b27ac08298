"""Forms that models come in, and what is wrong with bad ones."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from edgekit_converters.errors import ConversionError, NoConversion, SourceError, UntrustedPickle, UsageError
from edgekit_converters.fidelity import compare, random_feeds
from edgekit_converters.isolated import Worker
from edgekit_converters.limits import TargetLimits
from edgekit_converters.registry import conversion, load_source
from edgekit_converters.source import SourceRequest
from edgekit_converters.sources.onnx import fit_limits

from ..models import LIMITS


@pytest.mark.parametrize("kind", ["saved", "pt2", "pt"])
def test_other_forms_of_the_same_frameworks_load(kind, models, tmp_path):
    if kind == "pt":
        request = SourceRequest(f"{models['torch']}:network", models["pt"], {"": (-1, 3, 16, 16)})
    else:
        request = SourceRequest(str(models[kind]))
    source = load_source(request)
    try:
        converted = conversion(source.framework, "onnx")(source, tmp_path, LIMITS)
        assert compare(source, converted, random_feeds(source.inputs, 3, 0), strict=True).max_abs <= 1e-4
    finally:
        source.close()


def test_torch_pictures_become_channels_last_where_the_target_wants_it(models, tmp_path):
    request = SourceRequest(f"{models['torch']}:network", models["safetensors"], {"": (-1, 3, 16, 16)})
    source = load_source(request)
    converted = conversion("torch", "tflite")(source, tmp_path, LIMITS)
    assert converted.inputs[0].shape == (1, 16, 16, 3) and converted.inputs[0].transpose == (0, 2, 3, 1)


def test_an_empty_cell_names_the_ways_round_it():
    with pytest.raises(NoConversion, match="original PyTorch or Keras") as error:
        conversion("onnx", "tflite")
    assert error.value.exit_code == 2


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("owned"),))


def test_weights_that_would_run_code_are_refused(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil()))
    import torch

    torch.save({"a": Evil()}, tmp_path / "evil2.pt")
    for name in ("evil.pt", "evil2.pt"):
        request = SourceRequest(f"{models['torch']}:network", tmp_path / name, {"": (1, 3, 16, 16)})
        with pytest.raises((UntrustedPickle, SourceError)):
            load_source(request)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("suffix", [".onnx", ".tflite", ".pt2", ".keras"])
@pytest.mark.parametrize("content", [b"", b"not a model at all", b"\x00\x01TFL3" + b"\xff" * 64])
def test_corrupt_files_are_one_sentence(suffix, content, tmp_path):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises((SourceError, ConversionError)) as error:
        load_source(SourceRequest(str(path)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("{code}:missing", "no 'missing'"),
        ("{code}:nothing", "not a torch.nn.Module"),
        ("{code}:network", "--input-shape"),
        ("nowhere.py:network", "no file"),
        ("no_such_package:network", "cannot import"),
        ("weights.pth", "weights without the network"),
        ("model.xyz", "no file model.xyz"),
        ("{code}", "what kind of model"),
    ],
)
def test_models_that_cannot_work_say_why(models, model, message):
    with pytest.raises((SourceError, UsageError), match=message):
        load_source(SourceRequest(model.format(code=models["torch"])))


def test_weights_that_do_not_fit_are_named(models, tmp_path):
    from safetensors.numpy import save_file

    save_file({"other": np.zeros(3, np.float32)}, str(tmp_path / "w.safetensors"))
    with pytest.raises(SourceError, match="do not fit"):
        load_source(SourceRequest(f"{models['torch']}:network", tmp_path / "w.safetensors", {"": (1, 3, 16, 16)}))


def test_a_file_of_a_higher_opset_is_lowered_to_the_targets_and_answers_the_same(onnx_file, tmp_path):
    import onnx

    source = load_source(SourceRequest(str(onnx_file)))
    converted = conversion("onnx", "onnx")(source, tmp_path, TargetLimits(("onnx",), max_opset=18, max_ir=9))
    written = onnx.load(str(converted.path))
    assert written.opset_import[0].version == 18 and written.ir_version == 9
    assert compare(source, converted, random_feeds(source.inputs, 3, 0), strict=True).max_abs <= 1e-4


def test_an_opset_that_cannot_be_lowered_is_named(tmp_path):
    from onnx import TensorProto, helper, save

    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4, 4]) for n in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Gelu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    path = tmp_path / "gelu.onnx"
    save(helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 20)]), str(path))
    with pytest.raises(ConversionError, match="opset 20, the target takes up to 11"):
        fit_limits(path, TargetLimits(("onnx",), max_opset=11))


def test_a_child_that_dies_is_an_error_with_its_log():
    with Worker("edgekit_converters", "torch") as worker, pytest.raises(ConversionError, match="ended with code 7"):
        worker.call("os:_exit", status=7)
    with Worker("edgekit_converters", "torch") as worker, pytest.raises(ConversionError, match="StatisticsError"):
        worker.call("statistics:fmean", data=[])


def test_the_old_keras_model_of_mlperf_tiny_keeps_its_answers(assets, tmp_path):
    source = load_source(SourceRequest(str(assets / "models/vww_96/vww_96.h5")))
    try:
        assert source.framework == "keras-legacy"
        for format in ("onnx", "tflite"):
            converted = conversion(source.framework, format)(source, tmp_path, LIMITS)
            assert compare(source, converted, random_feeds(source.inputs, 2, 0), strict=True).max_abs <= 1e-4
    finally:
        source.close()
