"""Bundles for Coral with a compiled model and its CPU twin.

The compiler is a stand-in that copies what Google's once made of the very same source, so that the compiled file is
real and the compiling is not.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from edgekit.pipeline import export
from edgekit.plan import ExportPlan
from edgekit.speed import measure
from edgekit_converters.errors import ConversionError
from edgekit_runtime import Bundle, Runtime
from edgekit_runtime.errors import MissingRequirement
from edgekit_runtime.selftest import selftest

from .conftest import edgekit

PAIR = "coral_pairs/test_data__mobilenet_v1_0.25_128_quant"


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """Call with a script: what ``edgetpu_compiler`` on PATH does then; without any it is not there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")

    def become(script: str) -> None:
        program = folder / "edgetpu_compiler"
        program.write_text(f"#!/bin/sh\n# stand-in for the Edge TPU compiler, which no package index has\n{script}\n")
        program.chmod(0o755)

    return become


def copying(assets: Path) -> str:
    compiled = assets / f"{PAIR}_edgetpu.tflite"
    return f'name=$(basename "$4" .tflite); cp "{compiled}" "$3/${{name}}_edgetpu.tflite"; ' \
           "echo 'Edge TPU Compiler version 16.0 (stand-in)'"  # fmt: skip


def plan(assets: Path, folder: Path, **changes) -> ExportPlan:
    return ExportPlan(f"{assets / PAIR}.tflite", "coral", output=str(folder / "a"), **changes)


def test_a_compiled_model_ships_with_its_twin(assets, tmp_path, compiler):
    compiler(copying(assets))
    result = export(plan(assets, tmp_path, require_compiled=True))
    chosen, twin = result.manifest.variants
    assert result.manifest.chosen == chosen.name == f"{twin.name}-edgetpu" == result.choice.name
    assert chosen.backends == ("edgetpu",) and twin.backends == ("litert", "tflite")
    assert result.placement is not None and result.placement.origin == "compiled" and result.placement.accelerated
    assert "16.0" in result.manifest.tools["edgetpu_compiler"]
    assert twin.name in measure(result.bundle).medians and chosen.name not in measure(result.bundle).medians
    with Bundle.open(result.bundle) as bundle:
        assert bundle.read(chosen.file) == (assets / f"{PAIR}_edgetpu.tflite").read_bytes()
        expected = {e.variant: e for e in bundle.manifest.golden.expected}
        assert expected[chosen.name].backend == "litert", "what the Edge TPU must repeat is what its twin gave"
        assert selftest(bundle, variant=twin.name).passed and selftest(bundle, backend="litert").passed
    with pytest.raises(MissingRequirement, match="is for the Edge TPU"):
        Runtime.open(result.bundle)
    with Runtime.open(result.bundle, backend="litert") as runtime:
        ends = [(i.name, i.shape) for i in runtime.manifest.inputs]
        assert runtime.variant.name == twin.name
        assert runtime.run({n: np.zeros((1, *s[1:]), i.dtype) for (n, s), i in zip(ends, runtime.manifest.inputs)})


def test_without_the_compiler_the_twin_is_alone_and_says_so(assets, tmp_path, compiler):
    result = export(plan(assets, tmp_path))
    (twin,) = result.manifest.variants
    assert "litert" in twin.backends and result.placement is not None and result.placement.origin == "predicted"
    assert any("edgetpu_compiler -s" in w and "not compiled" in w for w in result.manifest.warnings)
    refused = edgekit("export", f"{assets / PAIR}.tflite", "-t", "coral", "-o", "b", "--require-compiled", cwd=tmp_path)
    assert refused.returncode == 4 and "edgetpu_compiler is not on PATH" in refused.stderr
    assert not (tmp_path / "b.edgekit").exists()


def test_a_compiler_that_refuses_ends_the_export(assets, tmp_path, compiler):
    compiler("echo 'Internal compiler error. Aborting!' >&2; exit 1")
    with pytest.raises(ConversionError, match="Internal compiler error"):
        export(plan(assets, tmp_path))
    assert not (tmp_path / "a.edgekit").exists()


def test_the_command_line_shows_how_to_run_the_twin(assets, tmp_path, compiler):
    compiler(copying(assets))
    done = edgekit("export", f"{assets / PAIR}.tflite", "-t", "coral", "-o", "a", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["chosen"].endswith("-edgetpu") and data["placement"]["origin"] == "compiled"
    assert "--backend litert" in done.stderr
