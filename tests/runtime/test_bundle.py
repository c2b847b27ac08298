"""The bundle format: reproducible, atomic, and hostile files are refused."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit_runtime import Bundle
from edgekit_runtime.bundle import ALIGNMENT, write_bundle
from edgekit_runtime.errors import BundleError
from edgekit_runtime.manifest import Manifest

from .conftest import double_manifest

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rewrite(path: Path, target: Path, change) -> Path:
    """A zip file with the same members after `change(list of (ZipInfo, bytes))`."""
    with zipfile.ZipFile(path) as old:
        members = [(info.filename, old.read(info)) for info in old.infolist()]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        change(new, members)
    return target


def keep(new, members):
    for name, content in members:
        new.writestr(name, content)


def test_same_contents_give_the_same_file(tmp_path):
    manifest, members = double_manifest()
    write_bundle(tmp_path / "a.edgekit", manifest, members)
    write_bundle(tmp_path / "b.edgekit", manifest, dict(reversed(members.items())))
    assert (tmp_path / "a.edgekit").read_bytes() == (tmp_path / "b.edgekit").read_bytes()


def test_members_are_aligned_and_come_back(double):
    _, members = double_manifest()
    with Bundle.open(double) as bundle:
        for name, content in members.items():
            assert bundle.read(name) == content
            assert bundle._members[name][0] % ALIGNMENT == 0


def test_an_existing_file_is_not_overwritten(double):
    before = double.read_bytes()
    manifest, members = double_manifest()
    with pytest.raises(BundleError, match="exists already"):
        write_bundle(double, manifest, members)
    assert double.read_bytes() == before


def test_a_failed_write_leaves_nothing(tmp_path):
    manifest, members = double_manifest()
    members["models/double.onnx"] = tmp_path / "not-there"
    with pytest.raises((BundleError, OSError)):
        write_bundle(tmp_path / "out" / "a.edgekit", manifest, members)
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


@quick
@given(st.data())
def test_truncated_anywhere_is_refused(double, tmp_path, data):
    content = double.read_bytes()
    cut = data.draw(st.integers(0, len(content) - 1))
    short = tmp_path / "short.edgekit"
    short.write_bytes(content[:cut])
    with pytest.raises(BundleError):
        Bundle.open(short)


@quick
@given(st.data())
def test_a_flipped_bit_is_noticed_or_harmless(double, tmp_path, data):
    content = bytearray(double.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    bent = tmp_path / "bent.edgekit"
    bent.write_bytes(content)
    with Bundle.open(double) as good:
        expected = {name: good.read(name) for name in good.manifest.files}
    try:
        with Bundle.open(bent) as bundle:
            got = {name: bundle.read(name) for name in bundle.manifest.files}
    except BundleError:
        return
    assert {n: c for n, c in got.items() if n in expected} == {n: expected[n] for n in got if n in expected}


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/passwd", "a/../../b", "a\\b", ".hidden", "a//b", "ünicode", "x" * 300]
)
def test_names_that_leave_the_folder_are_refused(double, tmp_path, name):
    bad = rewrite(double, tmp_path / "bad.edgekit", lambda z, m: (keep(z, m), z.writestr(name, b"x")))
    with pytest.raises(BundleError, match="not allowed"):
        Bundle.open(bad)


def test_compressed_members_are_refused(double, tmp_path):
    def bomb(new, members):
        keep(new, members)
        new.writestr("models/bomb", b"\0" * 10_000_000, compress_type=zipfile.ZIP_DEFLATED)

    with pytest.raises(BundleError, match="compressed"):
        Bundle.open(rewrite(double, tmp_path / "bomb.edgekit", bomb))


def test_a_member_twice_is_refused(double, tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        bad = rewrite(double, tmp_path / "twice.edgekit", lambda z, m: (keep(z, m), z.writestr(*m[1])))
    with pytest.raises(BundleError, match="twice"):
        Bundle.open(bad)


def test_overlapping_members_are_refused(double, tmp_path):
    content = bytearray(double.read_bytes())
    # point the last central-directory entry at the first local header
    place = content.rfind(b"PK\x01\x02")
    struct.pack_into("<I", content, place + 42, 0)
    bad = tmp_path / "overlap.edgekit"
    bad.write_bytes(content)
    with pytest.raises(BundleError):
        Bundle.open(bad)


def test_an_altered_member_is_refused_before_use(double, tmp_path):
    def alter(new, members):
        keep(new, [(n, c[:-1] + b"!" if n == "models/double.onnx" else c) for n, c in members])

    with Bundle.open(rewrite(double, tmp_path / "altered.edgekit", alter)) as bundle:
        with pytest.raises(BundleError, match=r"double\.onnx.*altered"):
            bundle.view("models/double.onnx")
        with pytest.raises(BundleError, match="altered"):
            bundle.verify()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema="2.0"), "manifest version"),
        (lambda m: m.update(schema=3), "schema version"),
        (lambda m: m.pop("variants"), "variants is missing"),
        (lambda m: m.update(chosen="other"), "no variant 'other'"),
        (lambda m: m["inputs"][0].update(dtype="object"), "dtype"),
        (lambda m: m["inputs"][0].update(shape=[1.5]), "whole number"),
        (lambda m: m["files"].pop("models/double.onnx"), "not among its files|not listed"),
        (lambda m: m["files"].update(extra={"bytes": 1, "sha256": "0"}), "missing from the file"),
    ],
)
def test_a_wrong_manifest_is_one_sentence(double, tmp_path, change, message):
    def alter(new, members):
        for name, content in members:
            if name == "manifest.json":
                plain = json.loads(content)
                change(plain)
                content = json.dumps(plain).encode()
            new.writestr(name, content)

    with pytest.raises(BundleError, match=message) as error:
        Bundle.open(rewrite(double, tmp_path / "wrong.edgekit", alter))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"schema": "1.0", "schema": "1.0"}', '{"schema": NaN}', "[" * 100_000, '{"schema":"1.0"}'],
)
def test_hostile_json_is_refused(text):
    with pytest.raises(BundleError):
        Manifest.from_json(text)


def test_a_newer_minor_version_with_unknown_fields_is_read(double, tmp_path):
    def newer(new, members):
        for name, content in members:
            if name == "manifest.json":
                content = json.dumps({**json.loads(content), "schema": "1.9", "future": {"a": 1}}).encode()
            new.writestr(name, content)

    with Bundle.open(rewrite(double, tmp_path / "newer.edgekit", newer)) as bundle:
        assert bundle.manifest.name == "double"


def test_not_a_bundle_at_all(tmp_path):
    for content in (b"", b"PK", b"hello" * 1000):
        path = tmp_path / "x.edgekit"
        path.write_bytes(content)
        with pytest.raises(BundleError, match="not an edgekit bundle"):
            Bundle.open(path)
    with pytest.raises(BundleError, match="cannot open"):
        Bundle.open(tmp_path / "missing.edgekit")
    with pytest.raises(BundleError):
        Bundle.open(tmp_path)


def test_the_manifest_survives_a_round_trip():
    manifest, _ = double_manifest()
    manifest = manifest.replace(files={m: __import__("edgekit_runtime.manifest", fromlist=["Member"]).Member(1, "0")
                                       for m in double_manifest()[1]})  # fmt: skip
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    """The child may write no file of more than 2,000 bytes, which is how a disk that fills up looks to it."""
    code = (
        "import resource, signal, sys\n"
        "from tests.runtime.conftest import double_manifest\n"
        "from edgekit_runtime.bundle import write_bundle\n"
        "from edgekit_runtime.errors import BundleError\n"
        "manifest, members = double_manifest()\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "members['models/double.onnx'] = bytes(100_000)\n"
        "try:\n    write_bundle(sys.argv[1], manifest, members)\n"
        "except BundleError as error:\n    print(error)\n"
    )
    target = tmp_path / "full.edgekit"
    done = subprocess.run(
        # -B: under the limit byte code would be cut off too, and left for other tests to trip over
        [sys.executable, "-B", "-c", code, str(target)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert "cannot write bundle" in done.stdout and done.stdout.count("\n") == 1, done.stderr
    assert not list(tmp_path.iterdir())


def test_a_bundle_that_fails_its_proof_gets_no_name(tmp_path):
    """Neither a new one nor in the place of an older one that works."""
    manifest, members = double_manifest()
    target = tmp_path / "a.edgekit"

    def refuse(bundle: Bundle) -> None:
        bundle.verify()
        raise BundleError("it does not answer as it should")

    with pytest.raises(BundleError, match="does not answer"):
        write_bundle(target, manifest, members, prove=refuse)
    assert not list(tmp_path.iterdir())
    digest = write_bundle(target, manifest, members, prove=Bundle.verify)
    with pytest.raises(BundleError, match="does not answer"):
        write_bundle(target, manifest.replace(name="other"), members, overwrite=True, prove=refuse)
    with Bundle.open(target) as kept:
        assert kept.digest == digest
