"""What goes wrong at the command line: one line on standard error, the right exit code, no file left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

CORRUPT = {
    "garbage.onnx": b"\x08\x07garbage" * 40,
    "empty.onnx": b"",
    "garbage.tflite": b"\x1c\x00\x00\x00TFL3" + b"\xff" * 400,
    "text.tflite": b"this is no model",
    "garbage.pt2": b"PK\x03\x04 nothing",
    "garbage.keras": b"PK\x03\x04 nothing",
    "garbage.h5": b"\x89HDF\r\n\x1a\n" + b"\0" * 100,
}


def tree(folder: Path) -> set[str]:
    """Every file, but one: onnxruntime keeps a session number of its own in the folder for temporary files."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != ".ses"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working folder; temporary files go beside it, where they are seen too."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def environment(place: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(place.parent / "tmp"), "COLUMNS": "200"}


def run(place: Path, *arguments: str, prefix: tuple[str, ...] = (), program: tuple[str, ...] = ("-m", "edgekit")):
    before = tree(place.parent)
    done = subprocess.run([*prefix, sys.executable, *program, *arguments], cwd=place, env=environment(place),
                          capture_output=True, text=True, check=False, timeout=300)  # fmt: skip
    assert tree(place.parent) == before, "files were left"
    return done


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr + done.stdout
    assert len(done.stderr.strip().splitlines()) == 1 and done.stderr.startswith("edgekit: "), done.stderr
    for word in words:
        assert word in done.stderr, (word, done.stderr)


def export(place: Path, model: object, *arguments: str, **more):
    return run(place, "export", str(model), "--target", "generic-cpu", "-o", "out/a", *arguments, **more)


@pytest.fixture(scope="session")
def corrupt(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corrupt")
    for name, content in CORRUPT.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", sorted(CORRUPT))
def test_a_corrupt_model(corrupt, place, name):
    refused(export(place, corrupt / name), 1, name)


def test_a_truncated_real_model(digits_onnx, place):
    (place / "cut.onnx").write_bytes(digits_onnx.read_bytes()[:-5000])
    refused(export(place, "cut.onnx"), 1, "cut.onnx")


def test_a_missing_or_unknown_model(place):
    refused(export(place, "nowhere.onnx"), 1, "there is no file nowhere.onnx")
    (place / "notes.txt").write_text("x")
    refused(export(place, "notes.txt"), 2, "what kind of model")


def test_inputs_of_another_shape_than_the_models(digits_onnx, place):
    np.savez(place / "rows.npz", x=np.zeros((30, 5), np.float32), y=np.arange(30) % 10)
    refused(export(place, digits_onnx, "--data", "rows.npz"), 2, "(5,)", "(1, 32, 32)")
    refused(export(place, digits_onnx, "--input-shape", "1,0,x"), 2, "--input-shape")


def pictures(folder: Path, classes: int = 2, count: int = 6) -> Path:
    generator = np.random.default_rng(0)
    for label in range(classes):
        (folder / str(label)).mkdir(parents=True)
        for i in range(count):
            cv2.imwrite(str(folder / str(label) / f"{i}.png"), generator.integers(0, 256, (32, 32, 3), np.uint8))
    return folder


def test_a_data_set_that_is_missing_or_empty(digits_onnx, place):
    options = ("--preprocess", "0..1", "--data")
    refused(export(place, digits_onnx, *options, "nowhere"), 1, "no data set nowhere")
    (place / "empty").mkdir()
    refused(export(place, digits_onnx, *options, "empty"), 1, "empty is no data set of a known kind")


def test_a_class_without_samples(digits_onnx, place):
    (pictures(place / "data") / "bare").mkdir()
    refused(export(place, digits_onnx, "--preprocess", "0..1", "--data", "data"), 1, "class 'bare'", "no image samples")


@pytest.mark.parametrize(
    ("content", "word"), [(b"not a picture", "is not a JPEG"), (None, "truncated"), (b"", "is empty")]
)
def test_a_picture_that_cannot_be_read_is_named(digits_onnx, place, content, word):
    for path in pictures(place / "data" / "test").rglob("*.png"):
        whole = path.read_bytes()
    broken = place / "data/test/1/3.png"
    broken.write_bytes(whole[: len(whole) // 2] if content is None else content)
    refused(export(place, digits_onnx, "--preprocess", "0..1", "--data", "data"), 1, "1/3.png", word)


def test_nan_in_pictures_and_in_rows(digits_onnx, place):
    x = np.zeros((12, 1, 32, 32), np.float32)
    x[7, 0, 3, 3] = np.nan
    np.savez(place / "nan.npz", x_train=x, y_train=np.arange(12) % 10)
    refused(export(place, digits_onnx, "--data", "nan.npz"), 1, "row 7 of x_train holds NaN")
    (place / "t.csv").write_text("a,b,y\n" + "1,2,0\n" * 5 + "1,inf,1\n")
    refused(export(place, digits_onnx, "--data", "t.csv", "--label", "y"), 1, "line 7 of t.csv has inf in column 'b'")


FULL_DISK = """
import resource, signal, sys
import edgekit.pipeline, edgekit.cli.app, edgekit.cli.show, edgekit.speed, onnx, onnxruntime.quantization
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
from edgekit.cli import main
main()
"""


def test_a_disk_that_is_full_when_the_bundle_is_written(trained, digits_onnx, place):
    """No file may grow beyond the limit: the model's own pass, the bundle that holds both variants does not."""
    limit = int(digits_onnx.stat().st_size * 1.25)
    done = export(place, digits_onnx, "--data", f"{trained}/digits.npz", "--preprocess", "0..1", "--keep", "all",
                  program=("-B", "-c", FULL_DISK, str(limit)))  # fmt: skip
    refused(done, 1, "cannot write bundle out/a.edgekit", "File too large")
    assert "✓ reference" in done.stdout, "it broke off where it should have"


def group_members(group: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def interrupted(place: Path, arguments: list[str], ready) -> tuple[subprocess.Popen, str, str]:
    """Start an export in a process group of its own, press Ctrl-C in it once `ready`, and wait for its end."""
    process = subprocess.Popen([sys.executable, "-m", "edgekit", "export", *arguments], cwd=place, text=True,
                               env=environment(place), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               start_new_session=True)  # fmt: skip
    try:
        first = process.stdout.readline()
        assert first.startswith("✓ data"), first
        ready(process)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    return process, out, err


def test_ctrl_c_in_the_middle(trained, place):
    arguments = [f"{trained}/network.py:network", "--target", "generic-cpu", "--weights", f"{trained}/digits.safetensors",
                 "--input-shape", "-1,1,32,32", "--data", f"{trained}/digits.npz", "--preprocess", "0..1", "-o", "out/a"]  # fmt: skip
    before = tree(place.parent)
    process, out, err = interrupted(place, arguments, lambda p: p.stdout.readline())
    assert (process.returncode, err) == (130, "edgekit: interrupted; nothing half-written was left\n"), (out, err)
    assert not group_members(process.pid) and tree(place.parent) == before


def test_ctrl_c_while_a_child_converts_ends_the_child(assets, place):
    model = assets / "models/vww_96/vww_96.h5"
    np.savez(place / "x.npz", x=np.zeros((12, 96, 96, 3), np.uint8))
    arguments = [str(model), "--target", "pi5", "--data", "x.npz", "--preprocess", "0..1", "-o", "out/a"]

    def child_runs(process: subprocess.Popen) -> None:
        deadline = time.monotonic() + 60
        while len(group_members(process.pid)) < 2 and time.monotonic() < deadline:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)

    before = tree(place.parent)
    process, out, err = interrupted(place, arguments, child_runs)
    assert (process.returncode, err) == (130, "edgekit: interrupted; nothing half-written was left\n"), (out, err)
    assert not group_members(process.pid) and tree(place.parent) == before


@pytest.mark.tool("setpriv")
def test_an_output_folder_that_lets_no_files_be_made(digits_onnx, place):
    (place / "out").mkdir(mode=0o500)
    # the superuser may write anywhere, unless that is taken from it
    prefix = ("setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override") if os.geteuid() == 0 else ()
    refused(export(place, digits_onnx, prefix=prefix), 2, "out/a.edgekit cannot be written", "another --output")


def test_an_output_that_is_a_folder_or_below_a_file(digits_onnx, place):
    (place / "out" / "a").mkdir(parents=True)
    refused(export(place, digits_onnx), 2, "--output out/a is a folder")
    (place / "notes").write_text("x")
    done = run(place, "export", str(digits_onnx), "--target", "generic-cpu", "-o", "notes/a")
    refused(done, 2, "notes/a.edgekit cannot be written")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            json.dumps({"model": "m.onnx", "target": "pi5", "quantise": "int8"}),
            ("'quantise'", "did you mean quantize?"),
        ),
        (json.dumps({"model": "m.onnx", "target": "pi5", "limit": "many"}), ("not an export plan", "limit")),
        ("{", ("not an export plan",)),
        ("[]", ("not an export plan",)),
    ],
)
def test_a_plan_that_is_none(place, text, words):
    (place / "plan.json").write_text(text)
    refused(run(place, "export", "--config", "plan.json"), 2, *words)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--limit", "0"], "--limit"),
        (["--calibration-samples", "0"], "--calibration-samples"),
        (["--max-drop", "2"], "--max-drop"),
        (["--labels", "nowhere.txt"], "--labels nowhere.txt"),
        (["--licence", "nowhere.txt"], "--licence nowhere.txt"),
        (["--config", "nowhere.json"], "nowhere.json"),
    ],
)
def test_settings_that_make_no_sense(digits_onnx, place, arguments, word):
    refused(export(place, digits_onnx, *arguments), 2, word)
