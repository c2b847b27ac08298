"""What an export leaves beside and inside the bundle on demand: a report, licences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.licences import read_licences
from edgekit_runtime import Bundle
from edgekit_runtime.errors import UsageError

from .conftest import edgekit

APACHE = "\n                                 Apache License\n                           Version 2.0, January 2004\n"


def options(trained: Path, digits_onnx: Path) -> list[str]:
    return [str(digits_onnx), "--target", "generic-cpu", "--data", f"{trained}/digits.npz", "--preprocess", "0..1",
            "--max-drop", "0.02", "-o", "digits"]  # fmt: skip


def test_a_report_and_licences_are_planned_written_and_named(trained, digits_onnx, tmp_path):
    (tmp_path / "LICENSE").write_text(APACHE)
    (tmp_path / "data set.txt").write_text("Creative Commons Attribution 4.0\n")
    arguments = [*options(trained, digits_onnx), "--report", "--licence", "LICENSE", "--licence", "data set.txt"]
    dry = edgekit("export", *arguments, "--dry-run", cwd=tmp_path)
    plan = json.loads(dry.stdout)
    assert plan["report"] is True and plan["licences"] == ["LICENSE", "data set.txt"]
    (tmp_path / "plan.json").write_text(dry.stdout)
    done = edgekit("export", "--config", "plan.json", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["report"] == "digits.html" and "report  digits.html" in done.stderr
    page = (tmp_path / "digits.html").read_text()
    variants = {v["name"]: v for v in printed["variants"]}
    assert "Contract held" in page and printed["digest"] in page and "<svg" in page and "data:image/" in page
    assert f"{variants[printed['chosen']]['latency_ms']:.3g}" in page and "Python 3." in page, "where it was measured"
    with Bundle.open(tmp_path / "digits.edgekit") as bundle:
        assert bundle.read("licences/LICENSE").decode() == APACHE
        assert bundle.manifest.notes == (
            "licence licences/LICENSE: Apache License",
            "licence licences/data-set.txt: Creative Commons Attribution 4.0",
        )
    shown = edgekit("inspect", "digits.edgekit", cwd=tmp_path).stdout
    assert "licences/LICENSE: Apache License" in shown and "licences/data-set.txt" in shown


def test_a_report_is_not_overwritten_and_that_is_found_before_the_work(trained, digits_onnx, tmp_path):
    (tmp_path / "digits.html").write_text("mine")
    done = edgekit("export", *options(trained, digits_onnx), "--report", cwd=tmp_path)
    assert done.returncode == 2 and "digits.html exists already" in done.stderr and "✓" not in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["digits.html"] and (tmp_path / "digits.html").read_text() == "mine"


def test_licences_of_one_name_are_kept_apart(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "LICENSE.txt").write_text(f"Licence {folder}")
    members, notes = read_licences([str(tmp_path / f / "LICENSE.txt") for f in ("a", "b")])
    assert members == {"licences/LICENSE.txt": b"Licence a", "licences/LICENSE-2.txt": b"Licence b"}
    assert notes[1] == "licence licences/LICENSE-2.txt: Licence b"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file"), (b"", "is empty"), (b"\xff\xfe\x00", "not UTF-8"), (b"a" * 2**21, "large")],
)
def test_what_is_no_licence_is_bad_usage(tmp_path, content, message):
    if content is not None:
        (tmp_path / "L").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_licences([str(tmp_path / "L")])
