"""A bundle that tells which quadrant of a picture is brightest, and one command to watch with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit_runtime.bundle import write_bundle
from edgekit_runtime.manifest import SpecificationData

from ..conftest import double_manifest


def tabular(path: Path) -> Path:
    """``2 * x`` of four columns, as scores of four classes."""
    import dataclasses

    manifest, members = double_manifest()
    specification = SpecificationData(
        "table", ({"step": "columns", "names": ["a", "b", "c", "d"]},), ({"step": "top_k", "k": 2},)
    )
    manifest = dataclasses.replace(
        manifest, task="classification", labels=("one", "two", "three", "four"), specification=specification
    )
    write_bundle(path, manifest, members)
    return path


def pictures(path: Path) -> Path:
    """Of a 1 x 4 picture in grey, twice the four pixels, as scores."""
    import dataclasses

    manifest, members = double_manifest()
    steps = (
        {"step": "decode", "colour": "gray"},
        {"step": "resize", "height": 1, "width": 4, "interpolation": "area"},
        {"step": "scale", "factor": 1 / 255},
        {"step": "reshape", "shape": [4]},
    )
    specification = SpecificationData("image", steps, ({"step": "top_k", "k": 2},))
    manifest = dataclasses.replace(
        manifest, task="classification", labels=("one", "two", "three", "four"), specification=specification
    )
    write_bundle(path, manifest, members)
    return path


@pytest.fixture
def rows_bundle(tmp_path, needs_backend):
    needs_backend("onnx")
    return tabular(tmp_path / "rows.edgekit")


@pytest.fixture
def picture_bundle(tmp_path, needs_backend):
    needs_backend("onnx")
    return pictures(tmp_path / "pictures.edgekit")


class Watch:
    """The command line in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, toml: str, *options: str, **settings) -> subprocess.Popen:
        (self.folder / "watch.toml").write_text(toml)
        command = [sys.executable, "-m", "edgekit_runtime", "watch", str(self.folder / "watch.toml"), *options]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings
        )

    def __call__(self, toml: str, *options: str, stdin: str = "", code: int = 0, **settings) -> tuple[list, str]:
        child = self.start(toml, *options, **settings)
        out, said = child.communicate(stdin, timeout=60)
        assert child.returncode == code, said
        assert "Traceback" not in said, said
        return [json.loads(line) for line in out.splitlines() if line.startswith("{")], said


@pytest.fixture
def watch(tmp_path):
    return Watch(tmp_path)
