"""The guide's commands run as printed, page by page, on what one `edgekit demo` left.

A fenced block is run where its info string says so: ``sh run``, ``sh run exit=3`` (the last command's exit code) or
``python run``; ``json file=NAME`` and ``toml file=NAME`` are written to files first. Other blocks are for other machines.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import jsonschema
import pytest

from edgekit_runtime.manifest import SpecificationData
from edgekit_runtime.plain import decode
from edgekit_runtime.specification import Specification

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs/guide"
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DEMO = "edgekit demo\n"


def blocks(page: str) -> list[tuple[str, str]]:
    """(info string, text) of every fenced block."""
    return FENCE.findall((GUIDE / page).read_text("utf-8"))


RUN = sorted(
    p.name for p in GUIDE.glob("*.md") if any(" run" in info or " file=" in info for info, _ in blocks(p.name))
)


def run(info: str, text: str, folder: Path, programs: Path) -> str:
    """Run a block and return what it printed."""
    language, *options = info.split()
    command = ["bash", "-euo", "pipefail", "-c", text] if language == "sh" else [sys.executable, "-c", text]
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "COLUMNS": "100"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)
    wanted = next((int(o.removeprefix("exit=")) for o in options if o.startswith("exit=")), 0)
    said = f"{text}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
    assert done.returncode == wanted, f"exit code {done.returncode}, not {wanted}:\n{said}"
    assert "Traceback" not in done.stderr, said
    return done.stdout


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Path:
    """`edgekit`, `edgekit-runtime` and `python` of this very environment, wherever it keeps them."""
    folder = tmp_path_factory.mktemp("bin")
    for name, words in (("edgekit", "-m edgekit"), ("edgekit-runtime", "-m edgekit_runtime"), ("python", "")):
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def demo(tmp_path_factory, programs) -> tuple[Path, str]:
    """Folder where the demo ran, and what it printed; every page starts from a copy of it."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, run("sh run", DEMO, folder, programs)


def test_the_demo_exports_for_three_devices_and_says_what_next(demo):
    folder, printed = demo
    table = printed[printed.index("exported") :]
    rows = re.findall(r"^ *(pi5|jetson-orin|coral) +(\w+) +(\w+) +([\d.]+) +([\d.]+) +([\d.]+) ", table, re.MULTILINE)
    assert [row[0] for row in rows] == ["pi5", "jetson-orin", "coral"]
    for target, _, precision, _, before, after in rows:
        assert precision == "int8" and float(before) > 0.95 and float(after) > float(before) - 0.02
        assert (folder / f"edgekit-demo/digits-{target}.edgekit").is_file()
    assert "next  edgekit inspect" in table


@pytest.mark.parametrize("target", ["pi5", "jetson-orin", "coral"])
def test_the_manifest_of_a_real_bundle_fits_the_published_schema(target, demo):
    schema = json.loads((ROOT / "docs/reference/manifest.schema.json").read_text("utf-8"))
    with zipfile.ZipFile(demo[0] / f"edgekit-demo/digits-{target}.edgekit") as bundle:
        manifest = json.loads(bundle.read("manifest.json"))
    jsonschema.validate(manifest, schema)
    manifest["variants"][0]["inputs"][0]["dtype"] = "int4"
    with pytest.raises(jsonschema.ValidationError, match="int4"):
        jsonschema.validate(manifest, schema)


@pytest.mark.parametrize("page", RUN)
def test_a_page_of_the_guide_runs(page, demo, programs, tmp_path):
    shutil.copytree(demo[0], tmp_path, dirs_exist_ok=True)
    for info, text in blocks(page):
        file = re.search(r" file=(\S+)", info)
        if file:
            (tmp_path / file.group(1)).write_text(text)
            plain = json.loads(text) if info.startswith("json") else {}
            if "kind" in plain:
                Specification.from_data(decode(SpecificationData, plain))
        elif " run" in info and text != DEMO:
            run(info, text, tmp_path, programs)


def test_the_guide_shows_the_demo_that_its_pages_start_from():
    assert ("sh run", DEMO) in blocks("getting-started.md") and len(RUN) >= 6


def test_every_error_that_is_explained_exists():
    """Quoted fragments stand in the code word by word; … stands for what varies."""
    code = [
        re.sub(r'"\n\s+f?"', "", p.read_text("utf-8"))
        for r in ("sdk", "converters", "devices")
        for p in (ROOT / r).rglob("*.py")
    ]
    quoted = re.findall(r"^\| `([^`]+)` \|", (GUIDE / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(quoted) > 12
    for error in quoted:
        parts = [part.strip() for part in error.split("…")]
        assert any(all(part in text for part in parts) for text in code), error
