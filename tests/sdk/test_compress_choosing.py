"""What chooses does not measure: a rung that holds on validation alone is passed over, and nothing is looked at twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgekit.choosing import Trial
from edgekit.contract.compress import CompressResult, compress
from edgekit.contract.contract import Contract
from edgekit.contract.verdict import decide
from edgekit.report import climb_data, render
from edgekit_converters.passes import ladder

from .test_compress import Heard, plan
from .test_contract import attempt as plain


def tried(rung: str, chose: float, measured: float, **figures):
    from dataclasses import replace

    found = plain(rung, measured, **figures)
    return replace(found, result=replace(found.result, trial=Trial("validation", 60, 0.9, chose)))


def test_a_rung_has_to_hold_on_both():
    contract = Contract(0.01)
    floating, lucky = tried("float", 0.0, 0.0, ratio=1.0), tried("int8", 0.005, 0.03)
    assert lucky.verdict(contract) == "held on validation, not on test: drop 0.0300, 0.0200 over 0.01"
    unlucky, good = tried("int8, mse ranges", 0.04, 0.0), tried("int8, equalised", 0.01, 0.01)
    assert unlucky.verdict(contract) == "drop 0.0400, 0.0300 over 0.01 on validation"
    verdict = decide([floating, lucky, unlucky, good], contract)
    assert verdict.chosen is good and verdict.held and "held on validation, not on test" in verdict.remark
    assert decide([floating, lucky, unlucky], contract).chosen is floating


def near_the_border(model: Path, x: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Blends of two pictures where the float model just tells them apart, which int8 then gets wrong now and again."""
    session = onnxruntime.InferenceSession(str(model))
    name = session.get_inputs()[0].name

    def blended(share: np.ndarray) -> np.ndarray:
        part = share[:, None, None]
        return np.rint(first * (1 - part) + second * part).astype(x.dtype)

    def told(pictures: np.ndarray) -> np.ndarray:
        return session.run(None, {name: pictures[:, None].astype(np.float32) / 255})[0].argmax(1)

    first, second = x[:count].astype(np.float64), x[count : 2 * count].astype(np.float64)
    low, high = np.zeros(count), np.ones(count)
    mine = told(blended(low))
    for _ in range(20):
        middle = (low + high) / 2
        same = told(blended(middle)) == mine
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    apart = told(blended(high)) != mine
    return blended(low)[apart], mine[apart]


@pytest.fixture(scope="module")
def bordered(digits_onnx, trained, tmp_path_factory) -> tuple[Path, Path, CompressResult, Heard]:
    """A compression where validation is easy and test is at the border, its data and its work."""
    folder = tmp_path_factory.mktemp("bordered")
    with np.load(trained / "digits.npz") as arrays:
        x, y = arrays["x_train"], arrays["y_train"]
        x_test, y_test = near_the_border(digits_onnx, x, 150)
        held = {"x_val": arrays["x_test"][:100], "y_val": arrays["y_test"][:100]}
    data = folder / "bordered.npz"
    np.savez(data, x_train=x[300:500], y_train=y[300:500], x_test=x_test, y_test=y_test, **held)
    heard = Heard()
    return folder, data, compress(plan(digits_onnx, data, folder, Contract(0.05), limit=None, keep="all"), heard), heard


def test_a_rung_that_holds_on_validation_alone_is_passed_over(bordered):
    _, _, result, heard = bordered
    int8 = result.attempts[1]
    assert int8.trial.samples == 100 and int8.trial.drop <= 0.05 < int8.result.drop
    assert int8.verdict(result.contract).startswith("held on validation, not on test: drop")
    assert result.verdict.chosen is not int8 and "held on validation, not on test" in result.verdict.remark
    manifest = result.export.manifest
    assert manifest.variant("onnx-int8").metrics == int8.result.evaluation.metrics, "what is reported is of test"
    assert result.chosen_by.startswith("chosen by 100 validation samples, measured on ")
    assert not any("choose the rung and measure it" in said for said in heard.said)
    page = render(climb_data(result))
    assert "chosen by 100 validation samples" in page and "to choose" in page


def test_a_restarted_climb_looks_at_nothing_twice(bordered, digits_onnx, monkeypatch):
    folder, data, before, _ = bordered
    applied: list[object] = []
    real = ladder.apply_recipe
    monkeypatch.setattr(ladder, "apply_recipe", lambda *given: applied.append(given[0]) or real(*given))
    (run,) = (p for p in (folder / "work").iterdir() if p.is_dir())
    looked = json.loads((run / "looked.json").read_text())["looked"]
    assert any(name.startswith("layers") for name in looked) and len(looked) > 5
    heard = Heard()
    again = compress(plan(digits_onnx, data, folder, Contract(0.05), limit=None, keep="all"), heard)
    assert not applied and all(a.kept for a in again.attempts)
    assert [a.trial for a in again.attempts] == [a.trial for a in before.attempts]
    assert not any(b.startswith(("evaluate", "quantize")) for b in heard.began)
    # killed in the middle of what each layer loses: the rest is looked at, and only that
    left = dict(list(looked.items())[:-2])
    (run / "looked.json").write_text(json.dumps({"key": again_key(run), "looked": left}))
    compress(plan(digits_onnx, data, folder, Contract(0.05), limit=None, keep="all"))
    assert len(applied) == 2
    (run / "looked.json").write_text('{"key": 3')
    heard = Heard()
    compress(plan(digits_onnx, data, folder, Contract(0.05), limit=None, keep="all"), heard)
    assert any("looked.json is damaged and made again" in s for s in heard.said)


def again_key(run: Path) -> str:
    return json.loads((run / "rungs.json").read_text())["key"]


def test_unlabelled_samples_are_halved_where_there_are_enough(digits_onnx, trained, tmp_path):
    with np.load(trained / "digits.npz") as arrays:
        x = np.concatenate([arrays["x_train"], arrays["x_test"]])
    np.savez(tmp_path / "loose.npz", x_train=x[:100], x_test=x[100:340])
    (tmp_path / "labels.txt").write_text("\n".join("abcdefghij"))
    changes = {"task": "classification", "labels": str(tmp_path / "labels.txt"), "limit": None}
    result = compress(plan(digits_onnx, tmp_path / "loose.npz", tmp_path, **changes))
    chosen = result.verdict.chosen
    assert result.metric == "agreement" and chosen.trial.split == "one half" and chosen.trial.samples > 80
    assert chosen.trial.samples + chosen.result.evaluation.samples == 240
    again = compress(plan(digits_onnx, tmp_path / "loose.npz", tmp_path, **changes))
    assert all(a.kept for a in again.attempts) and again.export.digest == result.export.digest
