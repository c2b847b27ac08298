"""A variant that the target cannot run is left out aloud; where none is left, nothing is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.fit import misfits
from edgekit.pipeline import export
from edgekit.targets import Check, load_target, registry
from edgekit_converters.errors import ConversionError
from edgekit_converters.needs import memory_bytes, operator_versions
from edgekit_converters.recipe import Converted
from edgekit_runtime import Bundle

from .conftest import plan


@pytest.fixture(scope="module")
def tflite(trained, tmp_path_factory) -> Path:
    """An int8 and a float TFLite file of the digits, from one bundle."""
    folder = tmp_path_factory.mktemp("tflite")
    result = export(plan(trained, folder / "a", target="pi5", keep="all"))
    with Bundle.open(result.bundle) as bundle:
        for variant in bundle.manifest.variants:
            bundle.extract(variant.file, folder)
    return folder


def converted(path: Path, format_: str = "tflite") -> Converted:
    return Converted(path, format_, "fp32", (), ())


def limited(monkeypatch, **limits) -> str:
    """A target like pi5 with other limits, registered for the test."""
    pi5 = load_target("pi5")
    checks = limits.pop("checks", ())
    target = replace(pi5, name="tiny-pi", limits=replace(pi5.limits, **limits), checks=checks)
    monkeypatch.setattr(registry, "TINY", target, raising=False)
    monkeypatch.setitem(registry.TARGETS, "tiny-pi", "edgekit.targets.registry:TINY")
    return target.name


def test_operator_versions_and_memory_are_read_from_the_file(tflite):
    versions = operator_versions(tflite / "tflite-fp32.tflite")
    assert versions["CONV_2D"] >= 1 and versions["FULLY_CONNECTED"] >= 1
    assert set(operator_versions(tflite / "tflite-int8.tflite")) == {*versions, "QUANTIZE", "DEQUANTIZE"}
    for name, size in (("fp32", 4), ("int8", 1)):
        path = tflite / f"tflite-{name}.tflite"
        # the first convolution reads 32 x 32 x 1 and writes 16 x 16 x 16, both alive at once
        activations = memory_bytes(path, "tflite") - path.stat().st_size
        assert 16 * 16 * 16 * size <= activations <= 3 * (16 * 16 * 16 + 32 * 32) * 4
    assert memory_bytes(path, "onnx") == path.stat().st_size


def test_a_published_file_keeps_the_versions_it_was_made_with(assets):
    versions = operator_versions(assets / "models/kws_ref/kws_ref_model.tflite")
    assert versions == {"AVERAGE_POOL_2D": 2, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "RESHAPE": 1,
                        "SOFTMAX": 2}  # fmt: skip


def test_what_a_limit_says_is_told_with_operator_and_version(tflite):
    pi5 = load_target("pi5")
    float_file = converted(tflite / "tflite-fp32.tflite")
    have = operator_versions(float_file.path)
    same = replace(pi5, limits=replace(pi5.limits, op_versions=have))
    assert misfits(float_file, same) == ()
    older = replace(pi5, limits=replace(pi5.limits, op_versions={**have, "CONV_2D": have["CONV_2D"] - 1}))
    (found,) = misfits(float_file, older)
    assert found == f"it has CONV_2D version {have['CONV_2D']}, pi5 takes up to {have['CONV_2D'] - 1}"
    assert misfits(replace(float_file, format="onnx"), older) == ()


def test_a_variant_beyond_a_limit_is_left_out_and_the_next_ships(trained, tflite, monkeypatch, tmp_path):
    assert operator_versions(tflite / "tflite-int8.tflite")["QUANTIZE"] == 1
    name = limited(monkeypatch, op_versions={"QUANTIZE": 0})
    result = export(plan(trained, tmp_path / "a", target=name))
    assert result.choice.name == "tflite-fp32"
    assert [r.variant.name for r in result.variants] == ["tflite-fp32"]
    assert any("tflite-int8" in w and "QUANTIZE version 1" in w for w in result.manifest.warnings)


@pytest.mark.parametrize("limits", [{"memory_bytes": 20_000}, {"checks": (lambda _: Check(False, "it is too blue"),)}])
def test_where_nothing_fits_nothing_is_written(trained, monkeypatch, tmp_path, limits):
    reason = "too blue" if "checks" in limits else "MiB of memory, tiny-pi has 0.0"
    with pytest.raises(ConversionError, match=f"tflite-int8 does not fit.*{reason}.*tflite-fp32") as error:
        export(plan(trained, tmp_path / "a", target=limited(monkeypatch, **limits)))
    assert error.value.exit_code == 1 and not list(tmp_path.iterdir())


def test_checks_see_the_finished_file_and_may_agree(trained, monkeypatch, tmp_path):
    seen = []

    def check(path: Path) -> Check:
        seen.append(path.read_bytes()[4:8])
        return Check(True, "all of it runs")

    result = export(plan(trained, tmp_path / "a", target=limited(monkeypatch, checks=(check,)), quantize="fp32"))
    assert seen == [b"TFL3"] and result.bundle.exists()
    assert np.isfinite(result.variants[0].drop)
