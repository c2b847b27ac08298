"""What accelerators this machine shows, for `doctor`: a Coral on its bus, a Jetson's JetPack, TensorRT.

Nothing is loaded into this process. Whether something runs is for the back ends' probes to say.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Optional

from edgekit_runtime.backends import edgetpu_library as coral
from edgekit_runtime.engines import find_trtexec, trtexec_version
from edgekit_runtime.finding import Finding
from edgekit_runtime.jetpack import jetpack_of, release_of

ROOT = Path("/")
_L4T = "etc/nv_tegra_release"


def boards() -> list[Finding]:
    """Findings for the accelerators that are here; none for a machine without any."""
    return [*_coral(), *_jetson()]


def jetson_linux(text: str) -> Optional[str]:
    """``36.4.3`` out of ``/etc/nv_tegra_release``; None where it does not say."""
    found = re.search(r"#\s*R(\d+)\b.*?REVISION:\s*([\d.]+)", text)
    return f"{found[1]}.{found[2]}" if found else None


def _coral() -> list[Finding]:
    library, devices = coral.find_library(), coral.find_devices()
    if not library and not devices:
        return []
    found = [
        Finding("Coral", "works", "; ".join(devices))
        if devices
        else Finding("Coral", "absent", "no Edge TPU on the bus", "plug it in, or load the gasket driver")
    ]
    if library is None:
        return [*found, Finding("libedgetpu", "absent", "not installed", coral.INSTALL)]
    version = coral.library_version(library)
    said = version or "it does not tell its version, or dies of the question"
    return [*found, Finding("libedgetpu", "works" if version else "broken", f"{library}: {said}")]


def _jetson() -> list[Finding]:
    findings = []
    try:
        release = jetson_linux((ROOT / _L4T).read_text("utf-8", errors="replace"))
    except OSError:
        release = None
    if release:
        jetpack = jetpack_of(release)
        said = f"{release}, JetPack {jetpack or 'not known to this version of edgekit-runtime'}"
        findings.append(Finding("Jetson Linux", "works", said))
        if brings := release_of(jetpack):
            findings.append(Finding("JetPack", "works", f"{brings.in_words()}, as the release has it"))
    if program := find_trtexec():
        try:
            told = subprocess.run(
                [program, "--help"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, errors="replace", timeout=30, check=False,
            ).stdout  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            told = ""
        version = trtexec_version(told)
        said = f"TensorRT {version}" if version else "it does not tell TensorRT's version"
        findings.append(Finding("trtexec", "works" if version else "broken", f"{program}: {said}"))
    return findings
