"""The page of `edgekit eval --report`: what went worst is shown as it came, nothing from outside becomes markup."""

from __future__ import annotations

import io
import re
import wave
from dataclasses import replace

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from edgekit.data import Dataset, Sample
from edgekit.evaluate import evaluate, interval_of, slices
from edgekit.evaluate.bundles import Measured
from edgekit.pipeline import export
from edgekit.plan import ExportPlan
from edgekit.report import EvaluationReport, render_evaluation
from edgekit.report.examples import series_picture, sound_picture, worst

from .conftest import edgekit
from .test_report import HOSTILE, Page, content


def measured(raws, scores, targets, labels, task="classification", kind="table", boxes=None) -> Measured:
    samples = [Sample(f"s{i}", t, f"{i:064x}", raw) for i, (raw, t) in enumerate(zip(raws, targets))]
    answers = [np.array(s, np.float32) for s in scores]
    found = evaluate(answers, samples, task, labels)
    dataset = Dataset(kind, task, tuple(labels), {"test": samples}, columns=("a",))
    return Measured(found, content().manifest, "onnx-int8 on onnx 1.27", samples, dataset, answers)


def page_of(what: Measured, **changes) -> str:
    report = EvaluationReport(what, "m.edgekit", "data", "test", interval_of(what.evaluation, what.task))
    return render_evaluation(replace(report, **changes))


def sound(seconds: float = 0.5, rate: int = 16_000) -> bytes:
    tone = (np.sin(np.arange(int(rate * seconds)) * 0.2) * 9000).astype("<i2")
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(tone.tobytes())
    return out.getvalue()


SCORES = [[0.9, 0.1], [0.2, 0.8], [0.45, 0.55], [0.6, 0.4]]  # of class 1, 1, 0, 0: worst are 0, 2, then 3, 1


def test_surest_mistakes_come_first_then_the_least_sure_right_answers():
    found = worst(measured(["x"] * 4, SCORES, [1, 1, 0, 0], ["no", "yes"]))
    assert [e.name for e in found] == ["s0", "s2", "s3", "s1"]
    assert [e.right for e in found] == [False, False, True, True]
    assert (found[0].truth, found[0].answer, found[0].note) == ("yes", "no", "90.0%")


def test_the_largest_errors_come_first():
    found = worst(measured(["x"] * 3, [[1.0], [2.0], [9.0]], [1.0, 2.5, 3.0], (), "regression"))
    assert [e.name for e in found] == ["s2", "s1", "s0"] and found[0].note == "off by +6" and found[0].right is None


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ({"a": 1.5, "b": None, "c": "red"}, ["<th scope=\"row\">b</th><td class=\"n\">missing</td>", "red"]),
        ({"text": "switch the light off"}, ["switch the light off"]),
        ("a loose text", ["a loose text"]),
        (sound(), ["data:image/png"]),
        (np.zeros((20, 20, 3), np.uint8), ["data:image/png", "tiny"]),
        (np.zeros((200, 300), np.uint8), ["data:image/jpeg"]),
        (np.arange(4.0), ["<th scope=\"row\">3</th>"]),
        (np.random.default_rng(0).normal(size=(128, 3)), ["data:image/png"]),
        (np.zeros((8, 8, 8, 2), np.float32), ["data:image/png"]),
    ],
)  # fmt: skip
def test_every_kind_of_sample_is_shown_as_it_came(raw, shown):
    text = page_of(measured([raw] * 4, SCORES, [1, 1, 0, 0], ["no", "yes"]))
    Page(text)
    for part in shown:
        assert part in text, part


def test_pictures_of_sounds_and_series_tell_them_apart():
    quiet, loud = np.zeros(8000), np.sin(np.arange(8000) * 0.3)
    assert sound_picture(quiet, 16_000) != sound_picture(loud, 16_000)
    assert sound_picture(np.zeros(3), 16_000).startswith("data:image/png"), "shorter than one window"
    gaps = np.where(np.arange(100) % 10, np.arange(100.0), np.nan)
    assert series_picture(gaps) != series_picture(np.arange(100.0))
    assert series_picture(np.full(5, np.nan)).startswith("data:image/png")


def test_classes_slices_and_intervals_are_on_the_page():
    what = measured([{"a": i} for i in range(4)], SCORES, [1, 1, 0, 0], ["no", "yes"])
    parts = slices(what.evaluation, ["early", "early", "late", "late"], "classification")
    page = Page(page_of(what, by="shift", slices=parts))
    for told in ("By shift", "early", "late", "Most often mistaken", "Accuracy", "F1 (micro)", "95 % interval",
                 "What went worst", "Confidence"):  # fmt: skip
        assert told in page.text, told


def test_nothing_from_outside_becomes_markup_or_a_request():
    what = measured([{HOSTILE: HOSTILE}] * 2 + [HOSTILE] * 2, SCORES, [1, 1, 0, 0], [HOSTILE, "yes"])
    text = page_of(what, bundle=HOSTILE, data=HOSTILE, by=HOSTILE,
                   slices=slices(what.evaluation, [HOSTILE] * 4, "classification"))  # fmt: skip
    page = Page(text)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert all(a.get("src", "data:").startswith("data:") for _, a in page.tags)
    assert not re.search(r"\son\w+=", re.sub(r"&[^;]+;[^<]*", "", text))


def test_the_command_writes_the_page_and_not_over_another(tmp_path):
    x = np.random.default_rng(0).normal(size=(80, 2))
    y = (x[:, 0] + x[:, 1] > 0).astype(int)
    (tmp_path / "t.csv").write_text("a,b,y\n" + "\n".join(f"{a},{b},{k}" for (a, b), k in zip(x, y)))
    joblib.dump(LogisticRegression().fit(x, y), tmp_path / "m.joblib")
    export(ExportPlan(str(tmp_path / "m.joblib"), "generic-cpu", str(tmp_path / "m"), str(tmp_path / "t.csv"),
                      label="y", format="onnx", trust=True))  # fmt: skip
    words = ["eval", "m.edgekit", "--data", "t.csv", "--label", "y", "--split", "all", "--report", "r.html"]
    done = edgekit(*words, "--slice", "a", cwd=tmp_path)
    assert done.returncode == 0 and "report  r.html" in done.stdout, done.stderr
    text = (tmp_path / "r.html").read_text()
    Page(text)
    assert "By a" in text and text.count('class="frame row"') == 24
    again = edgekit(*words, cwd=tmp_path)
    assert again.returncode == 2 and "r.html exists already" in again.stderr
    assert edgekit(*words, "--overwrite", cwd=tmp_path).returncode == 0
