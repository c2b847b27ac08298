"""What works on this machine: every back end really runs a model of one operation, in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import platform
import subprocess
import sys

import numpy as np

from edgekit_runtime.accelerators import boards
from edgekit_runtime.backends import backend, backend_names
from edgekit_runtime.backends.base import advice
from edgekit_runtime.errors import MissingRequirement
from edgekit_runtime.finding import Finding
from edgekit_runtime.jetpack import jetpacks

_CHILD = """
import sys
import numpy as np
from edgekit_runtime.backends import backend
from edgekit_runtime.errors import EdgekitError, MissingRequirement
chosen = backend(sys.argv[1])
try:
    session = chosen.open(chosen.probe_model(), threads=1)
    answer = session.run([np.array([[1, 2, 3, 4]], np.float32)])[0]
except MissingRequirement as error:
    print("edgekit:" + str(error), file=sys.stderr)
    sys.exit(4)
except EdgekitError as error:
    sys.exit("edgekit:" + str(error))
print(session.placement)
if answer.tolist() != [[2, 4, 6, 8]]:
    sys.exit("edgekit:it answers " + str(answer.tolist()) + " where [[2, 4, 6, 8]] is right")
"""


def probe(name: str, *, timeout: float = 120.0) -> Finding:
    """Run one back end's probe model in a child process, so that a crash there is a finding and not our end."""
    chosen = backend(name)
    version = chosen.version()
    fix = advice(chosen)
    if version is None:
        return Finding(f"back end {name}", "absent", f"{chosen.package} is not installed", fix)
    try:
        chosen.probe_model()
    except MissingRequirement as error:
        return Finding(f"back end {name}", "absent", f"{version}: {error.message}", error.hint)
    try:
        result = subprocess.run(
            [sys.executable, "-c", _CHILD, name], capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding(f"back end {name}", "broken", f"{version} did not answer within {timeout:g} s", fix)
    if result.returncode == 0:
        ran = (result.stdout.strip().splitlines() or [""])[-1]
        return Finding(f"back end {name}", "works", f"{version}, on {ran}" if ran else version)
    last = (result.stderr.strip().splitlines() or [f"it ended with code {result.returncode}"])[-1]
    message, _, hint = last.replace("edgekit:", "").rpartition(": ")
    if "edgekit:" not in last:
        message, hint = (f"it died with {last[:200]}", fix)
    absent = bool(chosen.accelerator) and result.returncode == 4  # a device that is not plugged in is not broken
    state = "absent" if absent else "broken"
    return Finding(f"back end {name}", state, f"{version}: {message or hint}", hint if message else fix)


def examine() -> list[Finding]:
    """Look at Python, numpy, picture decoders and every registered back end."""
    findings = [
        Finding("Python", "works", f"{platform.python_version()} on {platform.machine()} ({platform.platform()})"),
        Finding("numpy", "works", np.__version__),
    ]
    decoders = [name for name, package in (("OpenCV", "cv2"), ("Pillow", "PIL")) if importlib.util.find_spec(package)]
    findings.append(
        Finding("picture decoder", "works", ", ".join(decoders))
        if decoders
        else Finding("picture decoder", "absent", "neither OpenCV nor Pillow", 'pip install "edgekit-runtime[camera]"')
    )
    return findings + boards() + [probe(name) for name in backend_names()]


def as_json(findings: list[Finding]) -> str:
    """One JSON object: what was found, and what every known JetPack brings."""
    return json.dumps({"findings": [vars(f) for f in findings], "jetpacks": [vars(j) for j in jetpacks()]}, indent=2)
