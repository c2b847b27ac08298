"""The page: whole, escaped, without a single request, and shown as meant by a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from edgekit.data import Sample
from edgekit.errors import ReportError
from edgekit.evaluate import evaluate
from edgekit.progress import Stage
from edgekit.report import ReportData, ReportVariant, render, sample_pictures, write_report
from edgekit.report.confusion import confused, per_class
from edgekit_runtime.errors import UsageError
from edgekit_runtime.manifest import (
    ConfidenceBin,
    DataInfo,
    Manifest,
    Monitoring,
    SourceInfo,
    SpecificationData,
    TensorInfo,
    Variant,
)

HOSTILE = '<script>alert("x")</script><img src="https://evil.example/a.png" onerror=alert(1)>'
VOID = {"meta", "img", "rect", "line", "link", "br", "input"}


class Page(HTMLParser):
    """Checks nesting; gathers tags, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data):
        self.text += data


def variant(name: str, **changes) -> Variant:
    format_, precision = name.split("-")
    return Variant(name, format_, precision, f"models/{name}", (), (), ("onnx",),
                   fidelity={"max_abs": 0.012}, measured_with="onnx 1.32.0" if changes.get("metrics") else "", **changes)  # fmt: skip


def content(labels=("cat", HOSTILE, "ship"), *, measured: bool = True, **changes) -> ReportData:
    generator = np.random.default_rng(0)
    targets = generator.integers(0, len(labels), 60)
    pictures = [Sample(f"{i}.png", int(t), f"{i:064x}", generator.integers(0, 256, (200, 160, 3), np.uint8))
                for i, t in enumerate(targets)]  # fmt: skip
    scores = np.eye(len(labels), dtype=np.float32)[np.where(np.arange(60) % 6, targets, 0)] * 0.8 + 0.2 / len(labels)
    evaluation = evaluate(list(scores), pictures, "classification", labels) if measured else None
    metrics = evaluation.metrics if evaluation else {}
    made = (variant("onnx-int8", metrics=metrics), variant("onnx-fp32", metrics=metrics))
    manifest = Manifest(
        "1.0", "clothes", "pi5", "classification" if measured else "none",
        (TensorInfo("x", (-1, 3)),), (TensorInfo("y", (-1, 3)),),
        SpecificationData("image", ({"step": "decode"}, {"step": "scale", "factor": 1 / 255}), ({"step": "softmax"},)),
        made, "onnx-int8", SourceInfo("torch", HOSTILE, "ab" * 32, metrics), labels=tuple(labels),
        data=(DataInfo("evaluation", 60, "cd" * 32, {}, "--data"),), tools={"edgekit": "0.1.0"},
        monitoring=Monitoring(confidence=(ConfidenceBin(0.5, 0.6, 4, 0.5), ConfidenceBin(0.9, 1.0, 50, 0.96))),
        warnings=(HOSTILE,),
    )  # fmt: skip
    settings = {
        "variants": (ReportVariant(made[0], 35_000, 0.0 if measured else None, 0.012, evaluation),
                     ReportVariant(made[1], 103_000, 0.0 if measured else None, None, evaluation)),
        "source": evaluation,
        "stages": (Stage("convert", HOSTILE, Path("a.onnx"), "torch 2.13", 1.25),),
        "pictures": sample_pictures(pictures, evaluation, labels) if measured else (),
        "bundle": "clothes.edgekit", "digest": "ef" * 32, "max_drop": 0.01,
    }  # fmt: skip
    return ReportData(manifest, **{**settings, **changes})


def test_the_page_tells_everything():
    page = Page(render(content()))
    for told in ("clothes", "pi5", "onnx-int8", "35.0", "103.0", "Contract held", "0.012", "measured here", "torch 2.13",
                 "ab" * 32, "cd" * 32, "ef" * 32, "0.00392157", "Most often mistaken"):  # fmt: skip
        assert told in page.text, told
    assert sum(tag == "img" for tag, _ in page.tags) == 12 and sum(tag == "svg" for tag, _ in page.tags) == 4
    assert "Contract broken" in render(content(held=False))


def test_nothing_from_outside_becomes_markup_or_a_request():
    text = render(content())
    page = Page(text)
    assert HOSTILE in page.text, "shown as it is"
    assert not {"script", "link", "iframe", "object", "form", "base"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not [a for a in attributes if a.startswith("on")], (tag, attributes)
        for name in ("src", "href", "xlink:href", "data", "action"):
            assert attributes.get(name, "data:").startswith("data:image/" if name in attributes else "data:")
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert "url(" not in style and "@import" not in style
    assert any(
        a.get("http-equiv") == "Content-Security-Policy" and "default-src 'none'" in a["content"] for _, a in page.tags
    )


def test_many_classes_get_pairs_instead_of_a_matrix():
    text = render(content([f"class {i}" for i in range(60)]))
    page = Page(text)
    assert 'class="confusion' not in text
    assert "Most often mistaken" in page.text and "The classes found least" in page.text


def test_without_data_the_page_says_that_accuracy_was_not_measured():
    data = content(measured=False, max_drop=None)
    text = Page(render(data)).text
    assert "no labelled data was given" in text and "Confusion" not in text and "Sample pictures" not in text


def test_equal_content_gives_an_equal_page():
    assert render(content()) == render(content())


def test_it_is_written_whole_or_not_at_all(tmp_path):
    path = write_report(tmp_path / "new" / "r.html", content())
    first = path.read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        write_report(path, content(held=False))
    assert path.read_bytes() == first
    assert write_report(path, content(held=False), overwrite=True).read_bytes() != first
    assert [p.name for p in path.parent.iterdir()] == ["r.html"]
    with pytest.raises(ReportError, match="cannot write report"):
        write_report(path / "below a file.html", content())


def test_confusion_counted_by_hand():
    matrix, labels = ((8, 2, 0), (0, 0, 5), (0, 0, 0)), ("a", "b", "c")
    rows = per_class(matrix, labels)
    assert [(r.samples, r.precision, r.recall) for r in rows] == [(10, 1.0, 0.8), (5, 0.0, 0.0), (0, 0.0, None)]
    assert [(p.truth, p.predicted, p.count, p.share) for p in confused(matrix, labels)] == [
        ("b", "c", 5, 1.0),
        ("a", "b", 2, 0.2),
    ]


def test_mistakes_come_first_and_are_at_most_half():
    pictures = content().pictures
    assert len(pictures) == 12
    wrong = [not p.right for p in pictures]
    assert any(wrong) and wrong == sorted(wrong, reverse=True) and sum(wrong) <= 6


@pytest.mark.tool("chromium")
def test_a_real_browser_shows_it_without_a_complaint(tmp_path):
    path = write_report(tmp_path / "r.html", content())
    common = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
              "--disable-sync", "--enable-logging=stderr", "--window-size=1160,2400"]  # fmt: skip

    def browse(*arguments: str) -> subprocess.CompletedProcess[str]:
        profile = tmp_path / "profile"
        shutil.rmtree(profile, ignore_errors=True)
        return subprocess.run([shutil.which("chromium"), *common, f"--user-data-dir={profile}", *arguments, path.as_uri()],
                              capture_output=True, text=True, timeout=120, check=True)  # fmt: skip

    seen = browse("--dump-dom")
    assert "CONSOLE" not in seen.stderr, seen.stderr
    assert "Contract held" in seen.stdout and "<script" not in seen.stdout and seen.stdout.count("<svg") == 4
    browse(f"--screenshot={tmp_path / 'r.png'}")
    import cv2

    picture = cv2.imread(str(tmp_path / "r.png"))
    assert picture.shape[:2] == (2400, 1160) and picture.std() > 10, "not a blank page"
