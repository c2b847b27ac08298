"""Timing that settles, threads by measurement, what the board's sensors say, and what they do not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from edgekit_runtime.benchmark import benchmark, in_words, kept_results, sidecar_path, store
from edgekit_runtime.cli import main
from edgekit_runtime.emulation import emulator
from edgekit_runtime.errors import UsageError
from edgekit_runtime.monitor.clocks import Conditions, conditions, throttled
from edgekit_runtime.monitor.energy import Meter, Sensor, pmic_watts, sensor
from edgekit_runtime.timing import LEAST, MOST, fastest, time_calls, warm_up

emulated = pytest.mark.skipif(bool(emulator()), reason="times of an emulated board are refused")


class Machine:
    """A clock that calls move on by as many seconds as they are told to take."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls = 0

    def clock(self) -> float:
        return self.now

    def taking(self, seconds):
        def call(_):
            self.calls += 1
            self.now += seconds(self.calls) if callable(seconds) else seconds

        return call


def test_a_warm_up_ends_once_times_have_settled():
    machine = Machine()
    warm = warm_up(machine.taking(lambda n: 1 / min(n, 60)), [0], 1000.0, machine.clock)
    assert warm.steady and warm.calls == 80 and warm.seconds == pytest.approx(machine.now)


def test_a_warm_up_that_does_not_settle_ends_at_its_limit():
    machine = Machine()
    warm = warm_up(machine.taking(lambda n: 0.1 * n), [0], 60.0, machine.clock)
    assert not warm.steady and 60 <= warm.seconds < 65
    assert warm_up(Machine().taking(0.0), [0], 0.0, Machine().clock).calls == 4


def test_timing_has_at_least_twenty_calls_and_looks_up_once_halfway():
    machine, halves = Machine(), []
    times = time_calls(machine.taking(5.0), [0], 1.0, machine.clock, lambda: halves.append(machine.calls))
    assert times == [5.0] * LEAST and halves == [LEAST // 2]
    machine, halves = Machine(), []
    assert len(time_calls(machine.taking(0.0), [0], 1.0, machine.clock, lambda: halves.append(machine.calls))) == MOST
    assert halves == [MOST // 2]
    machine, halves = Machine(), []
    time_calls(machine.taking(0.01), [0], 10.0, machine.clock, lambda: halves.append(machine.now))
    assert halves == [pytest.approx(5.0, abs=0.02)]


@pytest.mark.parametrize(
    ("times", "best"),
    [({1: 4.0, 2: 2.0, 4: 1.0}, 4), ({1: 1.0, 2: 1.5, 4: 3.0}, 1), ({1: 1.02, 2: 1.0, 4: 1.01}, 1)],
)
def test_the_fastest_number_of_threads_is_taken_and_the_fewer_where_it_is_close(times, best):
    machine = Machine()
    found = fastest({n: machine.taking(t / 1e3) for n, t in times.items()}, [0], 1.0, machine.clock)
    assert next(iter(found)) == best
    assert found == pytest.approx({n: t / 1e3 for n, t in times.items()})


def test_candidates_take_turns_so_that_a_slowing_board_is_fair():
    machine = Machine()  # gets hotter and slower all the time, twice as slow at the end
    slowing = machine.taking(lambda n: 0.001 * (1 + machine.now))
    faster = machine.taking(lambda n: 0.0008 * (1 + machine.now))
    assert next(iter(fastest({1: slowing, 2: faster}, [0], 1.0, machine.clock))) == 2


@emulated
def test_threads_by_measurement_and_several_machines_in_one_sidecar(double, needs_backend):
    needs_backend("litert")
    found = benchmark(double, threads="auto", seconds=0.02)
    assert found.threads in (1, 2, 4)
    assert set(found.threads_ms) <= {"1", "2", "4"} and found.p99_ms >= found.p90_ms >= found.p50_ms > 0
    assert {"before", "during", "after"} == set(found.conditions)
    assert store(double, found) == sidecar_path(double)
    store(double, dataclasses.replace(found, host="pi@board"))
    assert [r["host"] for r in kept_results(double, found.digest)] == ["", "pi@board"]
    assert kept_results(double, "0" * 64) == []
    store(double, dataclasses.replace(found, digest="1" * 64))  # another bundle under this name
    assert len(json.loads(sidecar_path(double).read_text())["results"]) == 1
    words = "\n".join(in_words(found))
    assert f"{found.p50_ms:.3f} ms" in words and "thread" in words


@pytest.mark.parametrize("content", ["", "[]", '{"digest": 3}', '{"digest": "d", "results": [1, null]}', "\0"])
def test_a_sidecar_that_is_not_ours_is_begun_anew(tmp_path, content):
    sidecar_path(tmp_path / "a").write_text(content)
    assert kept_results(tmp_path / "a", "d") == []


@emulated
def test_threads_that_are_no_number_are_bad_usage(double, capsys):
    with pytest.raises(UsageError, match="neither a number nor auto"):
        benchmark(double, threads="all")
    for wrong in ("--threads=all", "--threads=0", "--seconds=-1", "--seconds=nan", "--warm-up=inf"):
        with pytest.raises(SystemExit) as stop:
            main(["benchmark", str(double), wrong])
        assert stop.value.code == 2 and capsys.readouterr().err.count("\n") == 1


def files(root: Path, content: dict[str, str]) -> Path:
    for name, text in content.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_clocks_temperature_and_flags_are_read(tmp_path):
    cpu = "sys/devices/system/cpu/cpu{}/cpufreq/"
    content = {"sys/class/thermal/thermal_zone0/temp": "61350\n", "sys/class/thermal/thermal_zone0/type": "cpu\n"}
    for n, now in ((0, "600000"), (1, "1800000")):
        content[cpu.format(n) + "scaling_cur_freq"] = now
        content[cpu.format(n) + "cpuinfo_max_freq"] = "2400000"
        content[cpu.format(n) + "scaling_governor"] = "ondemand\n"
    content["sys/devices/platform/soc/soc:firmware/get_throttled"] = "4\n"
    found = conditions(files(tmp_path, content))
    assert (found.mhz, found.mhz_max, found.governor, found.celsius) == (1800, 2400, "ondemand", 61.35)
    assert found.flags["throttled"] and not found.flags["under_voltage"]
    nothing = conditions(tmp_path / "none")
    assert nothing.mhz is None and nothing.celsius is None


def test_what_held_the_clock_back_is_named():
    calm = Conditions(mhz=2400, mhz_max=2400, flags={"throttled": False, "throttled_since_boot": False})
    assert throttled({"before": calm, "during": calm, "after": calm}) == ""
    long_ago = dataclasses.replace(calm, flags={"throttled": False, "throttled_since_boot": True})
    assert throttled({"before": long_ago, "during": long_ago, "after": long_ago}) == ""
    assert throttled({"before": calm, "during": calm, "after": long_ago}) == "throttled since boot"
    slow = dataclasses.replace(calm, mhz=1500.0)
    assert throttled({"before": calm, "during": slow, "after": calm}) == "clock at 1500 of 2400 MHz"
    hot = dataclasses.replace(calm, flags={"throttled": True})
    assert throttled({"before": hot, "during": hot, "after": hot}) == "throttled"


def test_a_jetsons_power_is_that_of_its_module(tmp_path):
    chip = "sys/class/hwmon/hwmon3/"
    root = files(tmp_path, {
        chip + "name": "ina3221\n",
        chip + "in1_label": "VDD_IN\n", chip + "in1_input": "5000\n", chip + "curr1_input": "1200\n",
        chip + "in2_label": "VDD_CPU_GPU_CV\n", chip + "in2_input": "5000\n", chip + "curr2_input": "400\n",
        "sys/class/hwmon/hwmon0/name": "cpu_thermal\n",
    })  # fmt: skip
    found = sensor(root)
    assert found is not None and found.watts() == pytest.approx(6.0) and "VDD_IN" in found.name
    (root / chip / "in1_input").write_text("broken")
    assert found.watts() is None


def test_rapl_is_a_difference_that_survives_its_counter_wrapping(tmp_path):
    zone = "sys/class/powercap/intel-rapl:0/"
    root = files(tmp_path, {zone + "name": "package-0\n", zone + "energy_uj": "999000000", zone + "max_energy_range_uj": "1000000000",
                            "sys/class/powercap/intel-rapl:0:0/name": "core\n"})  # fmt: skip
    found = sensor(root)
    assert found is not None and found.watts() is None  # one reading is no difference
    (root / zone / "energy_uj").write_text("1000000")
    watts = found.watts()
    assert watts is not None and watts > 0
    assert sensor(tmp_path / "none") is None


def test_a_pis_rails_are_paired():
    text = (
        "  3V7_WL_SW_A current(0)=0.10000000A\n     VDD_CORE_A current(7)=2.00000000A\n"
        "  3V7_WL_SW_V volt(8)=3.70000000V\n     VDD_CORE_V volt(15)=0.90000000V\n      EXT5V_V volt(24)=5.10000000V\n"
    )
    assert pmic_watts(text) == pytest.approx(0.37 + 1.8)
    assert pmic_watts("nothing of the kind") is None


def test_mean_power_is_that_of_the_block():
    class Two(Sensor):
        name, period = "two", 0.001

        def watts(self):
            return 2.0

    with Meter(Two()) as meter:
        pass
    assert meter.watts == 2.0
