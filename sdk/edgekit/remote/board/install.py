"""Makes a virtual environment from wheels that lie here; stdin has what, as one JSON object.

It counts as made once ``edgekit-ready.json`` is in it, written last; without that it is thrown away and made anew.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

DISK_FULL, BUSY = 28, 30
READY = "edgekit-ready.json"


def run(command: list[str]) -> None:
    """Run it; its last line of complaint is the error."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        if any("No space left on device" in line or "Disk quota exceeded" in line for line in lines):
            raise OSError(errno.ENOSPC, "disk full")
        raise RuntimeError(next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1]))


def make(venv: Path, wanted: dict[str, object]) -> None:
    """Make the environment and mark it as ready."""
    wheels = [str(w) for w in wanted["wheels"]]  # type: ignore[attr-defined]
    # without pip: Debian's python3 lacks ensurepip; pip comes along as a wheel, and runs from there
    system = ["--system-site-packages"] if wanted["system_site"] else []
    run([str(wanted["python"]), "-I", "-m", "venv", "--without-pip", *system, str(venv)])
    python = str(venv / "bin" / "python")
    pip = [python, f"{wanted['pip']}/pip", "--isolated", "--disable-pip-version-check"]
    run([*pip, "install", "-q", "--no-index", "--no-deps", "--no-cache-dir", "--ignore-installed", *wheels])
    run([python, "-I", "-c", "import numpy, edgekit_runtime"])
    ready = venv / READY
    part = ready.with_suffix(".part")
    with part.open("w", encoding="utf-8") as out:
        json.dump(wanted, out)
        out.flush()
        os.fsync(out.fileno())
    for wheel in (*wheels, str(wanted["pip"])):  # the card of a board is small
        Path(wheel).unlink(missing_ok=True)
    os.sync()  # everything in it reaches the disk before the mark does
    part.replace(ready)


def main() -> int:
    """Make it where it is not there."""
    wanted = json.load(sys.stdin)
    venv = Path(wanted["venv"])
    venv.parent.mkdir(parents=True, exist_ok=True)
    with (venv.parent / ".install.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return BUSY
        made = not (venv / READY).is_file()
        try:
            if made:
                shutil.rmtree(venv, ignore_errors=True)
                make(venv, wanted)
        except (OSError, RuntimeError) as error:
            if made:
                shutil.rmtree(venv, ignore_errors=True)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                return DISK_FULL
            print(error, file=sys.stderr)
            return 1
    print(json.dumps({"made": made}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
