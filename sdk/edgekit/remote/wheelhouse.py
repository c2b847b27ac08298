"""The wheels that a board gets, fetched for its platform by the workstation's pip and kept in the user's cache."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from edgekit.remote.runtime_wheel import runtime_wheel
from edgekit.remote.wheels import Needs
from edgekit_runtime.atomic import replacing
from edgekit_runtime.errors import MissingRequirement


@dataclass(frozen=True)
class Wheel:
    """One wheel on the workstation.

    Attributes:
        path: Where it lies.
        sha256: Of its content.
        bytes: Its size.
        unpacked: Bytes it takes once installed.
    """

    path: Path
    sha256: str
    bytes: int
    unpacked: int

    @classmethod
    def of(cls, path: Path) -> Wheel:
        """Read it.

        Raises:
            MissingRequirement: It is not a wheel.
        """
        try:
            with ZipFile(path) as opened:
                unpacked = sum(m.file_size for m in opened.infolist())
        except (BadZipFile, OSError) as error:
            raise MissingRequirement(f"{path} is not a wheel ({error})", "delete it, and try again") from error
        content = path.read_bytes()
        return cls(path, hashlib.sha256(content).hexdigest(), len(content), unpacked)


@dataclass(frozen=True)
class Wheelhouse:
    """Everything that one environment is made of.

    Attributes:
        wheels: What is installed.
        pip: pip's own wheel, which runs from its file and is not installed.
        key: Stands for the content of all of them, the Python and what it sees of the system.
    """

    wheels: tuple[Wheel, ...]
    pip: Wheel
    key: str


def cache_folder() -> Path:
    """Where wheels are kept: in the XDG cache."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "edgekit" / "wheelhouse"


def download_command(needs: Needs, folder: str) -> list[str]:
    """Arguments of pip that fetch the wheels of `needs` into `folder`."""
    return [
        "download",
        "--only-binary=:all:",
        "--no-deps",
        "--implementation=cp",
        f"--python-version={needs.python.version}",
        *(f"--platform={tag}" for tag in needs.tags),
        "--dest",
        folder,
        needs.pip,
        *needs.pins,
    ]


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def gather(needs: Needs, given: Path | None = None) -> Wheelhouse:
    """The wheels for a board: from the cache, from a folder, or from the index.

    Args:
        needs: What it needs.
        given: A folder of wheels to take them from instead of the index, for workstations that are offline.

    Raises:
        MissingRequirement: They are not to be had; says the command that fetches them elsewhere.
    """
    lock = _key(sorted(needs.pins), needs.pip, needs.tags, needs.python.version)
    folder = cache_folder() / (lock if given is None else f"{lock}-{_key(str(given.absolute()))}")
    if given is not None or not folder.is_dir():
        folder = _fetch(needs, folder, given)
    name, content = runtime_wheel()
    ours = cache_folder() / f"runtime-{hashlib.sha256(content).hexdigest()[:16]}" / name
    if not ours.is_file():
        with replacing(ours) as out:
            out.write(content)
    found = [Wheel.of(path) for path in sorted(folder.glob("*.whl"))]
    pip = [w for w in found if w.path.name.startswith("pip-")]
    if len(pip) != 1 or len(found) != len(needs.pins) + 1:
        raise MissingRequirement(
            f"{folder} is not whole", f"remove that folder: {shlex.join(['rm', '-r', str(folder)])}"
        )
    wheels = (Wheel.of(ours), *(w for w in found if w not in pip))
    content_key = _key([(w.path.name, w.sha256) for w in wheels], needs.python.full, needs.system_site)
    return Wheelhouse(wheels, pip[0], content_key)


def _fetch(needs: Needs, folder: Path, given: Path | None) -> Path:
    """Fill `folder` in one go, from the index or from a folder of the user's."""
    if given is not None and not given.is_dir():
        raise MissingRequirement(f"{given} is not a folder of wheels", _how(needs, str(given)))
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
    try:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *download_command(needs, str(part))]
        command += ["--no-index", "--find-links", str(given)] if given is not None else []
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            if any("No module named pip" in line for line in lines):
                raise MissingRequirement("this Python has no pip to fetch wheels with", "python -m ensurepip")
            said = next((line for line in reversed(lines) if line.startswith("ERROR: ")), (lines or ["no word"])[-1])
            where = f"in {given}" if given is not None else "to be had here"
            raise MissingRequirement(
                f"the wheels for {needs.machine}, Python {needs.python.version} are not {where}"
                f" ({said.removeprefix('ERROR: ')[:200]})",
                _how(needs, str(given or "wheelhouse")),
            )
        if folder.is_dir():  # the user's own, or another process was faster
            shutil.rmtree(folder)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _how(needs: Needs, folder: str) -> str:
    command = shlex.join(["pip", *download_command(needs, folder)])
    return f"where there is internet, run {command} and give --wheelhouse {shlex.quote(folder)}"
