"""The Edge TPU back end up to the device itself, which only a stand-in for its library shows here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgekit_runtime import Runtime
from edgekit_runtime.backends import backend, edgetpu_library
from edgekit_runtime.bundle import write_bundle
from edgekit_runtime.errors import BackendError, MissingRequirement
from edgekit_runtime.manifest import Variant

from ..conftest import X, double_manifest

PAIR = "coral_pairs/LibrEdgeTPU__dense_256_edgetpu.tflite"
needs_cc = pytest.mark.tool("cc")


@pytest.fixture(autouse=True)
def interpreter(needs_backend):
    needs_backend("litert")


def test_without_its_library_it_is_missing_and_says_what_to_do(machine, monkeypatch):
    edgetpu = backend("edgetpu")
    assert edgetpu.version() is None
    with pytest.raises(MissingRequirement, match="libedgetpu.so.1 is not installed") as error:
        edgetpu.open(edgetpu.probe_model())
    assert "libedgetpu1-std" in error.value.hint and error.value.exit_code == 4
    monkeypatch.setenv("EDGEKIT_EDGETPU_LIBRARY", "/nowhere/lib.so")
    with pytest.raises(MissingRequirement, match="/nowhere/lib.so, which is no file"):
        edgetpu.open(edgetpu.probe_model())


@needs_cc
def test_without_a_device_nothing_is_loaded(machine, coral):
    coral("CRASHES")
    (machine / "dev/apex_0").unlink()
    with pytest.raises(MissingRequirement, match="no Edge TPU is connected"):
        backend("edgetpu").open(backend("edgetpu").probe_model())


@pytest.mark.parametrize(
    ("vendor", "product", "said"), [("1a6e", "089a", "not yet started"), ("18D1", "9302", "running"), ("1d6b", "2", "")]
)
def test_devices_on_the_bus_are_told_from_other_devices(machine, vendor, product, said):
    folder = machine / "sys/bus/usb/devices/2-1"
    folder.mkdir(parents=True)
    (folder.parent / "2-1:1.0").mkdir()
    (folder / "idVendor").write_text(f"{vendor}\n")
    (folder / "idProduct").write_text(f"{product}\n")
    found = edgetpu_library.find_devices()
    assert len(found) == bool(said) and all(said in device for device in found)


@needs_cc
def test_a_library_that_loads_is_tried_once_and_then_trusted(coral, tmp_path, monkeypatch):
    coral("CLAIMS_NOTHING")
    edgetpu = backend("edgetpu")
    with pytest.MonkeyPatch.context() as patch:
        tried = []
        real = edgetpu_library.subprocess.run
        patch.setattr(edgetpu_library.subprocess, "run", lambda *a, **k: tried.append(a) or real(*a, **k))
        for _ in range(2):
            session = edgetpu.open(edgetpu.probe_model())
            assert session.run([X[:1]])[0].tolist() == (X[:1] * 2).tolist()
            assert "nothing for it" in session.placement
            session.close()
        assert len(tried) == 1, "the second time its verdict is known"
        monkeypatch.setenv("EDGEKIT_EDGETPU_DEVICE", "usb:0")
        edgetpu.open(edgetpu.probe_model()).close()
        assert len(tried) == 2, "another device is another verdict"


@needs_cc
@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("CRASHES", "kills the process (SIGSEGV) while it looks for its device"),
        ("ABORTS", "kills the process (SIGABRT)"),
        ("CRASHES_LATER", "kills the process (SIGSEGV) while it loads the model"),
        ("NO_DEVICE", "stand-in: no device"),
    ],
)
def test_a_library_that_fails_is_an_error_and_not_our_end(coral, mode, said):
    library = coral(mode)
    with pytest.raises(BackendError) as error:
        backend("edgetpu").open(backend("edgetpu").probe_model())
    assert said in str(error.value) and str(library) in str(error.value) and "\n" not in str(error.value)
    assert error.value.hint


@needs_cc
def test_what_is_not_compiled_is_refused_rather_than_run_on_the_cpu(coral, assets):
    coral("CLAIMS_NOTHING")
    with pytest.raises(BackendError, match="not compiled for the Edge TPU"):
        backend("edgetpu").open((assets / PAIR.replace("_edgetpu", "")).read_bytes())
    with pytest.raises(BackendError, match="while it loads the model .*edgetpu-custom-op"):
        backend("edgetpu").open((assets / PAIR).read_bytes())  # a library that does not take its operator


@pytest.mark.parametrize("name", ["litert", "tflite"])
def test_a_compiled_file_without_its_delegate_says_so(assets, needs_backend, name):
    needs_backend(name)
    try:
        backend(name).open(backend(name).probe_model()).close()
    except MissingRequirement as error:
        pytest.skip(str(error))
    with pytest.raises(BackendError, match="compiled for an Edge TPU") as error:
        backend(name).open((assets / PAIR).read_bytes())
    assert "--backend litert" in error.value.hint


@pytest.fixture
def coral_bundle(tmp_path):
    """A bundle as for Coral: what is chosen is for the Edge TPU, its twin is for the CPU."""
    manifest, members = double_manifest()
    twin = manifest.variant()
    compiled: Variant = replace(twin, name="tflite-fp32-edgetpu", backends=("edgetpu",))
    golden = replace(
        manifest.golden,
        expected=(*manifest.golden.expected, replace(manifest.golden.expected[0], variant=compiled.name)),
    )
    path = tmp_path / "coral.edgekit"
    write_bundle(
        path, manifest.replace(variants=(compiled, *manifest.variants), chosen=compiled.name, golden=golden), members
    )
    return path


def test_the_twin_runs_only_when_it_is_asked_for(coral_bundle, machine):
    with pytest.raises(MissingRequirement, match="is for the Edge TPU and cannot run here") as error:
        Runtime.open(coral_bundle)
    assert "--backend litert" in str(error.value)
    for asked in ({"backend": "litert"}, {"variant": "tflite-fp32"}):
        with Runtime.open(coral_bundle, **asked) as runtime:
            assert runtime.backend.name == "litert" and runtime.session.placement.startswith("CPU")
            assert runtime.tensors(X[0])["y"].tolist() == [2, 4, 6, 8]


@needs_cc
def test_a_device_that_fails_is_not_replaced_by_the_twin(coral_bundle, coral):
    coral("CRASHES")
    with pytest.raises(BackendError, match="kills the process"):
        Runtime.open(coral_bundle)
    coral("CLAIMS_NOTHING")
    with Runtime.open(coral_bundle) as runtime:
        assert runtime.backend.name == "edgetpu" and np.array_equal(runtime.tensors(X[0])["y"], X[0] * 2)
