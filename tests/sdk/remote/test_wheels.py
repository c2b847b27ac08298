"""What a board needs and whether its wheels fit, against the file names that the index had when the table was made."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from edgekit.remote.facts import PYTHONS, Board, Python
from edgekit.remote.wheelhouse import gather
from edgekit.remote.wheels import needs, platform_tags, table
from edgekit_runtime.errors import MissingRequirement, UsageError
from edgekit_runtime.manifest import SpecificationData

from ...runtime.conftest import double_manifest

ROOT = Path(__file__).parents[3]
NAMES = (ROOT / "tests/golden/wheel_names.txt").read_text().split()
MANIFEST = double_manifest()[0]
TFLITE = MANIFEST.replace(variants=MANIFEST.variants[:1])
NATIVE = MANIFEST.replace(
    variants=(
        replace(MANIFEST.variants[0], name="c-fp64", format="c", backends=("plain",), builds={"x86_64": "a.so"}),
    ),
    chosen="c-fp64",
)
ONNX = MANIFEST.replace(variants=MANIFEST.variants[1:], chosen="onnx-fp32")


def python(version: str, **changes) -> Python:
    plain = Python(version, f"{version}.2", "cpython", 64, False, f"/usr/bin/python{version}", True, None, None, False)
    return replace(plain, **changes)


def board(*pythons: Python, machine: str = "aarch64", glibc: str = "2.36") -> Board:
    return Board("/home/pi", "pi", machine, "6.6", glibc, "", "", "", 8 << 30, 4 << 30, "", pythons)


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    """The index's wheels by name; inside is only what pip reads before it downloads nothing more."""
    folder = tmp_path_factory.mktemp("index")
    for name in NAMES:
        project, version, _, tags = parse_wheel_filename(name)
        info = f"{name.split('-')[0]}-{version}.dist-info"
        with zipfile.ZipFile(folder / name, "w") as wheel:
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n")
            lines = "".join(f"Tag: {tag}\n" for tag in tags)
            wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: false\n{lines}")
            wheel.writestr(f"{info}/RECORD", "")
    return folder


def names(house) -> set[str]:
    return {w.path.name for w in house.wheels if not w.path.name.startswith("edgekit_runtime")}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("version", PYTHONS)
@pytest.mark.parametrize("machine", ["aarch64", "x86_64"])
def test_pip_finds_every_wheel_of_a_64_bit_board(index, machine, version):
    found = needs(board(python(version), machine=machine, glibc="2.35"), MANIFEST)
    house = gather(found, index)
    tag = f"cp{version.replace('.', '')}"
    assert found.interpreters == ("litert", "onnx")
    binary = {n for n in names(house) if n.startswith(("ai_edge", "onnxruntime", "numpy"))}
    assert len(binary) == 3 and all(f"-{tag}-" in n and machine in n for n in binary)
    assert house.pip.path.name.startswith("pip-")


def test_a_32_bit_board_takes_tflite_runtime_and_the_systems_numpy(index):
    found = needs(board(python("3.11", bits=32, numpy="1.24.2"), machine="aarch64"), TFLITE)  # 64-bit kernel
    assert (found.machine, found.interpreters, found.system_site) == ("armv7l", ("tflite",), True)
    assert names(gather(found, index)) == {"tflite_runtime-2.14.0-cp311-cp311-manylinux_2_34_armv7l.whl"}
    assert "numpy 1.24.2 is the system's" in found.notes


@pytest.mark.parametrize("numpy", [None, "2.2.4"])
def test_a_32_bit_board_without_a_numpy_that_fits_is_told_what_to_install(index, numpy):
    found = needs(board(python("3.11", bits=32, numpy=numpy), machine="armv7l"), TFLITE)
    assert "numpy<2" in found.pins and not found.system_site
    assert any("python3-numpy" in note for note in found.notes)
    with pytest.raises(MissingRequirement, match=r"armv7l, Python 3.11 are not in .*pip download"):
        gather(found, index)


def test_tflite_runtime_alone_gets_the_numpy_it_works_with(index):
    found = needs(board(python("3.11")), TFLITE, backend="tflite")
    assert {n.split("-")[0] + n.split("-")[1] for n in names(gather(found, index))} == {
        "tflite_runtime2.14.0",
        "numpy1.26.4",
    }


def test_a_jetson_takes_the_python_that_tensorrt_is_in():
    theirs, own = python("3.10", tensorrt="10.3.0", numpy="1.21.5"), python("3.13")
    found = needs(board(own, theirs), ONNX)
    assert found.python is theirs and found.system_site and "onnxruntime==1.23.2" in found.pins
    assert any(pin.startswith("numpy==") for pin in found.pins)  # the system's is too old
    assert needs(board(own, theirs), ONNX, python="3.13").python is own


def test_picamera2_keeps_the_numpy_it_was_built_with():
    found = needs(board(python("3.11", picamera2=True, numpy="1.24.2")), TFLITE)
    assert found.system_site and not any(pin.startswith("numpy") for pin in found.pins)


@pytest.mark.parametrize(
    ("there", "manifest", "said"),
    [
        (board(), TFLITE, "no Python from 3.9 to 3.13"),
        (board(python("3.8"), python("3.14")), TFLITE, r"it has 3.8.2, 3.14.2"),
        (board(python("3.11", venv=False)), TFLITE, "3.11.2 without venv"),
        (board(python("3.13", free_threaded=True)), TFLITE, "can hold edgekit-runtime"),
        (board(python("3.11", implementation="pypy")), TFLITE, "can hold edgekit-runtime"),
        (board(python("3.13", bits=32), machine="armv7l"), TFLITE, "tflite has wheels for Python 3.9, 3.11 on armv7l"),
        (board(python("3.11", bits=32), machine="armv7l"), ONNX, "onnx has no wheels for armv7l"),
        (board(python("3.9", bits=32), machine="armv7l", glibc="2.31"), TFLITE, "needs glibc 2.34, the board has 2.31"),
        (board(python("3.11"), machine="armv6l"), TFLITE, "no wheels for armv6l"),
        (board(python("3.11"), machine="riscv64"), TFLITE, "no wheels for riscv64"),
        (board(python("3.11")), NATIVE, "c-fp64 has builds for x86_64 alone"),
        (board(python("3.11"), glibc=""), TFLITE, "another C library"),
    ],
)
def test_a_board_that_cannot_run_it_is_told_why(there, manifest, said):
    with pytest.raises(MissingRequirement, match=said) as told:
        needs(there, manifest)
    assert told.value.exit_code == 4 and "\n" not in str(told.value)


def test_settings_that_make_no_sense_are_refused():
    for wrong in ({"python": "2.7"}, {"backend": "plain"}):
        with pytest.raises(UsageError):
            needs(board(python("3.11")), TFLITE, **wrong)


def test_pictures_bring_a_decoder_or_say_where_it_comes_from():
    pictures = TFLITE.replace(specification=SpecificationData("image"))
    assert any(pin.startswith("opencv") for pin in needs(board(python("3.11")), pictures).pins)
    small = needs(board(python("3.11", bits=32, numpy="1.24.2"), machine="armv7l"), pictures)
    assert not any(pin.startswith("opencv") for pin in small.pins) and any("python3-pil" in n for n in small.notes)


def test_platform_tags_are_those_of_the_c_library():
    assert platform_tags("aarch64", "2.18") == (
        "manylinux_2_18_aarch64",
        "manylinux_2_17_aarch64",
        "manylinux2014_aarch64",
        "linux_aarch64",
    )
    old = platform_tags("x86_64", "2.35")
    assert {"manylinux1_x86_64", "manylinux2010_x86_64", "manylinux_2_35_x86_64"} <= set(old)
    assert "manylinux_2_36_x86_64" not in old


def test_the_wheels_are_those_that_the_device_side_is_tested_with():
    tested: dict[str, list[Requirement]] = {}
    for line in (ROOT / "constraints-device.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            tested.setdefault(canonicalize_name(Requirement(line).name), []).append(Requirement(line))
    for interpreter in ("litert", "tflite", "onnx", "camera"):
        for row in table()[interpreter]:
            for version in row["python"]:
                for pin in map(Requirement, row["pins"]):
                    held = [
                        r
                        for r in tested.get(canonicalize_name(pin.name), [])
                        if r.marker is None or r.marker.evaluate({"python_version": version})
                    ]
                    exact = str(pin.specifier).removeprefix("==")
                    assert all(r.specifier.contains(exact) for r in held), f"{pin} for Python {version}"


def test_a_wheelhouse_is_kept_and_one_that_lacks_a_wheel_names_the_command(index, tmp_path, monkeypatch):
    found = needs(board(python("3.11")), TFLITE)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    first = gather(found)
    monkeypatch.delenv("PIP_FIND_LINKS")  # the second time it comes from the cache
    assert gather(found).key == first.key == gather(found, index).key
    other = needs(board(python("3.12")), TFLITE)
    with pytest.raises(MissingRequirement, match=r"where there is internet, run pip download .* --wheelhouse"):
        gather(other)
    (tmp_path / "thin").mkdir()
    with pytest.raises(MissingRequirement, match="not in .*thin"):
        gather(other, tmp_path / "thin")
    with pytest.raises(MissingRequirement, match="not a folder"):
        gather(other, tmp_path / "none")
    assert not list((tmp_path / "cache").rglob(".part-*"))


def test_equal_code_gives_an_equal_wheel_that_has_every_module(tmp_path):
    from edgekit.remote.runtime_wheel import runtime_wheel

    name, content = runtime_wheel()
    assert runtime_wheel() == (name, content)
    (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / name) as wheel:
        members = wheel.namelist()
        record = wheel.read(next(m for m in members if m.endswith("RECORD"))).decode()
    assert "edgekit_runtime/cli.py" in members and "edgekit_runtime/backends/probes/double.tflite" in members
    assert not any("__pycache__" in m for m in members)
    assert len(record.splitlines()) == len(members)
