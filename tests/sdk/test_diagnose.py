"""Faults planted into bundles are found, named and mended; a healthy bundle has none."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgekit import DiagnosePlan, ExportPlan, diagnose, export
from edgekit.contract.diagnose import Diagnosis
from edgekit_converters.limits import TargetLimits
from edgekit_converters.registry import conversion, load_source
from edgekit_converters.source import SourceRequest
from edgekit_runtime import Bundle

from ..coloured import LABELS, NONE, SCALINGS, SIZE, Trained, one_class, scaled_channel, specification
from .conftest import edgekit

FORMATS = {"plain": "tflite", "normed": "onnx", "dense": "onnx"}
FAULTS = {"channel": "channels", "colour": "preprocessing", "calibration": "calibration", "scaling": "preprocessing"}
"""Fault to the kind of finding that names it."""


@dataclass(frozen=True)
class Clinic:
    """Where bundles are made ill: every one is exported once, from float files that were converted once."""

    trained: Trained
    folder: Path
    channels: dict[str, int]

    @property
    def data(self) -> str:
        return self.trained.data

    def source(self, network: str, fault: str = "") -> Path:
        """The float file that a bundle is made from."""
        return self.folder / f"{network}{'-scaled' if fault == 'channel' else ''}.{FORMATS[network]}"

    def bundle(self, network: str, fault: str = "", **changes) -> Path:
        """A bundle with a fault, or a healthy one."""
        path = self.folder / f"{network}-{fault or 'healthy'}-{'-'.join(changes)}.edgekit"
        if path.exists():
            return path
        steps = self.folder / f"{path.stem}.json"
        scaling = NONE if fault == "scaling" else SCALINGS[network]
        steps.write_text(json.dumps(specification(scaling, "rgb" if fault == "colour" else "bgr")))
        if fault == "calibration":
            faint = self.folder / "faint.npz"
            np.savez(faint, **one_class(self.trained.arrays, 0))
            changes["calibration_data"] = str(faint)
        settings = {"quantize": "int8", "format": FORMATS[network], **changes}
        made = export(ExportPlan(str(self.source(network, fault)), "generic-cpu", data=self.data,
                                 preprocess=str(steps), output=str(path), **settings))  # fmt: skip
        assert made.bundle == path
        return path

    def diagnosed(self, network: str, fault: str, output: Path, **changes) -> Diagnosis:
        plan = DiagnosePlan(str(self.bundle(network, fault)), data=self.data, apply=True, output=str(output),
                            source=str(self.source(network, fault)), **changes)  # fmt: skip
        return diagnose(plan)


@pytest.fixture(scope="module")
def clinic(coloured, tmp_path_factory) -> Clinic:
    """Float files of the three networks, and of the same with a channel scaled by a thousand."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("clinic")
    channels: dict[str, int] = {}
    for network, format in FORMATS.items():
        state = load_file(str(coloured.weights(network)))
        scaled, channels[network] = scaled_channel(state)
        for suffix, weights in (("", state), ("-scaled", scaled)):
            save_file(weights, str(folder / "state.safetensors"))
            request = SourceRequest(coloured.model(network), folder / "state.safetensors", {"": (-1, 3, SIZE, SIZE)})
            source = load_source(request)
            made = conversion("torch", format)(source, folder, TargetLimits((format,)))
            source.close()
            shutil.move(made.path, folder / f"{network}{suffix}.{format}")
    return Clinic(coloured, folder, channels)


@pytest.mark.parametrize("network", FORMATS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_named_and_mended(network, fault, clinic, tmp_path):
    found = clinic.diagnosed(network, fault, tmp_path / "mended")
    assert found.reachable > 0.93 and found.shipped < found.reachable - 0.04, "the fault does harm"
    first = found.findings[0]
    assert [f.kind for f in found.findings] == [FAULTS[fault]], "and nothing else is blamed"
    assert first.explains == pytest.approx(found.reachable - found.shipped, abs=0.06)
    _named(first, fault, clinic.channels[network])
    if fault == "channel":
        asked = [layer for layer in found.layers if layer.alone is not None]
        assert len(asked) == 3 and max(layer.alone for layer in asked) > 0.1, "the layer does the harm by itself"
    assert f"--only {first.kind} --apply" in first.command
    repair = found.repair
    assert repair.held and repair.applied == (first.fix.name,)
    assert repair.accuracy > found.reachable - 0.015, "back within a point and a half of float"
    with Bundle.open(repair.bundle) as mended, Bundle.open(found.bundle) as ill:
        assert mended.manifest.variant().precision == "int8" == ill.manifest.variant().precision
        assert mended.manifest.variant().metrics["accuracy"] == repair.accuracy
        assert mended.manifest.warnings[-1] == f"repaired: {first.says}"


def _named(finding, fault: str, channel: int) -> None:
    """The very fault that was planted."""
    evidence = finding.evidence
    if fault == "channel":
        assert evidence["channel"] == channel and evidence["factor"] > 100
        assert f"channel {channel} of" in finding.says and "float" not in finding.fix.name, "mended at no cost"
    elif fault == "colour":
        assert finding.subject == "colour order" and (evidence["before"], evidence["after"]) == ("rgb", "bgr")
    elif fault == "calibration":
        assert evidence["missing"] == [str(n) for n in range(1, len(LABELS))]
        assert "1 of 12 classes" in finding.says and finding.fix.recalibrate
    else:
        assert finding.subject == "missing normalisation"
        assert evidence["before"] == "0..255"
        assert evidence["input_before"]["high"] > 100 and abs(evidence["input_after"]["high"]) < 10


@pytest.mark.parametrize("network", FORMATS)
def test_a_healthy_bundle_has_nothing(network, clinic, tmp_path):
    found = clinic.diagnosed(network, "", tmp_path / "mended")
    assert found.findings == () and found.shipped > 0.93
    assert found.repair.bundle is None and found.repair.held and not (tmp_path / "mended.edgekit").exists()
    assert len(found.layers) > 3
    assert list(found.layers) == sorted(found.layers, key=lambda layer: layer.sqnr_db)
    assert all(layer.sqnr_db > 10 and layer.cosine > 0.95 for layer in found.layers)


def test_two_faults_at_once_are_told_apart(clinic, tmp_path):
    """The colour order shows only once the scaling is right."""
    steps = tmp_path / "both.json"
    steps.write_text(json.dumps(specification(NONE, "rgb")))
    made = export(ExportPlan(str(clinic.source("normed")), "generic-cpu", data=clinic.data, preprocess=str(steps),
                             quantize="int8", output=str(tmp_path / "both")))  # fmt: skip
    plan = DiagnosePlan(str(made.bundle), data=clinic.data, source=str(clinic.source("normed")), apply=True)
    found = diagnose(plan)
    assert {f.subject for f in found.findings} == {"missing normalisation", "colour order"}
    assert found.repair.held and found.repair.bundle == tmp_path / "both-repaired.edgekit"
    with Bundle.open(found.repair.bundle) as mended:
        steps = mended.manifest.specification.input
    assert steps[0]["colour"] == "bgr" and {"step": "normalize"}.items() <= steps[3].items()


def test_without_the_repair_for_it_the_layers_that_suffer_are_kept_in_float(clinic, tmp_path):
    found = clinic.diagnosed("plain", "channel", tmp_path / "mended", only=("layers",))
    layers = found.findings[0]
    assert layers.kind == "layers" and layers.fix.name.startswith("keep ") and found.repair.held
    with Bundle.open(found.repair.bundle) as mended:
        assert mended.manifest.variant().recipe[-1]["exclude"]


def test_the_command_repairs_and_says_so(clinic, tmp_path):
    """The bundle's own float variant is enough where it has one."""
    bundle = shutil.copy(clinic.bundle("normed", "channel", quantize="auto", keep="all"), tmp_path / "digits.edgekit")
    with Bundle.open(bundle) as ill:
        assert ill.manifest.variant().precision == "fp32", "int8 had collapsed, and was given up"
    words = ["diagnose", "digits.edgekit", "--data", clinic.data]
    done = edgekit(*words, "--apply", "--report", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    first = said["findings"][0]
    assert (
        first["kind"] == "channels"
        and first["explains"] > 0.2  # corrected biases take back a part of it
        and first["evidence"]["channel"] == clinic.channels["normed"]
    )
    assert said["repair"]["held"] and said["repair"]["bundle"] == "digits-repaired.edgekit"
    assert first["fix"]["recipe"][-1]["equalise"] is True
    assert "SQNR dB" in done.stderr and "fix: equalise channels" in done.stderr
    page = (tmp_path / "digits-diagnosis.html").read_text()
    assert "equalise channels" in page and "<svg" in page and 'src="http' not in page
    with Bundle.open(tmp_path / "digits-repaired.edgekit") as mended:
        assert [v.precision for v in mended.manifest.variants] == ["int8", "fp32"] and mended.manifest.chosen[
            :9
        ] == "onnx-int8"
    again = edgekit("diagnose", "digits-repaired.edgekit", "--data", clinic.data, cwd=tmp_path)
    assert again.returncode == 0 and "nothing found" in again.stdout
    done = edgekit(*words, "--apply", cwd=tmp_path)
    assert done.returncode == 2 and "digits-repaired.edgekit exists already: give --overwrite" in done.stderr


def test_what_cannot_be_repaired_ends_with_3(clinic, tmp_path):
    """Only calibration is looked for, which is not at fault."""
    words = ["--data", clinic.data, "--source", str(clinic.source("dense", "channel")), "--only", "calibration"]
    done = edgekit("diagnose", str(clinic.bundle("dense", "channel")), *words, "--apply", "-o", "x", cwd=tmp_path)
    assert done.returncode == 3 and "not repaired" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "x.edgekit").exists()
