"""The engine cache, and trtexec as far as a stand-in for it goes: a script that writes what its mode says.

No TensorRT has run here; what is shown is when an engine is built, kept, built again and dropped.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit_runtime import engines
from edgekit_runtime.backends import backend
from edgekit_runtime.engines import (
    EngineCache,
    Identity,
    build_with_trtexec,
    flags_for,
    trtexec_reason,
    trtexec_version,
)
from edgekit_runtime.errors import BackendError, MissingRequirement

HERE = Identity("a" * 64, "10.3.0", "Orin")

STAND_IN = """#!/bin/sh
# stand-in for trtexec, which comes with TensorRT alone
echo "&&&& RUNNING TensorRT.trtexec [TensorRT v100300] [b26] # stand-in"
for word; do case "$word" in
--onnx=*) model="${word#--onnx=}";;
--saveEngine=*) engine="${word#--saveEngine=}";;
esac; done
"""
GOOD = 'printf "engine of %s bytes with" "$(wc -c < "$model")" > "$engine"; printf " %s" "$@" >> "$engine"'
BAD_OP = """
echo "[11/25/2026-10:00:00] [I] === Model Options ==="
echo "[11/25/2026-10:00:01] [E] [TRT] ModelImporter.cpp:732: --- End node ---"
echo "[11/25/2026-10:00:01] [E] Failed to parse onnx file"
exit 1"""


@pytest.fixture
def trtexec(tmp_path, monkeypatch):
    """Call with the script's end: what ``trtexec`` does from then on."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def become(script: str) -> None:
        (folder / "trtexec").write_text(STAND_IN + script + "\n")
        (folder / "trtexec").chmod(0o755)

    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setattr(engines, "_USUAL", tmp_path / "nowhere")
    return become


class Builder:
    """Builds by counting."""

    def __init__(self) -> None:
        self.built = 0

    def __call__(self, onnx: bytes) -> bytes:
        self.built += 1
        return b"engine of " + onnx


def refusing(*refused: int):
    """Loads what it is given, but for the calls of these numbers."""
    calls = iter(range(100))

    def load(engine: bytes) -> bytes:
        if next(calls) in refused:
            raise BackendError("TensorRT 10.3.0 cannot load the engine")
        return engine

    return load


def test_an_engine_is_built_once_and_again_after_an_upgrade(tmp_path, caplog):
    cache, build = EngineCache(tmp_path), Builder()
    for _ in range(2):
        assert cache.engine(b"model", HERE, build, bytes) == b"engine of model"
    assert build.built == 1
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(said) == 2 and "once" in said[0] and "Orin" in said[0] and "built in" in said[1]
    newer = Identity(HERE.onnx, "10.7.0", HERE.gpu)
    cache.engine(b"model", newer, build, bytes)
    assert build.built == 2 and [p.stem for p in (tmp_path / "engines").glob("*.engine")] == [newer.key]
    cache.engine(b"model", Identity(HERE.onnx, "10.7.0", "another GPU"), build, bytes)
    assert build.built == 3 and len(list((tmp_path / "engines").glob("*.engine"))) == 2, "a moved disk keeps both"


@pytest.mark.parametrize("damage", [lambda c: c[:-1], lambda c: b"", lambda c: c[:3] + b"\0" + c[4:]])
def test_a_damaged_engine_never_reaches_tensorrt(tmp_path, damage):
    cache, build, seen = EngineCache(tmp_path), Builder(), []
    cache.engine(b"model", HERE, build, bytes)
    place = tmp_path / "engines" / f"{HERE.key}.engine"
    place.write_bytes(damage(place.read_bytes()))
    assert cache.engine(b"model", HERE, build, lambda e: seen.append(e) or e) == b"engine of model"
    assert build.built == 2 and seen == [b"engine of model"]
    place.with_suffix(".json").unlink()
    cache.engine(b"model", HERE, build, bytes)
    assert build.built == 3, "an engine that nothing is known about is not trusted"


def test_what_tensorrt_refuses_is_built_again_once(tmp_path):
    cache, build = EngineCache(tmp_path), Builder()
    cache.engine(b"model", HERE, build, bytes)
    assert cache.engine(b"model", HERE, build, refusing(0)) == b"engine of model" and build.built == 2
    with pytest.raises(BackendError, match="cannot load"):
        cache.engine(b"model", HERE, build, refusing(0, 1))
    assert build.built == 3, "and not for ever"


def test_what_never_loads_is_not_kept(tmp_path):
    with pytest.raises(BackendError):
        EngineCache(tmp_path).engine(b"model", HERE, Builder(), refusing(0))
    assert not list((tmp_path / "engines").glob("*.engine"))


def test_the_cache_is_bounded_and_drops_what_was_not_used_for_longest(tmp_path):
    cache, build = EngineCache(tmp_path), Builder()
    many = [Identity(f"{n:064x}", "10.3.0", "Orin") for n in range(engines.KEPT + 2)]
    for number, one in enumerate(many):
        cache.engine(b"m", one, build, bytes)
        place = tmp_path / "engines" / f"{one.key}.engine"
        os.utime(place, (number, number))
        cache.engine(b"m", many[0], build, bytes)  # the first is used all the time
    left = {p.stem for p in (tmp_path / "engines").glob("*.engine")}
    assert len(left) == engines.KEPT and many[0].key in left and many[-1].key in left and many[1].key not in left


def test_a_folder_that_cannot_be_written_costs_a_build_each_time(tmp_path, caplog):
    (tmp_path / "file").touch()
    build = Builder()
    for _ in range(2):
        assert EngineCache(tmp_path / "file/x").engine(b"model", HERE, build, bytes) == b"engine of model"
    assert build.built == 2 and "cannot be kept" in caplog.text


def _build_in_a_process(folder: str, log: str) -> None:
    def build(onnx: bytes) -> bytes:
        with Path(log).open("a") as out:
            out.write("built\n")
        return b"engine"

    EngineCache(folder).engine(b"model", HERE, build, bytes)


def test_two_processes_build_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    arguments = (str(tmp_path), str(tmp_path / "log"))
    both = [context.Process(target=_build_in_a_process, args=arguments) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    assert (tmp_path / "log").read_text() == "built\n"


identities = st.builds(
    Identity,
    st.text(max_size=6),
    st.text(max_size=6),
    st.text(max_size=6),
    st.tuples() | st.tuples(st.text(max_size=6)),
)


@given(identities, identities)
def test_two_identities_share_a_key_only_when_they_are_one(a, b):
    assert (a.key == b.key) == (a == b)
    assert len(a.key) == 32 and a.key.isalnum()


def test_flags_follow_the_file_and_the_version(monkeypatch):
    monkeypatch.delenv(engines.FP16, raising=False)
    assert flags_for(b"..QuantizeLinear..", "10.3.0") == ("stronglyTyped",)
    assert flags_for(b"..QuantizeLinear..", "8.5.2") == ("int8",) and flags_for(b"..", "8.5.2") == ()
    monkeypatch.setenv(engines.FP16, "1")
    assert flags_for(b"..QuantizeLinear..", "8.5.2") == ("fp16", "int8")


@pytest.mark.parametrize(
    ("banner", "version"), [("[TensorRT v8502]", "8.5.2"), ("[TensorRT v8601] x", "8.6.1"), ("[TensorRT v100300]", "10.3.0"), ("", "")]
)  # fmt: skip
def test_a_version_is_read_out_of_trtexecs_banner(banner, version):
    assert trtexec_version(f"&&&& RUNNING TensorRT.trtexec {banner} # trtexec --help") == version


def test_trtexec_builds_with_the_flags_of_its_version(trtexec):
    trtexec(GOOD)
    engine = build_with_trtexec(b"12345", ("stronglyTyped",)).decode()
    assert "engine of 5 bytes" in engine and "--stronglyTyped" in engine and "--skipInference" in engine
    assert "--buildOnly" in build_with_trtexec(b"12345", ("int8",)).decode()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (BAD_OP, "End node"),
        ("exit 0", "says nothing"),
        (': > "$engine"', "says nothing"),
        ("kill -9 $$", "signal 9, perhaps of too little memory"),
    ],
)
def test_trtexecs_failures_are_one_sentence(trtexec, script, said):
    trtexec(script)
    with pytest.raises(BackendError) as error:
        build_with_trtexec(b"model", ())
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_trtexec_that_hangs_ends(trtexec):
    trtexec("exec sleep 60")
    with pytest.raises(BackendError, match="within 0.2 s"):
        build_with_trtexec(b"model", (), seconds=0.2)


@given(st.text(max_size=200))
def test_any_log_gives_one_line(text):
    assert "\n" not in trtexec_reason(text) and len(trtexec_reason(text)) <= 240


def test_trtexec_alone_cannot_serve_and_that_is_said(trtexec, monkeypatch):
    monkeypatch.setattr(type(backend("tensorrt")), "version", lambda self: None)
    trtexec(GOOD)
    with pytest.raises(MissingRequirement, match="cannot serve"):
        backend("tensorrt").open(backend("tensorrt").probe_model())


def test_tensorrt_without_cuda_is_missing_not_broken(tmp_path, monkeypatch):
    """With a module of that name that has nothing in it: as far as a machine without a GPU goes."""
    (tmp_path / "tensorrt.py").write_text("__version__ = '10.3.0'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("edgekit_runtime.backends.cudart._NAMES", ("libno-cuda-here.so",))
    try:
        with pytest.raises(MissingRequirement, match="libcudart"):
            backend("tensorrt").open(backend("tensorrt").probe_model())
    finally:
        sys.modules.pop("tensorrt", None)
