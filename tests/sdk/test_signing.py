"""Signing as people type it: keys, signatures, and what a signature opens."""

from __future__ import annotations

import json
import shutil
import stat

import joblib
import pytest
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

from edgekit.pipeline import export
from edgekit.plan import ExportPlan
from edgekit.signing import make_keys, sign
from edgekit_runtime import Bundle
from edgekit_runtime.errors import BundleError, UsageError
from edgekit_runtime.native import vouched
from edgekit_runtime.signing import pinned_keys

from .conftest import edgekit

pytestmark = pytest.mark.tool("cc")


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    """A bundle with compiled code."""
    folder = tmp_path_factory.mktemp("native")
    joblib.dump(
        DecisionTreeClassifier(max_depth=3, random_state=0).fit(*load_iris(return_X_y=True)), folder / "t.joblib"
    )
    plan = ExportPlan(str(folder / "t.joblib"), "generic-cpu", format="c", trust=True, output=str(folder / "t"))
    return export(plan).bundle


@pytest.fixture
def bundle(native, tmp_path):
    return shutil.copy(native, tmp_path / "t.edgekit")


def test_from_a_key_to_a_verified_bundle(bundle, tmp_path):
    done = edgekit("bundle", "keygen", "release", "--json", cwd=tmp_path)
    assert done.returncode == 0 and stat.S_IMODE((tmp_path / "release.key").stat().st_mode) == 0o600
    assert "PRIVATE" not in done.stdout + done.stderr
    key = json.loads(done.stdout)["key"]
    done = edgekit("bundle", "sign", "t.edgekit", "--key", "release.key", cwd=tmp_path)
    assert done.returncode == 0 and key in done.stdout
    done = edgekit("bundle", "verify", "t.edgekit", "--key", "release.pub", "--json", cwd=tmp_path)
    with Bundle.open(bundle) as opened:
        assert json.loads(done.stdout)["digest"] == opened.digest
    make_keys(tmp_path / "other")
    done = edgekit("bundle", "verify", "t.edgekit", "--key", "other.pub", cwd=tmp_path)
    assert done.returncode == 1 and "not pinned here" in done.stderr and done.stderr.count("\n") == 1
    done = edgekit("bundle", "verify", "t.edgekit", "--key", "other.pub", "--key", "release.pub", cwd=tmp_path)
    assert done.returncode == 0


def test_a_changed_bundle_is_found(bundle, tmp_path):
    make_keys(tmp_path / "k")
    sign(bundle, tmp_path / "k.key")
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1  # in a member
    bundle.write_bytes(content)
    done = edgekit("bundle", "verify", "t.edgekit", "--key", "k.pub", cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    with pytest.raises(BundleError):
        sign(bundle, tmp_path / "k.key")


def test_an_unsigned_bundle_says_what_to_do(bundle, tmp_path):
    make_keys(tmp_path / "k")
    done = edgekit("bundle", "verify", "t.edgekit", "--key", "k.pub", cwd=tmp_path)
    assert done.returncode == 1 and "edgekit bundle sign" in done.stderr


def test_what_cannot_sign_is_said(bundle, tmp_path):
    _, public, _ = make_keys(tmp_path / "k")
    for file, why in ((public, "no private key"), (tmp_path / "gone.key", "No such file")):
        with pytest.raises(UsageError, match=why):
            sign(bundle, file)
    with pytest.raises(UsageError, match="exists already"):
        make_keys(tmp_path / "k")


def test_native_code_runs_where_a_pinned_key_signed_it(bundle, tmp_path):
    row = tmp_path / "row.json"
    row.write_text("[5.1, 3.5, 1.4, 0.2]")
    make_keys(tmp_path / "k")
    make_keys(tmp_path / "other")
    done = edgekit("run", "t.edgekit", "row.json", cwd=tmp_path)
    assert done.returncode == 2 and "say --trust" in done.stderr
    assert not vouched(bundle, pinned_keys([tmp_path / "k.pub"]))
    sign(bundle, tmp_path / "k.key")
    assert vouched(bundle, pinned_keys([tmp_path / "k.pub"])) and not vouched(
        bundle, pinned_keys([tmp_path / "other.pub"])
    )
    done = edgekit("run", "t.edgekit", "row.json", "--key", "k.pub", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
