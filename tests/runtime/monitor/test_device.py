"""Health from made-up boards: a Pi, a Jetson, a machine that has nothing."""

import json

from edgekit_runtime.monitor.device import Device

COMMON = {
    "proc/uptime": "1234.56 4000.00\n",
    "proc/loadavg": "0.52 0.40 0.30 1/200 999\n",
    "proc/meminfo": "MemTotal:        3884360 kB\nMemFree:  100 kB\nMemAvailable:    1942180 kB\n",
    "proc/stat": "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 1 1 1\n",
}
PI = {
    **COMMON,
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "61350\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "50004\n",
}
JETSON = {
    **COMMON,
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48000\n",
    "sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
    "sys/class/thermal/thermal_zone1/temp": "\n",
    "sys/class/hwmon/hwmon3/oc1_event_cnt": "0\n",
    "sys/class/hwmon/hwmon3/oc3_event_cnt": "7\n",
    "sys/devices/platform/gpu.0/load": "421\n",
}


def made(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def device(root, files, vcgencmd=None):
    return Device(made(root, files), disk=root, vcgencmd=lambda: vcgencmd)


def test_a_pi_tells_its_temperature_and_throttling(tmp_path):
    health = device(tmp_path, PI).read()
    assert health.board == "Raspberry Pi 5 Model B Rev 1.0"
    assert health.temperatures == {"cpu-thermal": 61.35}
    assert {f for f, up in health.flags.items() if up} == {
        "throttled",
        "under_voltage_since_boot",
        "throttled_since_boot",
    }
    assert (health.uptime, health.load) == (1234.56, 0.52)
    assert (health.memory_total, health.memory_available) == (3884360 * 1024, 1942180 * 1024)
    assert 0 < health.disk_free <= health.disk_total
    assert set(health.absent) == {"cpu", "gpu"}
    assert "two readings" in health.absent["cpu"]


def test_vcgencmd_is_asked_where_sysfs_has_no_flags(tmp_path):
    files = {n: t for n, t in PI.items() if "throttled" not in n}
    health = device(tmp_path, files, "throttled=0x1\n").read()
    assert [f for f, up in health.flags.items() if up] == ["under_voltage"]


def test_a_jetson_tells_its_gpu_and_over_currents_and_skips_zones_without_power(tmp_path):
    health = device(tmp_path, JETSON).read()
    assert health.temperatures == {"cpu-thermal": 48.0}
    assert health.flags == {"oc1_throttled_since_boot": False, "oc3_throttled_since_boot": True}
    assert health.gpu == 0.421


def test_processor_time_is_a_share_since_the_last_reading(tmp_path):
    reader = device(tmp_path, COMMON)
    assert reader.read().cpu is None
    made(tmp_path, {"proc/stat": "cpu  175 0 100 825 0 0 0 0 0 0\n"})
    assert reader.read().cpu == 0.75


def test_what_is_not_there_or_not_readable_is_named_and_nothing_is_guessed(tmp_path):
    garbage = {"proc/stat": "", "proc/meminfo": "MemTotal: lots\n", "proc/uptime": "soon\n"}
    health = Device(
        made(tmp_path, garbage), disk=tmp_path / "none", vcgencmd=lambda: "VCHI initialization failed"
    ).read()
    assert set(health.absent) == {"board", "uptime", "cpu", "load", "memory", "disk", "temperatures", "flags", "gpu"}
    assert list(health.to_plain()) == ["absent"]
    assert "thermal_zone*" in health.absent["temperatures"]


def test_health_is_plain_data(tmp_path):
    plain = json.loads(json.dumps(device(tmp_path, JETSON).read().to_plain()))
    assert plain["gpu"] == 0.421
    assert "cpu" not in plain


def test_this_machine_can_be_read():
    reader = Device()
    reader.read()
    health = reader.read()
    assert health.uptime is None or health.uptime > 0
    assert health.memory_total is None or health.memory_total > health.memory_available > 0
