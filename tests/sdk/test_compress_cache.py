"""What was tried is kept whole or not at all, and what is read back must be what was written."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.contract.cache import MODEL, RECORD, RUNGS, SCORES, Record, Store
from edgekit.contract.latency import Latency
from edgekit.contract.memory import Memory
from edgekit.evaluate import Evaluation
from edgekit_converters.passes.ladder import Rung
from edgekit_converters.recipe import Converted
from edgekit_runtime.manifest import Binding

RECIPE = ({"pass": "onnx-int8", "method": "minmax"},)
PARTS = {"source": "abc", "limit": 3}


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path, said) -> Store:
    return Store(tmp_path / "work", PARTS, said.append)


@pytest.fixture
def entry(store, tmp_path) -> Path:
    """A result that was kept."""
    file = tmp_path / "made.onnx"
    file.write_bytes(b"a model" * 100)
    binding = Binding("x", "x:0", (-1, 3), "int8", 0.5, 3)
    model = Converted(file, "onnx", "int8", (binding,), (binding,), RECIPE, {"numpy": "2"}, tag="fine")
    scores = np.arange(6, dtype=np.float32).reshape(3, 2)
    found = Evaluation({"accuracy": 0.5}, 3, ((1, 0), (1, 1)), scores, np.array([0, 1, 1]), {"cat": (3, None)})
    record = Record(store.key, RECIPE, drop=0.01, latency=Latency(1.0, 2.0, 0.5, "here", 20), memory=Memory(1, 2, 3))
    store.put("one", record, model, found)
    return store.folder / "one"


def test_what_was_kept_comes_back(store, entry, tmp_path):
    (tmp_path / "made.onnx").unlink()
    kept = Store(tmp_path / "work", dict(reversed(PARTS.items())), print).get("one", RECIPE)
    assert kept.model.path.read_bytes() == b"a model" * 100 and kept.model.name == "onnx-int8-fine"
    assert kept.model.inputs[0].shape == (-1, 3) and kept.model.recipe == RECIPE
    assert kept.record.latency.ratio == 0.5 and kept.record.memory.kb == 0.003 and kept.record.drop == 0.01
    assert kept.evaluation.confusion == ((1, 0), (1, 1)) and kept.evaluation.classes == {"cat": (3, None)}
    assert kept.evaluation.scores.tolist() == [[0, 1], [2, 3], [4, 5]] and kept.evaluation.targets.tolist() == [0, 1, 1]
    assert (tmp_path / "work/.gitignore").read_text() == "*\n"


def test_another_run_finds_nothing(store, entry, tmp_path):
    assert Store(tmp_path / "work", {**PARTS, "limit": 4}, print).get("one", RECIPE) is None
    assert store.get("other", RECIPE) is None


def pickled(place: Path) -> None:
    """Arrays that would run code, with the record's hash put right."""

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(place.parent / "owned"),)

    out = io.BytesIO()
    np.savez(out, scores=np.array([Evil()], object), targets=np.zeros(1))
    (place / SCORES).write_bytes(out.getvalue())
    assert b"mkdir" in out.getvalue()
    changed(place, scores_sha256=hashlib.sha256(out.getvalue()).hexdigest())


def changed(place: Path, **changes) -> None:
    record = json.loads((place / RECORD).read_text())
    (place / RECORD).write_text(json.dumps({**record, **changes}))


def linked(place: Path) -> None:
    model = place / f"{MODEL}.onnx"
    elsewhere = place.parent / "elsewhere.onnx"
    shutil.move(model, elsewhere)
    model.symlink_to(elsewhere)


DAMAGES = {
    "torn model": lambda p: os.truncate(p / f"{MODEL}.onnx", 100),
    "altered model": lambda p: (p / f"{MODEL}.onnx").write_bytes(b"A model" * 100),
    "model that is elsewhere": linked,
    "no model": lambda p: (p / f"{MODEL}.onnx").unlink(),
    "torn record": lambda p: os.truncate(p / RECORD, 50),
    "empty record": lambda p: (p / RECORD).write_bytes(b""),
    "no record": lambda p: (p / RECORD).unlink(),
    "record of something else": lambda p: (p / RECORD).write_text('{"key": 3}'),
    "record of another recipe": lambda p: changed(p, recipe=[{"pass": "onnx-fp16"}]),
    "record of another run": lambda p: changed(p, key="0" * 64),
    "path out of the folder": lambda p: changed(p, file="../../../etc/passwd"),
    "another file of the folder": lambda p: changed(p, file=RECORD),
    "deep record": lambda p: (p / RECORD).write_text("[" * 100_000),
    "figures of no number": lambda p: changed(p, drop="much"),
    "torn arrays": lambda p: os.truncate(p / SCORES, 30),
    "no arrays": lambda p: (p / SCORES).unlink(),
    "arrays that run code": pickled,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_thrown_away_aloud(store, entry, said, damage):
    DAMAGES[damage](entry)
    assert store.get("one", RECIPE) is None
    assert len(said) == 1 and "is damaged and made again" in said[0]
    assert not entry.exists() and not (store.folder / "owned").exists()


def test_a_second_result_takes_the_place_of_the_first(store, entry):
    store.put("one", Record(store.key, RECIPE, "it cannot be made", "try another"), None, None)
    kept = store.get("one", RECIPE)
    assert kept.model is None and kept.record.refusal == "it cannot be made" and not list(entry.glob("model*"))


def test_figures_that_are_not_finite_are_not_kept(store, said):
    store.put("nan", Record(store.key, drop=float("nan")), None, None)
    assert store.get("nan") is None and not said and not list(store.folder.glob(".*part"))


def test_rungs_are_kept_in_order_and_thrown_away_where_damaged(store, tmp_path, said):
    rungs = [Rung("int8", RECIPE, "none"), Rung("fp16", ({"pass": "onnx-fp16"},), "size")]
    store.put_rungs(rungs)
    again = Store(tmp_path / "work", PARTS, said.append)
    assert again.rungs(Rung) == rungs and not said
    for content in (b"[]", b"{", b'{"key": "x", "rungs": []}', b'{"rungs": 3}', b"\xff"):
        (store.folder / RUNGS).write_bytes(content)
        assert again.rungs(Rung) == []
    assert all("is damaged" in s for s in said)


def test_what_a_killed_run_left_is_cleared_but_not_what_another_writes(store, tmp_path):
    mine, dead = store.folder / f".two.{os.getpid()}.part", store.folder / ".two.999999999.part"
    mine.mkdir()
    dead.mkdir()
    Store(tmp_path / "work", PARTS, print)
    assert mine.exists() and not dead.exists()


def test_a_work_folder_that_is_a_file_does_not_stop_the_run(tmp_path, said):
    (tmp_path / "work").write_text("no folder")
    store = Store(tmp_path / "work", PARTS, said.append)
    store.put("one", Record(store.key), None, None)
    assert store.get("one") is None and store.rungs(Rung) == []
    assert len(said) == 1 and "cannot be written" in said[0], "it is said once"


FULL = """
import resource, signal, sys
from pathlib import Path
from edgekit.contract.cache import Record, Store
from edgekit_converters.recipe import Converted
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store(Path("work"), {}, print)
Path("a.onnx").write_bytes(bytes(5000))
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
model = Converted(Path("a.onnx"), "onnx", "int8", (), ())
store.put("one", Record(store.key), model, None)
store.put("two", Record(store.key), model, None)
print([p.name for p in store.folder.iterdir()], store.get("one"))
"""


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    """No file may grow beyond 2,000 bytes, which is how a disk that fills up looks to it."""
    done = subprocess.run([sys.executable, "-c", FULL], cwd=tmp_path, capture_output=True, text=True, check=True)
    said, left = done.stdout.splitlines()
    assert "cannot be written (File too large): this run goes on" in said and left == "[] None"
