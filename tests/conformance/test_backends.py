"""What every device back end must hold. Needs edgekit-runtime alone: the device environments run this file too."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from edgekit_runtime import Bundle, Runtime
from edgekit_runtime.backends import backend, backend_names
from edgekit_runtime.bundle import write_bundle
from edgekit_runtime.doctor import probe
from edgekit_runtime.errors import BackendError, MissingRequirement, UsageError
from edgekit_runtime.manifest import Binding, Tolerance, Variant
from edgekit_runtime.selftest import selftest

from ..runtime.conftest import X, double_manifest

every_back_end = pytest.mark.parametrize("name", backend_names())


@pytest.fixture
def works(needs_backend):
    """Call with a name: the back end, or a skip where its interpreter is not here or cannot run with this numpy."""

    def get(name: str):
        needs_backend(name)
        found = backend(name)
        try:
            found.open(found.probe_model()).close()
        except MissingRequirement as error:
            pytest.skip(str(error))
        return found

    return get


@every_back_end
def test_a_back_end_says_what_it_is_without_its_interpreter(name):
    found = backend(name)
    assert found.name == name and found.package and found.extra and found.formats
    assert len(found.probe_model()) < 10_000


@every_back_end
def test_an_interpreter_that_is_missing_names_its_extra(name, monkeypatch):
    found = backend(name)
    monkeypatch.setattr(type(found), "version", lambda self: None)
    with pytest.raises(MissingRequirement) as error:
        found.open(found.probe_model())
    assert (found.install or f"edgekit-runtime[{found.extra}]") in str(error.value)


@every_back_end
def test_a_session_runs_and_refuses_what_does_not_fit(name, works):
    session = works(name).open(memoryview(backend(name).probe_model()), threads=1)
    (taken,), (given,) = session.inputs, session.outputs
    assert taken.dtype == given.dtype == "float32" and taken.shape[-1] == 4 and session.placement
    first = session.run([X[:1]])[0]
    second = session.run([X[1:]])[0]
    assert first.tolist() == (X[:1] * 2).tolist() and second.tolist() == (X[1:] * 2).tolist(), "each answer is kept"
    assert session.run_named({taken.name: X[:1]})[given.name].tolist() == first.tolist()
    for wrong in ([], [X[:1], X[:1]], [np.zeros((1, 5), np.float32)], [X[:1].astype(np.float64)]):
        with pytest.raises(BackendError) as error:
            session.run(wrong)
        assert "\n" not in str(error.value)
    assert session.run([X[:1]])[0].tolist() == first.tolist(), "a refusal leaves the session whole"
    session.close()
    session.close()
    with pytest.raises(BackendError):
        session.run([X[:1]])


@every_back_end
def test_what_is_no_model_is_refused_in_one_sentence(name, works):
    found = works(name)
    good = found.probe_model()
    contents = [b"", b"no model", b"\xff" * 300]
    if name != "tflite":  # it reads a truncated file to its death; a bundle hands out none, as members are hashed
        contents.append(good[: len(good) // 4])
    for content in contents:
        with pytest.raises(BackendError) as error:
            found.open(content)
        assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="thread"):
        found.open(good, threads=0)


@every_back_end
def test_sessions_of_two_threads_do_not_mix(name, works):
    found = works(name)
    wrong = []

    def use(number: float) -> None:
        session = found.open(found.probe_model(), threads=1)
        value = np.full((1, 4), number, np.float32)
        wrong.extend(1 for _ in range(50) if session.run([value])[0].tolist() != [[2 * number] * 4])
        session.close()

    threads = [threading.Thread(target=use, args=(float(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@every_back_end
def test_a_bundle_answers_and_passes_its_self_test(name, works, tmp_path):
    found = works(name)
    manifest, members = double_manifest()
    file = f"models/own.{found.formats[0]}"
    session = found.open(found.probe_model())
    ends = {
        side: (Binding(tensor, t.name, (1, 4)),)
        for side, tensor, (t,) in (("inputs", "x", session.inputs), ("outputs", "y", session.outputs))
    }
    session.close()
    own = Variant("own", found.formats[0], "fp32", file, backends=(name,), **ends)
    exact = {"own": Tolerance(0.0)}
    expected = replace(manifest.golden.expected[0], variant="own", backend=name)
    golden = replace(manifest.golden, expected=(expected,), same_backend=exact, other_backend=exact)
    manifest = manifest.replace(variants=(own,), chosen="own", golden=golden)
    kept = {n: c for n, c in members.items() if not n.startswith("models/")}
    write_bundle(tmp_path / "own.edgekit", manifest, {**kept, file: found.probe_model()})
    with Runtime.open(tmp_path / "own.edgekit", backend=name, trust=found.native) as model:
        assert model.tensors(X[0])["y"].tolist() == [2, 4, 6, 8]
        assert [a["y"].tolist() for a in model.predict_batch(list(X))] == (X * 2).tolist()
        with pytest.raises(BackendError, match=r"takes shape .1, 4."):
            model.tensors(np.zeros(5, np.float32))
        with pytest.raises(BackendError, match="missing"):
            model.run({"z": X[:1]})
    with Bundle.open(tmp_path / "own.edgekit") as bundle:
        report = selftest(bundle, backend=name, trust=found.native)
    assert report.passed and report.samples == 2


@every_back_end
def test_doctor_runs_a_real_model(name, needs_backend):
    needs_backend(name)
    finding = probe(name)
    broken_by_numpy = name == "tflite" and int(np.__version__.split(".")[0]) > 1
    assert finding.state == ("broken" if broken_by_numpy else "works"), finding
    assert not broken_by_numpy or "numpy<2" in finding.fix
