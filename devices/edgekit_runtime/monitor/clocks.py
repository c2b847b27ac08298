"""Clock, temperature and throttling at one moment: what a latency is worth nothing without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from edgekit_runtime.monitor.device import Device

_CPUS = "sys/devices/system/cpu/cpu[0-9]*/cpufreq"


@dataclass(frozen=True)
class Conditions:
    """State of the processor.

    Attributes:
        mhz: Clock of the fastest core now, None where it is not told.
        mhz_max: The highest it may have.
        governor: What chooses the clock.
        celsius: Highest temperature of all zones.
        flags: Throttling flag to whether it is set.
        load: Load average over one minute.
    """

    mhz: Optional[float] = None
    mhz_max: Optional[float] = None
    governor: str = ""
    celsius: Optional[float] = None
    flags: Mapping[str, bool] = field(default_factory=dict)
    load: Optional[float] = None


def conditions(root: Path = Path("/")) -> Conditions:
    """Read them; what is not told is None or empty."""
    health = Device(root).read()
    now, most, governor = [], [], ""
    for cpu in sorted(root.glob(_CPUS)):
        try:
            now.append(int((cpu / "scaling_cur_freq").read_text()) / 1e3)
            most.append(int((cpu / "cpuinfo_max_freq").read_text()) / 1e3)
            governor = governor or (cpu / "scaling_governor").read_text().strip()
        except (OSError, ValueError):
            continue
    return Conditions(
        mhz=max(now, default=None),
        mhz_max=max(most, default=None),
        governor=governor,
        celsius=max(health.temperatures.values(), default=None),
        flags=health.flags,
        load=health.load,
    )


def throttled(record: Mapping[str, Conditions]) -> str:
    """What held the clock back in a record of moments, in words; empty for nothing.

    Args:
        record: Moment (``before``, ``during``, ``after``) to conditions.
    """
    held: list[str] = []
    for moment in ("before", "during", "after"):
        found = record.get(moment)
        if found is None:
            continue
        held += [n for n, is_set in found.flags.items() if is_set and not n.endswith("_since_boot")]
    before, after = record.get("before"), record.get("after")
    if before and after:
        held += [n for n, is_set in after.flags.items() if is_set and not before.flags.get(n)]
    during = record.get("during")
    if during and during.mhz and during.mhz_max and during.mhz < 0.95 * during.mhz_max:
        held.append(f"clock at {during.mhz:.0f} of {during.mhz_max:.0f} MHz")
    return ", ".join(dict.fromkeys(n.replace("_", " ") for n in held))
