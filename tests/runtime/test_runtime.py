"""Opening, running and self-testing bundles on the interpreters that are installed here."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgekit_runtime import Bundle, Runtime
from edgekit_runtime.backends import FileTensor, backend, choose
from edgekit_runtime.binding import feeder, fetcher
from edgekit_runtime.bundle import write_bundle
from edgekit_runtime.cli import main
from edgekit_runtime.emulation import emulator
from edgekit_runtime.errors import BundleError, MissingRequirement, SelfTestError, UsageError
from edgekit_runtime.manifest import Binding, TensorInfo
from edgekit_runtime.selftest import selftest

from .conftest import X, double_manifest


def test_a_wrong_answer_fails_the_self_test_loudly(tmp_path, needs_backend):
    needs_backend("onnx")
    manifest, members = double_manifest(expected_scale=2.5)
    write_bundle(tmp_path / "a.edgekit", manifest, members)
    with Bundle.open(tmp_path / "a.edgekit") as bundle:
        report = selftest(bundle, variant="onnx-fp32")
    assert not report.passed
    with pytest.raises(SelfTestError, match=r"onnx-fp32.*'y'.*golden sample 1.*3\.5"):
        report.require()


def test_a_forced_back_end_that_is_missing_names_its_extra(monkeypatch):
    absent = backend("onnx")
    monkeypatch.setattr(type(absent), "version", lambda self: None)
    with pytest.raises(MissingRequirement, match=r"edgekit-runtime\[onnx\]"):
        choose(("onnx",), "onnx")
    with pytest.raises(MissingRequirement, match=r"edgekit-runtime\[onnx\]"):
        choose(("onnx",))


def test_a_mistyped_back_end_gets_the_closest(double):
    with pytest.raises(UsageError, match="did you mean litert"):
        Runtime.open(double, backend="litrt")
    with pytest.raises(UsageError, match="cannot open this variant"):
        Runtime.open(double, variant="tflite-fp32", backend="onnx")
    with pytest.raises(BundleError, match="no variant"):
        Runtime.open(double, variant="int4")


def test_quantized_ends_round_half_to_even_saturate_and_come_back():
    info = TensorInfo("x", (1, 4))
    binding = Binding("x", "x", (1, 4), "int8", 0.5, 10)
    found = FileTensor("x", (1, 4), "int8", 0.5, 10)
    fed = feeder(info, binding, found)(np.array([[0.25, 0.75, 1000.0, -1000.0]], np.float32))
    assert fed.dtype == np.int8 and fed.tolist() == [[10, 12, 127, -128]]
    back = fetcher(info, binding, found)(np.array([[10, 12, 127, -128]], np.int8))
    assert back.dtype == np.float32 and back.tolist() == [[0.0, 1.0, 58.5, -69.0]]


def test_transposed_ends_round_trip():
    info = TensorInfo("x", (1, 3, 2, 4))
    binding = Binding("x", "x", (1, 2, 4, 3), transpose=(0, 2, 3, 1))
    found = FileTensor("x", (1, 2, 4, 3), "float32")
    value = np.arange(24, dtype=np.float32).reshape(1, 3, 2, 4)
    fed = feeder(info, binding, found)(value)
    assert fed.shape == (1, 2, 4, 3) and fed[0, 1, 2, 0] == value[0, 0, 1, 2]
    assert np.array_equal(fetcher(info, binding, found)(fed), value)


@pytest.mark.parametrize("arguments", [["selftest"], ["predict"], ["benchmark", "--seconds=0.01"], ["inspect"]])
def test_the_command_line(double, tmp_path, capsys, needs_backend, arguments):
    needs_backend("litert")
    verb, *options = arguments
    np.save(tmp_path / "row.npy", X[0])
    inputs = [str(tmp_path / "row.npy")] if verb == "predict" else []
    with pytest.raises(SystemExit) as stop:
        main([verb, *options, "--json", str(double), *inputs])
    if verb == "benchmark" and emulator():
        assert stop.value.code == 2 and "times say nothing" in capsys.readouterr().err
        return
    assert stop.value.code == 0
    printed = json.loads(capsys.readouterr().out)
    key = {"selftest": "passed", "predict": "predictions", "benchmark": "p50_ms", "inspect": "schema"}[verb]
    assert printed[key]


def test_errors_on_the_command_line_are_one_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["selftest", str(tmp_path / "none.edgekit")])
    assert stop.value.code == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and "cannot open" in captured.err and not captured.out
