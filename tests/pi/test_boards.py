"""The same bundles and the runtime's own tests on emulated boards."""

from __future__ import annotations

import json
import subprocess
from importlib.resources import files

import joblib
import numpy as np
import pytest

from edgekit.pipeline import export
from edgekit.plan import ExportPlan
from edgekit_runtime import Bundle

from ..digits import plan

WORDS = ["down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", "_silence_", "_unknown_"]


def variants(bundle):
    with Bundle.open(bundle) as opened:
        return opened.manifest.variants


def passes(board, bundle, variant, *options):
    """Self-test one variant on a board and return the report."""
    done = board.python("edgekit_runtime", "selftest", str(bundle), "--json", f"--variant={variant.name}", *options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert report["passed"] and report["samples"] == 8 and report["variant"] == variant.name
    return report


def answers_as_here(board, bundle):
    """Every variant of a bundle, on the board's own interpreter of the same version."""
    for variant in variants(bundle):
        report = passes(board, bundle, variant)
        version = report["backend"]
        assert report["reference"].startswith(f"{version} on "), "the board must have the exporter's interpreter"
        if variant.format == "tflite" and variant.precision == "int8":
            # whole-number outputs are bit-equal across architectures for one interpreter
            assert [c["largest"] for c in report["comparisons"]] == [0.0] * len(report["comparisons"])


@pytest.mark.parametrize(
    "changes",
    [
        {"target": "pi5", "keep": "all"},
        {"target": "pi5", "keep": "all", "format": "onnx"},
        {"target": "coral"},
    ],
    ids=["tflite", "onnx", "coral"],
)
def test_a_torch_network_answers_on_a_64_bit_board_as_here(boards, trained, tmp_path, changes):
    answers_as_here(boards["pi64"], export(plan(trained, tmp_path / "digits", **changes)).bundle)


def test_a_torch_network_answers_on_a_32_bit_board_with_its_own_interpreter(boards, trained, tmp_path):
    bundle = export(plan(trained, tmp_path / "digits", target="pi3")).bundle
    for variant in variants(bundle):
        assert passes(boards["pi32"], bundle, variant, "--backend=tflite")["backend"] == "tflite 2.14.0"


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_keras_network_sees_the_same_pictures_on_the_board(assets, boards, tmp_path, format):
    """From JPEG bytes: another decoder or resizing would show in the float variants."""
    folder = assets / "models/mobilenet_v1_025_128_imagenet_float"
    pictures = ExportPlan(
        model=str(folder / "mobilenet_v1_025_128_imagenet_float.keras"),
        target="pi5",
        data=str(assets / "data/clothing_small_160"),
        preprocess="0..255",
        task="none",
        format=format,
        keep="all",
        calibration_samples=50,
        limit=20,
        output=str(tmp_path / "pictures"),
    )
    bundle = export(pictures).bundle
    assert {v.precision for v in variants(bundle)} >= {"fp32", "int8"}
    answers_as_here(boards["pi64"], bundle)


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_an_old_keras_file_answers_on_the_board_as_here(assets, boards, tmp_path, format):
    old = ExportPlan(
        model=str(assets / "models/vww_96/vww_96.h5"),
        target="pi4",
        calibration_data=str(assets / "data/clothing_small_160"),
        calibration_samples=50,
        preprocess="0..1",
        format=format,
        keep="all",
        output=str(tmp_path / "vww"),
    )
    answers_as_here(boards["pi64"], export(old).bundle)


@pytest.mark.parametrize("model", ["kws_ref_model", "kws_ref_model_float32"])
def test_keywords_from_raw_sound_pass_their_self_test_on_both_boards(assets, boards, tmp_path, model):
    (tmp_path / "words.txt").write_text("\n".join(WORDS))
    for target, board in (("pi4", "pi64"), ("pi3", "pi32")):
        words = ExportPlan(
            model=str(assets / f"models/kws_ref/{model}.tflite"),
            target=target,
            data=str(assets / "data/speech_commands_test60"),
            preprocess="kws-mfcc",
            labels=str(tmp_path / "words.txt"),
            limit=60,
            output=str(tmp_path / target),
        )
        bundle = export(words).bundle
        for variant in variants(bundle):
            passes(boards[board], bundle, variant)


@pytest.mark.parametrize("name", ["pi64", "pi32"])
def test_doctor_finds_the_boards_interpreters(boards, name):
    done = boards[name].python("edgekit_runtime", "doctor", "--json")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    states = {f["subject"]: f["state"] for f in json.loads(done.stdout)["findings"]}
    working = {"pi64": {"litert", "onnx", "plain"}, "pi32": {"tflite", "plain"}}[name]
    assert {s for s in ("litert", "tflite", "onnx", "plain") if states[f"back end {s}"] == "works"} == working
    assert "broken" not in states.values()


SLOW = ("monitor/test_drift.py", "monitor/test_outbox.py", "monitor/test_prometheus.py")
"""Bootstraps, kills and power cuts: emulation takes many minutes for them."""
COMPILED = ("test_plain.py", "accel")
"""This machine's compiler is there, the board's is not: what it makes is for this machine."""
PROCESSES = (
    "serve/test_supervision.py",
    "serve/test_soak.py",
    "serve/test_monitoring.py",
    "agent/test_agent.py",
    "agent/test_resident.py",
)
"""Start dozens of processes, each of which takes seconds to import numpy here; `serve/test_processes.py` is not left out,
and the agent has a test below."""
SERVICES = ("install", "top/test_top.py")
"""Text that is the same on every machine and tools that are not on the board; a terminal beside a server of its own."""
WATCH = ("watch",)
"""A board in emulation has no camera, no broker and no GStreamer, and its tests start many processes."""
SERVER = ("serve/test_server.py", "serve/test_fuzz.py", "serve/test_grpc.py")
"""A server's process, which the agent's test below starts too, and thousands of requests to one."""
ALWAYS = (*SLOW, *COMPILED, *PROCESSES, *SERVICES, *WATCH, *SERVER)
LEFT_OUT = {
    "pi64": ALWAYS,
    # hypothesis draws no floats where denormals are flushed, and XNNPACK clamps infinities there
    "pi32": (*ALWAYS, "serve/test_app.py", "serve/test_protocol.py", "top"),
}


@pytest.mark.parametrize("name", ["pi64", "pi32"])
def test_the_runtime_passes_its_own_tests_on_the_board(boards, name):
    """All but those named above and one that runs a whole data set."""
    left_out = [f"--ignore=tests/runtime/{path}" for path in LEFT_OUT[name]]
    done = boards[name].python(
        "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-c", "/dev/null",
        "--rootdir", str(boards[name].root), "tests/runtime", "tests/conformance/test_backends.py", *left_out,
        "-k", "not as_accurate_as_published", "--hypothesis-profile=board",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout


@pytest.mark.parametrize("name", ["pi64", "pi32"])
def test_an_agent_takes_a_bundle_and_serves_it_on_the_board(boards, name):
    """The board's own agent, self-test and serving process, with a server of the protocol's messages."""
    done = boards[name].python(
        "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-c", "/dev/null",
        "--rootdir", str(boards[name].root), "tests/runtime/agent/test_agent.py", "-k", "requests_are_answered",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "1 passed" in done.stdout


@pytest.mark.tool("aarch64-linux-gnu-gcc", "arm-linux-gnueabihf-gcc")
def test_plain_code_is_bit_equal_on_both_boards(boards, tmp_path):
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier

    x, y = load_breast_cancer(return_X_y=True)
    joblib.dump(RandomForestClassifier(20, random_state=0).fit(x[::2], y[::2]), tmp_path / "forest.joblib")
    np.savez(tmp_path / "rows.npz", x_test=x[1::2], y_test=y[1::2])
    for target, board in (("pi5", "pi64"), ("pi3", "pi32")):
        plan = ExportPlan(str(tmp_path / "forest.joblib"), target, str(tmp_path / target), str(tmp_path / "rows.npz"),
                          format="c", trust=True)  # fmt: skip
        bundle = export(plan).bundle
        (variant,) = variants(bundle)
        report = passes(boards[board], bundle, variant, "--trust")
        assert report["backend"] == "plain 1" and [c["largest"] for c in report["comparisons"]] == [0.0]


@pytest.mark.parametrize("name", ["pi64", "pi32"])
def test_times_of_an_emulated_board_are_never_reported(boards, name, tmp_path):
    """The program that looks at a board knows it too, in the board's own Python."""
    board = boards[name]
    done = board.python("edgekit_runtime", "benchmark", str(tmp_path / "any.edgekit"), "--json")
    assert done.returncode == 2 and "times say nothing" in done.stderr and not done.stdout
    assert board.qemu.name in done.stderr
    look = files("edgekit.remote.board").joinpath("look.py").read_text()
    environment = {"PYTHONHOME": str(board.root / "usr"), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    looked = subprocess.run([board.launcher, "-c", look], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(looked.stdout)["emulator"] == board.qemu.name
