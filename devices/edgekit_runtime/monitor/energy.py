"""Power and energy where a board has a sensor for it; nothing is estimated where it has none."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Optional

_PMIC_SECONDS = 5
_PMIC_LINE = re.compile(r"(\w+)_(A|V)\s+\w+\(\d+\)=([0-9.]+)[AV]")


class Sensor(ABC):
    """Something that tells energy.

    Attributes:
        name: What is measured, in words.
        period: Seconds between two readings that are worth it.
    """

    name: str
    period: float = 0.1

    @abstractmethod
    def watts(self) -> Optional[float]:
        """Power now; None where it is not told."""


class Ina3221(Sensor):
    """A Jetson's INA3221: the rail of the whole module where there is one, else the sum of its rails."""

    def __init__(self, rails: dict[str, tuple[Path, Path]]) -> None:
        whole = [n for n in rails if n in ("VDD_IN", "VIN_SYS_5V0")]
        self._rails = [rails[n] for n in (whole or rails)]
        self.name = f"INA3221 {', '.join(whole or rails)}"

    def watts(self) -> Optional[float]:
        try:
            # millivolts times milliamperes (Linux kernel, Documentation/hwmon/ina3221)
            return sum(int(v.read_text()) * int(a.read_text()) for v, a in self._rails) / 1e6
        except (OSError, ValueError):
            return None


class Pmic(Sensor):
    """A Raspberry Pi 5's power controller: the sum over its rails, without what USB and the 5 V pins take."""

    name = "Raspberry Pi 5 PMIC, sum of rails"
    period = 0.25  # a program is started for each reading

    def watts(self) -> Optional[float]:
        try:
            done = subprocess.run(
                ["vcgencmd", "pmic_read_adc"], capture_output=True, text=True, timeout=_PMIC_SECONDS, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return pmic_watts(done.stdout)


def pmic_watts(text: str) -> Optional[float]:
    """Sum of volts times amperes of the rails in what ``vcgencmd pmic_read_adc`` prints; None where none is paired."""
    found: dict[str, dict[str, float]] = {}
    for rail, unit, value in _PMIC_LINE.findall(text):
        found.setdefault(rail, {})[unit] = float(value)
    pairs = [r["A"] * r["V"] for r in found.values() if len(r) == 2]
    return sum(pairs) if pairs else None


class Rapl(Sensor):
    """A PC's package counter: power is its difference over time."""

    def __init__(self, zones: list[Path]) -> None:
        self._zones = zones
        self._wrap = sum(int((z / "max_energy_range_uj").read_text()) for z in zones)
        self._before: Optional[tuple[float, int]] = None
        self.name = f"RAPL, {len(zones)} processor package{'s' if len(zones) > 1 else ''}"

    def watts(self) -> Optional[float]:
        import time

        try:
            now, counted = time.monotonic(), sum(int((z / "energy_uj").read_text()) for z in self._zones)
        except (OSError, ValueError):
            return None
        before, self._before = self._before, (now, counted)
        if before is None or now <= before[0]:
            return None
        return ((counted - before[1]) % self._wrap) / 1e6 / (now - before[0])


def sensor(root: Path = Path("/")) -> Optional[Sensor]:
    """The board's sensor, or None: no such part, or the user may not read it (RAPL needs root on most systems)."""
    rails: dict[str, tuple[Path, Path]] = {}
    for chip in sorted(root.glob("sys/class/hwmon/hwmon*")):
        try:
            if (chip / "name").read_text().strip() != "ina3221":
                continue
            for label in sorted(chip.glob("in[123]_label")):
                channel = label.name[2]
                pair = (chip / f"in{channel}_input", chip / f"curr{channel}_input")
                if all(p.is_file() for p in pair):
                    rails[label.read_text().strip()] = pair
        except OSError:
            continue
    if rails:
        return Ina3221(rails)
    if shutil.which("vcgencmd"):
        pmic = Pmic()
        if pmic.watts() is not None:
            return pmic
    zones = []
    for zone in sorted(root.glob("sys/class/powercap/intel-rapl:[0-9]*")):
        try:
            if zone.name.count(":") == 1 and (zone / "name").read_text().startswith("package"):
                int((zone / "energy_uj").read_text())
                int((zone / "max_energy_range_uj").read_text())
                zones.append(zone)
        except (OSError, ValueError):
            continue
    return Rapl(zones) if zones else None


class Meter:
    """Mean power over a ``with`` block, read by a thread of its own.

    Attributes:
        watts: Mean of the readings, None where there was none.
    """

    def __init__(self, source: Sensor) -> None:
        self._source = source
        self._readings: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.watts: Optional[float] = None

    def _read(self) -> None:
        while not self._over.is_set():
            value = self._source.watts()
            if value is not None:
                self._readings.append(value)
            self._over.wait(self._source.period)

    def __enter__(self) -> Meter:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End; `watts` is there."""
        self._over.set()
        self._thread.join()
        if self._readings:
            self.watts = sum(self._readings) / len(self._readings)
