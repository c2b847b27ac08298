"""Compressing for real: the first rung that holds ships, nothing is tried twice, kill -9 costs the running attempt."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.contract.compress import CompressPlan, CompressResult, compress
from edgekit.contract.contract import Contract
from edgekit.errors import DataError
from edgekit.plan import ExportPlan
from edgekit.progress import Progress, Stage
from edgekit.report import climb_data, render
from edgekit_runtime import Bundle, Runtime
from edgekit_runtime.errors import UsageError

from .conftest import edgekit

QUICK = 0.05  # seconds of timing: these tests are not about time


def plan(model: Path, data: Path, folder: Path, contract: Contract | None = None, **changes) -> CompressPlan:
    settings = {
        "model": str(model), "target": "generic-cpu", "data": str(data), "preprocess": "0..1", "limit": 80,
        "output": str(folder / "a.edgekit"), "overwrite": True, **changes,
    }  # fmt: skip
    return CompressPlan(ExportPlan(**settings), contract or Contract(0.1), str(folder / "work"), seconds=QUICK)


class Heard(Progress):
    """Remembers what was said and done."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.began: list[str] = []

    def say(self, remark: str) -> None:
        self.said.append(remark)

    def started(self, stage: Stage) -> None:
        self.began.append(f"{stage.name} {stage.subject}")


@pytest.fixture(scope="module")
def once(digits_onnx, trained, tmp_path_factory) -> tuple[Path, CompressResult]:
    """A compression of the digits in a folder, done once, its work kept; take a copy to change it."""
    folder = tmp_path_factory.mktemp("once")
    return folder, compress(plan(digits_onnx, trained / "digits.npz", folder, keep="all"))


def test_the_first_rung_that_holds_and_is_no_slower_ships(once):
    _, result = once
    chosen = result.verdict.chosen
    assert result.attempts[0].rung == "float" and result.attempts[0].latency.ratio == 1.0
    assert result.verdict.held and chosen.result.drop <= 0.1 and not chosen.slower
    assert result.metric == "accuracy" and chosen.figures.ram_kb > 1000
    assert chosen.interval.low <= chosen.result.variant.metrics["accuracy"] <= chosen.interval.high
    with Runtime.open(result.export.bundle) as runtime:
        assert runtime.variant.name == chosen.result.variant.name
        assert runtime.variant.recipe == chosen.result.variant.recipe


def test_the_same_again_tries_nothing_twice(once, digits_onnx, trained, tmp_path):
    folder, before = once
    shutil.copytree(folder / "work", tmp_path / "work")
    heard = Heard()
    after = compress(plan(digits_onnx, trained / "digits.npz", tmp_path, keep="all"), heard)
    assert not any(b.startswith(("evaluate", "convert", "quantize", "time")) for b in heard.began), heard.began
    assert all(a.kept for a in after.attempts) and after.export.digest == before.export.digest


@pytest.mark.parametrize("change", ["limit", "contract", "data"])
def test_what_depends_on_other_things_is_made_anew(once, digits_onnx, trained, tmp_path, change):
    """The contract is no part of the key: another one asks the same attempts."""
    shutil.copytree(once[0] / "work", tmp_path / "work")
    data, changes, contract = trained / "digits.npz", {}, None
    if change == "limit":
        changes = {"limit": 60}
    if change == "contract":
        contract = Contract(0.2, max_size_kb=5000.0)
    if change == "data":
        arrays = dict(np.load(data))
        arrays["y_test"][0] = (arrays["y_test"][0] + 1) % 10
        data = tmp_path / "other.npz"
        np.savez(data, **arrays)
    after = compress(plan(digits_onnx, data, tmp_path, contract, **changes))
    assert all(a.kept for a in after.attempts) == (change == "contract")


def test_a_kept_model_that_answers_otherwise_is_made_again(once, digits_onnx, trained, tmp_path):
    """A record that is whole and agrees with itself, of a model that is another one."""
    from edgekit.contract.cache import Record, Store
    from edgekit_converters.recipe import Converted
    from edgekit_runtime.plain import decode

    shutil.copytree(once[0] / "work", tmp_path / "work")
    (run,) = (p for p in (tmp_path / "work").iterdir() if p.is_dir())
    records = {p.parent: json.loads(p.read_text()) for p in run.glob("*/record.json")}
    place = next(p for p, r in records.items() if r.get("precision") == "int8")
    record = decode(Record, records[place])
    import onnx

    model = onnx.load(place / "model.onnx")
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) > 1:
            tensor.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(tensor), tensor.name))
    onnx.save(model, tmp_path / "evil.onnx")
    forged = Converted(tmp_path / "evil.onnx", "onnx", "int8", record.inputs, record.outputs, record.applied)
    store = Store(tmp_path / "work", {}, print)
    store.folder, store.key = run, record.key
    store.put(place.name, record, forged, store.get(place.name, record.recipe).evaluation)
    heard = Heard()
    after = compress(plan(digits_onnx, trained / "digits.npz", tmp_path), heard)
    assert any("does not answer as it did, and is made again" in s for s in heard.said)
    assert after.attempts[0].kept and not after.attempts[1].kept
    assert after.attempts[1].result.drop == once[1].attempts[1].result.drop


# -- kill -9 -----------------------------------------------------------------------------------------------------------

KILLED = """
import json, os, signal, sys
from edgekit.contract.compress import CompressPlan, compress
from edgekit.contract.contract import Contract
from edgekit.plan import ExportPlan
from edgekit.progress import Progress

model, data, where = sys.argv[1:]

class Fatal(Progress):
    def started(self, stage):
        print(stage.name, stage.subject, flush=True)
        if where and f"{stage.name} {stage.subject}".startswith(where):
            os.kill(os.getpid(), signal.SIGKILL)

if where.startswith("fsync"):
    count, real = [int(where[5:])], os.fsync
    def fsync(handle):
        count[0] -= 1
        if count[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        real(handle)
    os.fsync = fsync

plan = ExportPlan(model, "generic-cpu", data=data, preprocess="0..1", limit=80, output="a", overwrite=True)
result = compress(CompressPlan(plan, Contract(0.1), "work", seconds=0.05), Fatal())
print(json.dumps({"kept": [a.kept for a in result.attempts], "drops": [a.result.drop for a in result.attempts]}))
"""


def killed(folder: Path, model: Path, data: Path, where: str) -> list[str]:
    """Run until `where`, there killed by SIGKILL; what had begun by then."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(model), str(data), where], cwd=folder, text=True,
                          capture_output=True, check=False)  # fmt: skip
    assert done.returncode == (-signal.SIGKILL if where else 0), done.stderr[-2000:]
    return done.stdout.splitlines()


def test_kill_9_in_an_attempt_costs_that_attempt_alone(once, digits_onnx, trained, tmp_path):
    data = trained / "digits.npz"
    first = killed(tmp_path, digits_onnx, data, "evaluate onnx-fp32")
    assert any(line.startswith("convert") for line in first)
    second = killed(tmp_path, digits_onnx, data, "time onnx-int8")
    assert not any(line.startswith(("convert", "evaluate source")) for line in second), "the start was kept"
    assert any(line.startswith("time onnx-fp32") for line in second), "the running attempt is repeated"
    third = killed(tmp_path, digits_onnx, data, "bundle")
    began = [line for line in third if line.startswith(("evaluate", "quantize", "time"))]
    assert began and all("int8" in line for line in began), "float was kept, int8 was the running one"
    assert not (tmp_path / "a.edgekit").exists()
    last = killed(tmp_path, digits_onnx, data, "")
    assert not any(line.startswith(("evaluate", "convert", "quantize", "time")) for line in last)
    end = json.loads(last[-1])
    assert all(end["kept"]) and end["drops"] == [a.result.drop for a in once[1].attempts]
    assert (tmp_path / "a.edgekit").is_file()


@pytest.mark.parametrize("write", [3, 9, 12])
def test_kill_9_while_results_are_written_leaves_nothing_half(once, digits_onnx, trained, tmp_path, write):
    """Killed between the bytes and the disk: of the start, of float, of the list of rungs, of int8."""
    data = trained / "digits.npz"
    killed(tmp_path, digits_onnx, data, f"fsync{write}")
    end = json.loads(killed(tmp_path, digits_onnx, data, "")[-1])
    assert end["drops"] == [a.result.drop for a in once[1].attempts]
    assert not list((tmp_path / "work").glob("*/.*part")), "what was left was cleared"


# -- at the command line -----------------------------------------------------------------------------------------------


def test_the_table_the_page_and_the_json(once, digits_onnx, trained, tmp_path):
    shutil.copytree(once[0] / "work", tmp_path / "work")
    done = edgekit("compress", str(digits_onnx), "-t", "generic-cpu", "--data", str(trained / "digits.npz"),
                   "--preprocess", "0..1", "--limit", "80", "--max-drop", "0.1", "--max-latency", "0.000001",
                   "--work", "work", "-o", "a", "--report", "--json", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 3, done.stderr
    found = json.loads(done.stdout)
    assert not found["contract"]["held"] and found["contract"]["max_latency_ms"] == 1e-6
    assert "no rung reaches latency 1e-06 ms: the least is" in found["remark"] and found["remark"] in done.stderr
    row = found["attempts"][1]
    assert row["rung"] == "int8" and "onnx-int8" in row["recipe"][0].values() and row["ram_bytes"] > row["bytes"]
    assert row["interval"][0] <= row["metrics"]["accuracy"] <= row["interval"][1]
    assert "this workstation, not the device" in found["measured_on"] and "not the device" in done.stderr
    assert "the contract is broken" in done.stderr and (tmp_path / "a.edgekit").is_file(), "the best is there"
    page = (tmp_path / "a.html").read_text()
    assert "Contract broken" in page and 'class="bubble' in page and "times the 1e-06 that was asked for" in page


def test_the_page_of_a_contract_that_holds(once):
    page = render(climb_data(once[1]))
    assert "compression report" in page and "Contract held" in page and page.count('class="bubble') >= 2
    assert "95 % intervals" in page


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        ((), 2, "nothing is asked for: a contract needs a limit"),
        (("--max-drop", "2"), 2, "--max-drop 2 is not a share"),
        (("--max-size", "0"), 2, "--max-size 0 is no limit"),
        (("--max-drop", "0.01", "--python", "3.11"), 2, "are for a board"),
    ],
)
def test_bad_usage_is_one_sentence(digits_onnx, tmp_path, options, code, sentence):
    done = edgekit("compress", str(digits_onnx), "-t", "generic-cpu", *options, cwd=tmp_path)
    assert done.returncode == code and sentence in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_drop_without_data_cannot_be_measured(digits_onnx, tmp_path):
    with pytest.raises(UsageError, match="needs data to measure with"):
        compress(CompressPlan(ExportPlan(str(digits_onnx), "generic-cpu", output=str(tmp_path / "a")), Contract(0.01),
                              str(tmp_path / "work")))  # fmt: skip


def test_one_class_only_tells_nothing(digits_onnx, trained, tmp_path):
    with np.load(trained / "digits.npz") as arrays:
        x, y = arrays["x_train"], arrays["y_train"]
    np.savez(tmp_path / "one.npz", x_train=x[y == 0], y_train=y[y == 0], x_test=x[:20], y_test=y[:20] * 0)
    with pytest.raises(DataError, match="every sample is of class '0': there is nothing to tell apart"):
        compress(plan(digits_onnx, tmp_path / "one.npz", tmp_path))
    three = x[y == 3][:12]
    np.savez(tmp_path / "three.npz", x_train=x[:300], y_train=y[:300], x_test=three, y_test=np.full(12, 3))
    heard = Heard()
    compress(plan(digits_onnx, tmp_path / "three.npz", tmp_path), heard)
    assert "every evaluation sample is of class '3': accuracy says nothing of the other classes" in heard.said
    assert any("12 samples say little about a drop of 0.1" in s for s in heard.said)


def test_without_a_training_split_there_is_no_int8_and_float_is_chosen(digits_onnx, trained, tmp_path):
    with np.load(trained / "digits.npz") as arrays:
        np.savez(tmp_path / "test.npz", x_test=arrays["x_test"], y_test=arrays["y_test"])
    heard = Heard()
    result = compress(plan(digits_onnx, tmp_path / "test.npz", tmp_path), heard)
    assert any("int8 needs samples for quantization calibration" in s for s in heard.said)
    assert result.verdict.chosen.rung == "float" and result.verdict.held
    assert result.verdict.remark == "float is chosen: there was no other"


def test_without_labels_the_sources_answers_are_the_measure(digits_onnx, trained, tmp_path):
    with np.load(trained / "digits.npz") as arrays:
        np.savez(tmp_path / "loose.npz", x_train=arrays["x_train"][:200], x_test=arrays["x_test"][:80])
    (tmp_path / "labels.txt").write_text("\n".join("abcdefghij"))
    heard = Heard()
    result = compress(plan(digits_onnx, tmp_path / "loose.npz", tmp_path, task="classification",
                           labels=str(tmp_path / "labels.txt")), heard)  # fmt: skip
    assert result.metric == "agreement" and result.attempts[0].result.variant.metrics["agreement"] == 1.0
    assert any("held to the source's own answers" in s for s in heard.said)
    assert 0.9 <= result.verdict.chosen.result.variant.metrics["agreement"] <= 1.0
    assert "Agreement with the source" in render(climb_data(result))
    with Bundle.open(result.export.bundle) as bundle:
        assert any("accuracy is not measured" in w for w in bundle.manifest.warnings)
    again = compress(plan(digits_onnx, tmp_path / "loose.npz", tmp_path, task="classification",
                          labels=str(tmp_path / "labels.txt")))  # fmt: skip
    assert all(a.kept for a in again.attempts) and again.export.digest == result.export.digest


def test_trees_have_nothing_to_climb(classic_models, tmp_path):
    model = next(p for name, p in classic_models.items() if p.suffix == ".joblib")
    done = edgekit("compress", str(model), "-t", "generic-cpu", "--max-size", "100", "--trust", cwd=tmp_path)
    assert done.returncode == 2 and "has nothing to compress: it becomes plain code" in done.stderr


def test_a_model_that_is_quantized_already(once, tmp_path, trained):
    with Bundle.open(once[1].export.bundle) as bundle:
        quantized = next(v for v in bundle.manifest.variants if v.precision == "int8")
        (tmp_path / "q.onnx").write_bytes(bundle.read(quantized.file))
    with pytest.raises(UsageError, match="is int8 already and has nothing to compress"):
        compress(plan(tmp_path / "q.onnx", trained / "digits.npz", tmp_path))


def test_a_float_network_on_a_coral_is_measured_but_never_ships(tflite_file, tmp_path):
    random = np.random.default_rng(0)
    data = tmp_path / "d.npz"
    np.savez(
        data, x_train=random.random((40, 16, 16, 3), np.float32), x_test=random.random((20, 16, 16, 3), np.float32)
    )
    result = compress(plan(tflite_file, data, tmp_path, Contract(max_size_kb=100.0), target="coral", preprocess=None))
    floating, *rungs = result.attempts
    assert floating.refusal == "coral does not run float" and floating.latency is not None
    assert result.verdict.chosen in rungs and result.export.manifest.variant().precision == "int8"
