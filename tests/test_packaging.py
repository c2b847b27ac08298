"""What an installation promises: small, light to start, the same next month, and described truly."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "tensorflow", "keras", "onnx", "onnxruntime", "sklearn", "scipy", "cv2", "ai_edge_litert", "jax")


def project(folder: str) -> dict:
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]


def pins(name: str) -> dict[str, list[Requirement]]:
    """Distribution to its pins, one per Python it differs for."""
    found: dict[str, list[Requirement]] = {}
    for line in (ROOT / name).read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def direct(folder: str) -> list[Requirement]:
    """Everything the distribution asks for, with every extra, but for our own two."""
    facts = project(folder)
    texts = [*facts["dependencies"], *(r for extra in facts["optional-dependencies"].values() for r in extra)]
    return [r for r in map(Requirement, texts) if not r.name.startswith("edgekit")]


def readme_command(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n```\n(.*?)\n```\n<!-- end -->", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found, f"README.md has no block {name!r}"
    return found.group(1)


def test_both_distributions_carry_one_version_and_one_licence():
    import edgekit
    import edgekit_runtime

    versions = {
        project(".")["version"],
        project("devices")["version"],
        edgekit.__version__,
        edgekit_runtime.__version__,
    }
    assert len(versions) == 1
    assert f"edgekit-runtime=={versions.pop()}" in project(".")["dependencies"]
    assert (ROOT / "LICENSE").read_bytes() == (ROOT / "devices/LICENSE").read_bytes()
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_the_changelog_tells_of_this_version():
    assert f"## {project('.')['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_device_side_asks_for_numpy_alone():
    assert [Requirement(r).name for r in project("devices")["dependencies"]] == ["numpy"]


def test_every_workstation_dependency_is_pinned_within_its_bounds():
    pinned = pins("constraints.txt")
    assert all(len(p) == 1 and str(p[0].specifier).startswith("==") for p in pinned.values())
    for requirement in direct("."):
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"{requirement.name} is missing from constraints.txt"
        version = str(pinned[name][0].specifier).removeprefix("==")
        assert requirement.specifier.contains(version), f"constraints.txt has {name} {version}, asked: {requirement}"


@pytest.mark.parametrize("python", ["3.9", "3.11", "3.13"])
def test_every_device_dependency_is_pinned_for_each_python(python):
    pinned = pins("constraints-device.txt")
    machine = {"python_version": python, "python_full_version": f"{python}.0"}
    for requirement in direct("devices"):
        name = canonicalize_name(requirement.name)
        held = [p for p in pinned.get(name, []) if p.marker is None or p.marker.evaluate(machine)]
        assert len(held) == 1, f"{name} on Python {python} is pinned {len(held)} times in constraints-device.txt"


def test_the_readme_sets_up_from_python_and_pip_alone():
    for name in ("demo", "test"):
        command = readme_command(name)
        assert "\n" not in command, "one line each"
        assert command.startswith("python3.11 -m venv .venv && "), "a system pip refuses to install"
        assert "-c constraints.txt" in command
    # asked for one without the other, pip would look for edgekit-runtime elsewhere
    assert "-e devices -e " in readme_command("demo")


def test_ci_calls_the_readmes_test_command_and_requires_everything(tmp_path):
    """Run a copy of .ci/run with stand-ins for what it calls."""
    for name in (".ci/run", "README.md"):
        target = tmp_path / "checkout" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text((ROOT / name).read_text())
    (tmp_path / "checkout/.ci/run").chmod(0o755)
    (tmp_path / "checkout/apt.txt").write_text("# tools\nsometool\n")
    tools = tmp_path / "bin"
    tools.mkdir()
    note = 'echo "$(basename "$0") $*" >>"$NOTES"\n'
    stand_ins = {
        "dpkg": "exit 1\n",
        "apt-get": note,
        "python3.11": note + 'mkdir -p .venv/bin; cp "$0" .venv/bin/python; cp "$0" .venv/bin/tox\n'
        'case "$0" in *tox) env | grep -E "^(EDGEKIT|TOX_SKIP)" >>"$NOTES";; esac\n',
    }
    for name, body in stand_ins.items():
        (tools / name).write_text("#!/bin/sh\n" + body)
        (tools / name).chmod(0o755)
    notes = tmp_path / "notes"
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "NOTES": str(notes), "HOME": str(tmp_path)}
    done = subprocess.run(
        [str(tmp_path / "checkout/.ci/run")], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"+ {readme_command('test')}\n" in done.stdout
    called = notes.read_text().splitlines()
    order = ["apt-get update", "apt-get install", "python3.11 -m venv .venv", "python -m pip install", "tox run"]
    places = [next(i for i, line in enumerate(called) if line.startswith(start)) for start in order]
    assert places == sorted(places)
    assert "sometool" in called[places[1]]
    assert "EDGEKIT_REQUIRE=all" in called and "TOX_SKIP_MISSING_INTERPRETERS=false" in called
    assert f"EDGEKIT_ASSETS={tmp_path}/shared/assets" in called


def test_the_device_wheel_brings_the_probe_models_and_its_types_and_nothing_else(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), "."],
        cwd=ROOT / "devices",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("edgekit_runtime-*.whl")
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
    assert {"edgekit_runtime/py.typed", "edgekit_runtime/backends/probes/double.onnx"} <= set(names)
    assert "edgekit_runtime/install/templates/system.service" in names
    assert "edgekit_runtime/backends/probes/double.tflite" in names
    assert {n.split("/")[0].split("-")[0] for n in names} == {"edgekit_runtime"}
    assert any(n.endswith("licenses/LICENSE") for n in names)
    assert wheel.stat().st_size < 1_000_000, "a device's package is small"


@pytest.mark.parametrize(
    "command",
    [
        "edgekit --help",
        "edgekit export --help",
        "edgekit targets",
        "edgekit targets --matrix",
        "edgekit_runtime --help",
    ],
)
def test_help_loads_nothing_heavy(command):
    """A command line that imports a framework to say how it is used takes half a minute to do it."""
    module, *words = command.split()
    program = f"""
import json, runpy, sys
sys.argv = {[module, *words]!r}
try:
    runpy.run_module("{module}", run_name="__main__")
except SystemExit as stop:
    code = stop.code or 0
print("\\n" + json.dumps([code, sorted(sys.modules)]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    code, loaded = json.loads(done.stdout.splitlines()[-1])
    assert code == 0 and ("usage" if "--help" in words else "tflite") in done.stdout.lower()
    too_much = {*HEAVY, "numpy"} if "--help" in words else {*HEAVY}
    assert not {name.split(".")[0] for name in loaded} & too_much


def test_what_contributors_are_told_exists():
    """Files and registries that CONTRIBUTING names."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = {p for p in re.findall(r"`((?:sdk|converters|devices|tests|docs)/[\w/.]+?)`", text) if "NAME" not in p}
    assert len(paths) > 8
    assert not [p for p in paths if not (ROOT / p).exists()]
    registries = re.findall(r"`(_?[A-Z]+)` in `([\w/.]+)`", text)
    assert len(registries) >= 6
    for table, path in registries:
        assert re.search(rf"^{table}\b.*= [{{(]", (ROOT / path).read_text(), re.MULTILINE), f"{table} is not in {path}"


def test_every_direct_dependency_is_explained():
    text = (ROOT / "docs/dependencies.md").read_text()
    named = {canonicalize_name(word.strip(".-")) for word in re.findall(r"[A-Za-z][\w.-]+", text)}
    asked = {canonicalize_name(r.name) for folder in (".", "devices") for r in direct(folder)}
    assert not asked - named


def test_no_tracked_file_knows_the_machine_it_was_written_on():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    home = re.compile(rb"/(?:root|home/(?!pi/)\w+|Users/\w+|work|mnt|opt/(?:pypi|wheels))/")
    guilty = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and home.search(path.read_bytes()) and path != Path(__file__):
            guilty.append(name)
    assert not guilty
