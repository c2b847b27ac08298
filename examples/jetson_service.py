"""A bundle for a Jetson, and the service that keeps it running there; systemd itself checks the unit.

python examples/jetson_service.py FOLDER
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from edgekit import ExportPlan, export
from edgekit.demo import NETWORK, digits, train

RUNTIME = (sys.executable, "-m", "edgekit_runtime")


def printed(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return done.stdout


def main(folder: Path) -> None:
    (folder / "network.py").write_text(NETWORK)
    arrays = digits()
    np.savez(folder / "digits.npz", **arrays)
    train(arrays, folder / "network.py", folder / "digits.safetensors", lambda _done, _total: None)
    plan = ExportPlan(
        model=f"{folder}/network.py:network",
        weights=f"{folder}/digits.safetensors",
        input_shape=(-1, 1, 32, 32),
        target="jetson",
        data=f"{folder}/digits.npz",
        preprocess="0..1",
        output=f"{folder}/digits.edgekit",
        overwrite=True,
    )
    print(printed(*RUNTIME, "selftest", str(export(plan).bundle)), end="")

    # paths are those of the Jetson; copy the bundle, the token and the unit there
    unit = folder / "units/edgekit-serve.service"
    service = [
        *(*RUNTIME, "install", "--systemd", "/opt/edgekit/models/digits.edgekit", "--device=jetson"),
        *("--host=0.0.0.0", "--token-file=/etc/edgekit/token", f"--output={unit.parent}"),
    ]
    print(printed(*service, "--program=/opt/edgekit/bin/edgekit-runtime"), end="")

    # systemd looks whether the program is there, and the Jetson's is not: one of this machine stands in
    checked = folder / unit.name
    checked.write_text(unit.read_text().replace("/opt/edgekit/bin/edgekit-runtime", "/usr/bin/true"))
    printed("systemd-analyze", "verify", "--man=no", str(checked))
    print(f"systemd takes {unit.name}")
    print(printed("systemd-analyze", "security", "--offline=yes", str(checked)).strip().splitlines()[-1])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
