"""The device's own health, read from /proc and /sys; what a board does not have is named, never guessed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

THROTTLED = {
    0: "under_voltage",
    1: "frequency_capped",
    2: "throttled",
    3: "soft_temperature_limit",
    16: "under_voltage_since_boot",
    17: "frequency_capped_since_boot",
    18: "throttled_since_boot",
    19: "soft_temperature_limit_since_boot",
}
"""Bits of a Raspberry Pi's get_throttled (Raspberry Pi documentation, vcgencmd)."""

_PI_FLAGS = "sys/devices/platform/soc/soc:firmware/get_throttled"
_JETSON_EVENTS = "sys/class/hwmon/hwmon*/oc*_event_cnt"  # Jetson Linux guide: over-current throttling since boot
_GPU_LOADS = ("sys/devices/gpu.0/load", "sys/devices/platform/gpu.0/load", "sys/devices/platform/bus@0/*.gpu/load")
_VCGENCMD_SECONDS = 5


@dataclass(frozen=True)
class Health:
    """What could be read at one moment; None and empty where it is in `absent`.

    Attributes:
        board: Name of the board from its device tree.
        uptime: Seconds since boot.
        cpu: Share of the processors' time that was busy since the last reading, 0 to 1.
        load: Load average over one minute.
        memory_total: Bytes of RAM.
        memory_available: Bytes that programs can still get.
        disk_total: Bytes of the file system that was asked about.
        disk_free: Bytes of it that a user's program can still write.
        temperatures: Zone name to degrees Celsius.
        flags: Throttling flag to whether it is set (Pi), or over-current channel to whether it ever fired (Jetson).
        gpu: Busy share of a Jetson's GPU, 0 to 1.
        absent: What could not be read, with the place that was tried.
    """

    board: str = ""
    uptime: Optional[float] = None
    cpu: Optional[float] = None
    load: Optional[float] = None
    memory_total: Optional[int] = None
    memory_available: Optional[int] = None
    disk_total: Optional[int] = None
    disk_free: Optional[int] = None
    temperatures: Mapping[str, float] = field(default_factory=dict)
    flags: Mapping[str, bool] = field(default_factory=dict)
    gpu: Optional[float] = None
    absent: Mapping[str, str] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """JSON data without what is absent, which `absent` names."""
        return {n: v for n, v in vars(self).items() if v is not None and v not in ("", {})}


def vcgencmd() -> Optional[str]:
    """What ``vcgencmd get_throttled`` prints; None where there is no such program or it fails."""
    try:
        done = subprocess.run(
            ["vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=_VCGENCMD_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


class Device:
    """Reads health; one object keeps the last processor times, so that `cpu` is a share since the last reading."""

    def __init__(
        self, root: Path = Path("/"), *, disk: Path = Path("/"), vcgencmd: Callable[[], Optional[str]] = vcgencmd
    ) -> None:
        """Say where to read.

        Args:
            root: Folder that holds ``proc`` and ``sys``.
            disk: Any path on the file system whose space is of interest.
            vcgencmd: Gives the text of ``vcgencmd get_throttled``, or None; asked where sysfs has no flags.
        """
        self._root, self._disk, self._vcgencmd = root, disk, vcgencmd
        self._times: Optional[tuple[int, int]] = None

    def read(self) -> Health:
        """Everything that can be read now; never raises for what is missing or malformed."""
        found: dict[str, Any] = {}
        absent: dict[str, str] = {}
        readers: dict[str, tuple[str, Callable[[], Any]]] = {
            "board": ("proc/device-tree/model", self._board),
            "uptime": ("proc/uptime", lambda: float(self._text("proc/uptime").split()[0])),
            "cpu": ("proc/stat (a share needs two readings)", self._cpu),
            "load": ("proc/loadavg", lambda: float(self._text("proc/loadavg").split()[0])),
            "memory": ("proc/meminfo", self._memory),
            "disk": (str(self._disk), self._space),
            "temperatures": ("sys/class/thermal/thermal_zone*/temp", self._temperatures),
            "flags": (f"{_PI_FLAGS}, vcgencmd, {_JETSON_EVENTS}", self._flags),
            "gpu": (", ".join(_GPU_LOADS), self._gpu),
        }
        for name, (place, reader) in readers.items():
            try:
                value = reader()
            except (OSError, ValueError, IndexError, KeyError):
                value = None
            if value is None or value in ("", {}):
                absent[name] = f"nothing to read at {place}"
            elif name in ("memory", "disk"):
                found[f"{name}_total"], found[f"{name}_{'available' if name == 'memory' else 'free'}"] = value
            else:
                found[name] = value
        return Health(**found, absent=absent)

    def _text(self, place: str) -> str:
        return (self._root / place).read_text("utf-8", "replace").strip()

    def _board(self) -> str:
        return self._text("proc/device-tree/model").strip("\0 \n")

    def _cpu(self) -> Optional[float]:
        times = [int(n) for n in self._text("proc/stat").splitlines()[0].split()[1:9]]
        idle, total = times[3] + times[4], sum(times)  # user nice system idle iowait irq softirq steal
        before, self._times = self._times, (idle, total)
        if before is None or total <= before[1]:
            return None
        return min(max(1 - (idle - before[0]) / (total - before[1]), 0.0), 1.0)

    def _memory(self) -> tuple[int, int]:
        rows = dict(line.split(":", 1) for line in self._text("proc/meminfo").splitlines() if ":" in line)
        total, available = (int(rows[n].split()[0]) * 1024 for n in ("MemTotal", "MemAvailable"))
        return total, available

    def _space(self) -> tuple[int, int]:
        found = os.statvfs(self._disk)
        return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize

    def _temperatures(self) -> dict[str, float]:
        zones: dict[str, float] = {}
        for zone in sorted(self._root.glob("sys/class/thermal/thermal_zone*")):
            try:
                value = int((zone / "temp").read_text()) / 1000
                name = (zone / "type").read_text().strip() or zone.name
            except (OSError, ValueError):  # a Jetson's zones of powered-down parts give an error when read
                continue
            zones[name if name not in zones else zone.name] = value
        return zones

    def _flags(self) -> dict[str, bool]:
        try:
            text: Optional[str] = self._text(_PI_FLAGS)
        except OSError:
            text = self._vcgencmd()
        if text:
            bits = int(text.strip().rpartition("=")[2], 16)  # sysfs: 50005; vcgencmd: throttled=0x50005
            return {name: bool(bits >> bit & 1) for bit, name in THROTTLED.items()}
        events = sorted(self._root.glob(_JETSON_EVENTS))
        return {f"{p.name.split('_')[0]}_throttled_since_boot": int(p.read_text()) > 0 for p in events}

    def _gpu(self) -> Optional[float]:
        for pattern in _GPU_LOADS:
            for path in sorted(self._root.glob(pattern)):
                return int(path.read_text()) / 1000
        return None
