"""Boards that are not here: user-mode emulation of arm64 and armhf. No latency is ever reported from it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("bring_up.sh")


@dataclass(frozen=True)
class Board:
    """An emulated board.

    Attributes:
        name: ``pi64`` or ``pi32``.
        qemu: Its emulator.
        processor: Processor model.
        root: Its Debian.
        launcher: Program of this machine that is the board's Python: what an emulated process starts as child.
    """

    name: str
    qemu: Path
    processor: str
    root: Path
    launcher: Path

    def write_launcher(self) -> None:
        """Make `launcher`. The kernel cannot start a foreign Python, but it can start a script that emulates one."""
        command = [self.qemu, "-cpu", self.processor, "-L", self.root, self.root / "usr/bin/python3.11", "-B"]
        self.launcher.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, command))} "$@"\n')
        self.launcher.chmod(0o755)
        # what an emulated process calls its own Python must be something that this machine can start, too
        self.custom.mkdir()
        (self.custom / "sitecustomize.py").write_text(f"import sys\nsys.executable = {str(self.launcher)!r}\n")

    @property
    def custom(self) -> Path:
        """Folder on the board's path, read by every Python that starts there."""
        return self.launcher.with_name(f"{self.name}-custom")

    def python(self, module: str, *arguments: str, timeout: int = 900) -> subprocess.CompletedProcess[str]:
        """Run a module in the board's own Python with edgekit_runtime on its path."""
        environment = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": f"{self.custom}:{ROOT / 'devices'}:{self.root / 'opt/site'}:{ROOT}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHOME": str(self.root / "usr"),
            "HOME": str(self.launcher.parent),
            **{k: v for k, v in os.environ.items() if k == "EDGEKIT_ASSETS"},
        }
        program = f"import runpy, sys; sys.argv[0] = {module!r}; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
        return subprocess.run(
            [str(self.launcher), "-c", program, *arguments],
            capture_output=True,
            text=True,
            env=environment,
            cwd=ROOT,
            timeout=timeout,
            check=False,
        )


@pytest.fixture(scope="session")
def boards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Board]:
    """Name to board; brought up once and kept in the user's cache, keyed by the script that makes it."""
    if shutil.which("mmdebstrap") is None:
        reason = "the system tool 'mmdebstrap' is not installed"
        if os.environ.get("EDGEKIT_REQUIRE") == "all":
            pytest.fail(f"EDGEKIT_REQUIRE=all, but {reason}")
        pytest.skip(reason)
    cache = bring_up(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgekit-ci")
    launchers = tmp_path_factory.mktemp("launchers")
    boards = {
        "pi64": Board("pi64", cache / "usr/bin/qemu-aarch64", "cortex-a72", cache / "pi64", launchers / "pi64"),
        "pi32": Board("pi32", cache / "usr/bin/qemu-arm", "cortex-a7", cache / "pi32", launchers / "pi32"),
    }
    for board in boards.values():
        board.write_launcher()
    return boards


def bring_up(caches: Path) -> Path:
    """Folder of the boards that today's script makes; those of older scripts are removed."""
    caches.mkdir(parents=True, exist_ok=True)
    cache = caches / f"pi-{hashlib.sha256(SCRIPT.read_bytes()).hexdigest()[:16]}"
    with (caches / "pi.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (cache / "ready").exists():
            for old in caches.glob("pi-*"):
                shutil.rmtree(old)
            done = subprocess.run(
                [str(SCRIPT), str(cache), sys.executable], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    return cache
