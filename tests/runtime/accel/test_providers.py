"""Provider listings lie: shown with onnxruntime itself, which lists what it does not run on."""

from __future__ import annotations

import json

import pytest

from edgekit_runtime.backends import backend, onnx_provider
from edgekit_runtime.backends.onnx_provider import kernels, open_on
from edgekit_runtime.errors import BackendError

from ..conftest import X


@pytest.fixture(autouse=True)
def interpreter(needs_backend):
    needs_backend("onnx")


def probe() -> bytes:
    return backend("onnx").probe_model()


def test_a_provider_that_does_not_load_is_an_error_not_the_cpu():
    if backend("onnx-cuda").version() is not None:
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(BackendError, match="goes on without CUDAExecutionProvider"):
        open_on("CUDAExecutionProvider", {}, probe(), None, "GPU")


def test_a_provider_that_is_listed_and_runs_nothing_is_an_error():
    import onnxruntime

    idle = "AzureExecutionProvider"  # loads everywhere, and takes operators of its own alone
    if idle not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime is built without the one provider that is known to run nothing")
    with pytest.raises(BackendError, match="no operator of the model ran on it"):
        open_on(idle, {}, probe(), None, "cloud")


def test_what_ran_is_counted_and_the_session_goes_on():
    session = open_on("CPUExecutionProvider", {}, probe(), 1, "this very CPU")
    assert session.placement == "this very CPU, 1 of 1 kernels"
    assert session.run([X[:1]])[0].tolist() == (X[:1] * 2).tolist()
    session.close()


def test_kernels_are_counted_by_provider():
    def event(name: str, provider: str, kind: str = "Node") -> dict:
        return {"cat": kind, "name": name, "args": {"provider": provider}}

    events = [event("a_kernel_time", "X"), event("b_kernel_time", "X"), event("c_kernel_time", "CPU")]
    noise = [event("a_fence_before", "X"), {"cat": "Session", "name": "model_run", "args": {}}]
    assert kernels(json.dumps(events + noise)) == {"X": 2, "CPU": 1}
    with pytest.raises(BackendError, match="cannot be read"):
        kernels("[{")


@pytest.mark.parametrize("name", ["onnx-cuda", "onnx-tensorrt"])
def test_a_back_end_is_here_only_with_its_provider_library(name, tmp_path, monkeypatch):
    (tmp_path / "onnxruntime/capi").mkdir(parents=True)
    (tmp_path / "onnxruntime/__init__.py").touch()
    found = importlib_spec(tmp_path)
    monkeypatch.setattr(onnx_provider.importlib.util, "find_spec", lambda package: found)
    assert backend(name).version() is None
    (tmp_path / "onnxruntime/capi" / backend(name)._library).touch()
    assert backend(name).version() == backend("onnx").version()


def importlib_spec(folder):
    from importlib.machinery import PathFinder

    return PathFinder.find_spec("onnxruntime", [str(folder)])
