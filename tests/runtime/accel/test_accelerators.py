"""What doctor says of accelerators, on a made-up machine."""

from __future__ import annotations

import pytest

from edgekit_runtime import accelerators, engines
from edgekit_runtime.accelerators import boards, jetson_linux
from edgekit_runtime.doctor import probe


@pytest.fixture
def bare(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(accelerators, "ROOT", machine)
    monkeypatch.setattr(engines, "_USUAL", tmp_path / "nowhere")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return machine


def test_a_machine_without_accelerators_has_nothing_to_say(bare):
    assert boards() == []


@pytest.mark.tool("cc")
def test_a_coral_and_its_library_are_shown(bare, coral, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    coral("CLAIMS_NOTHING")
    assert [(f.subject, f.state) for f in boards()] == [("Coral", "works"), ("libedgetpu", "works")]
    assert "stand-in, not libedgetpu" in boards()[1].detail and "apex_0" in boards()[0].detail
    (bare / "dev/apex_0").unlink()
    assert boards()[0].state == "absent"
    monkeypatch.setenv("EDGEKIT_EDGETPU_LIBRARY", "/bin/sh")
    assert boards()[1].state == "broken"


@pytest.mark.parametrize(
    ("text", "release", "said"),
    [
        (
            "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64",
            "36.4.3",
            ["JetPack 6.1 or 6.2", "JetPack 6.1: Python 3.10, CUDA 12.6, cuDNN 9.3, TensorRT 10.3"],
        ),
        (
            "# R35 (release), REVISION: 3.1, GCID: 1, BOARD: t186ref",
            "35.3.1",
            ["JetPack 5.1.1", "JetPack 5.1: Python 3.8, CUDA 11.4"],
        ),
        ("# R99 (release), REVISION: 1.0", "99.1.0", ["not known"]),
        ("something else", None, []),
    ],
)
def test_a_jetson_says_its_jetpack(bare, text, release, said):
    assert jetson_linux(text) == release
    (bare / "etc").mkdir()
    (bare / "etc/nv_tegra_release").write_text(text)
    found = boards()
    assert len(found) == len(said) and all(s in f.detail for s, f in zip(said, found))


def test_trtexec_tells_tensorrts_version(bare, tmp_path, monkeypatch):
    program = tmp_path / "bin/trtexec"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho '&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # stand-in'\n")
    program.chmod(0o755)
    (found,) = boards()
    assert found.state == "works" and "TensorRT 10.3.0" in found.detail
    program.write_text("#!/bin/sh\nexit 1\n")
    assert boards()[0].state == "broken"


def test_a_probe_says_where_it_ran(needs_backend):
    needs_backend("onnx")
    assert probe("onnx").detail.endswith(", on CPU")
