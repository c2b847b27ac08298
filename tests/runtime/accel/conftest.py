"""A machine with a Coral, as far as a stand-in goes: a real shared library compiled from delegate.c, made-up nodes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit_runtime.backends import edgetpu_library

SOURCE = Path(__file__).parent / "delegate.c"


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Call with a mode of delegate.c: the library that behaves so."""
    folder = tmp_path_factory.mktemp("delegates")

    def build(mode: str) -> Path:
        library = folder / f"{mode.lower()}.so"
        if not library.exists():
            line = ["cc", "-shared", "-fPIC", "-O0", f"-DMODE={mode}", str(SOURCE), "-o", str(library)]
            subprocess.run(line, check=True, capture_output=True)
        return library

    return build


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Path:
    """Root of a machine's ``/dev`` and ``/sys`` with nothing in them, and a cache of its own."""
    root = tmp_path / "machine"
    (root / "dev").mkdir(parents=True)
    monkeypatch.setattr(edgetpu_library, "ROOT", root)
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EDGEKIT_EDGETPU_LIBRARY", raising=False)
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    return root


@pytest.fixture
def coral(machine, monkeypatch, stand_in) -> Callable[[str], Path]:
    """Call with a mode: the machine then has a PCIe Edge TPU's node, and the stand-in as its library."""
    (machine / "dev/apex_0").touch()

    def plug(mode: str) -> Path:
        library = stand_in(mode)
        monkeypatch.setenv("EDGEKIT_EDGETPU_LIBRARY", str(library))
        return library

    return plug
