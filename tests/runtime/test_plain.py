"""Compiled code out of a bundle: loaded for this machine alone, and only where the user trusts it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from edgekit_runtime import Bundle, Runtime
from edgekit_runtime.backends import backend
from edgekit_runtime.bundle import write_bundle
from edgekit_runtime.cli import main
from edgekit_runtime.errors import BackendError, BundleError, MissingRequirement, UsageError
from edgekit_runtime.manifest import Binding, Expectation, TensorInfo, Variant
from edgekit_runtime.native import machine, member_to_run
from edgekit_runtime.samples import array_bytes
from edgekit_runtime.selftest import selftest

from .conftest import X, double_manifest

ROWS = {
    "abi": 1,
    "input": {"name": "x", "dtype": "float64", "width": 4},
    "answers": [
        {"name": "double", "dtype": "float64", "width": 4, "parts": [["y", 3], ["z", 1]]},
        {"name": "sign", "dtype": "int32", "width": 1, "parts": []},
    ],
}
TEXTS = {
    "abi": 1,
    "input": {"name": "text", "dtype": "string", "width": 0},
    "answers": [{"name": "length", "dtype": "float64", "width": 1, "parts": [["length", 1]]}],
}
CODE = """
#include <stddef.h>
#include <string.h>
const char edgekit_description[] = %s;
int edgekit_run(int answer, const void *rows, size_t count, void *out)
{
    const double *x = (const double *)rows;
    const char *const *text = (const char *const *)rows;
    size_t i;
    (void)x; (void)text; (void)i; (void)strlen;
    if (%d) { for (i = 0; i < count; i++) ((double *)out)[i] = (double)strlen(text[i]); return answer; }
    if (answer == 0) for (i = 0; i < 4 * count; i++) ((double *)out)[i] = 2 * x[i];
    if (answer == 1) for (i = 0; i < count; i++) ((int *)out)[i] = x[4 * i] > 0 ? 1 : -1;
    return answer > 1;
}
"""

pytestmark = pytest.mark.tool("cc")


def library(folder, description, code=CODE) -> bytes:
    text = json.dumps(json.dumps(description))
    (folder / "a.c").write_text(code % (text, description["input"]["dtype"] == "string") if "%d" in code else code)
    command = ["cc", "-O1", "-shared", "-fPIC", "-o", str(folder / "a.so"), str(folder / "a.c")]
    subprocess.run(command, check=True)
    return (folder / "a.so").read_bytes()


def bundle_of(folder, content: bytes, here: str) -> str:
    plain, members = double_manifest()
    ends = {"inputs": (Binding("x", "x", (-1, 4), "float64"),), "outputs": (Binding("y", "y", (-1, 3), "float64"),)}
    variant = Variant("c-fp64", "c", "fp64", "models/c/model.c", backends=("plain",), **ends,
                      builds={here: "models/c/model.so"}, sizes={here: 100})  # fmt: skip
    expected = Expectation("c-fp64", "plain", "1", here, {"y": "golden/expected.npy"})
    manifest = plain.replace(
        variants=(variant,),
        chosen="c-fp64",
        inputs=(TensorInfo("x", (-1, 4), "float64"),),
        outputs=(TensorInfo("y", (-1, 3), "float64"),),
        golden=replace(plain.golden, expected=(expected,)),
    )
    members = {n: c for n, c in members.items() if n.startswith("golden/")}
    members["golden/expected.npy"] = array_bytes(2.0 * X[:, :3].astype(np.float64))
    members |= {"models/c/model.c": b"/* source */\n", "models/c/model.so": content}
    write_bundle(folder / "a.edgekit", manifest, members)
    return str(folder / "a.edgekit")


def test_a_build_answers_its_main_method_in_parts_and_others_by_name(tmp_path):
    with_parts = backend("plain").open(library(tmp_path, ROWS))
    x = np.arange(-4.0, 8.0).reshape(3, 4)
    y, z = with_parts.run([x])
    assert y.tolist() == (2 * x[:, :3]).tolist() and z.tolist() == (2 * x[:, 3:]).tolist()
    assert with_parts.answer("sign", x).tolist() == [[-1], [-1], [1]]
    assert with_parts.run([np.asfortranarray(x)])[0].tolist() == y.tolist()
    assert [o.shape for o in with_parts.run([x[:0]])] == [(0, 3), (0, 1)]
    with pytest.raises(BackendError, match="no answer 'size'"):
        with_parts.answer("size", x)
    for wrong in (x.astype(np.float32), x[:, :3], x[0]):
        with pytest.raises(BackendError, match="takes float64 rows of 4"):
            with_parts.run([wrong])
    with_parts.close()
    with_parts.close()
    with pytest.raises(BackendError, match="closed"):
        with_parts.run([x])


def test_texts_reach_it_as_utf8_up_to_a_zero_byte(tmp_path):
    session = backend("plain").open(library(tmp_path, TEXTS))
    texts = np.array(["", "abc", "é", "a\0b", "\ud800"], object)
    assert session.run([texts])[0][:, 0].tolist() == [0, 3, 2, 1, 1]


def test_two_builds_open_at_once_are_two(tmp_path):
    """The loader knows libraries by their path: a path that is used again must not give the earlier one."""
    first = backend("plain").open(library(tmp_path, ROWS))
    thrice = CODE.replace("2 * x[i]", "3 * x[i]")
    second = backend("plain").open(library(tmp_path, ROWS, thrice))
    x = np.ones((1, 4))
    assert (first.run([x])[0][0, 0], second.run([x])[0][0, 0]) == (2, 3)
    first.close()
    third = backend("plain").open(library(tmp_path, ROWS))
    assert (second.run([x])[0][0, 0], third.run([x])[0][0, 0]) == (3, 2)


@pytest.mark.parametrize(
    "description",
    [
        {**ROWS, "abi": 2},
        {**ROWS, "answers": []},
        {**ROWS, "input": {"name": "x", "dtype": "int8", "width": 4}},
        {**ROWS, "answers": [{"name": "a", "dtype": "float64", "width": 4, "parts": [["y", 3]]}]},
        {**ROWS, "answers": [{"name": "a", "dtype": "float64", "width": -1, "parts": [["y", -1]]}]},
    ],
)
def test_a_library_that_describes_itself_wrongly_is_refused(tmp_path, description):
    with pytest.raises(BackendError, match="does not say what it takes and gives"):
        backend("plain").open(library(tmp_path, description))


def test_what_is_no_library_for_this_machine_is_refused(tmp_path):
    good = library(tmp_path, ROWS)
    for content, what in ((b"", "not a whole"), (b"hello", "not a whole"), (good[:2000], "not a whole")):
        with pytest.raises(BackendError, match=what):
            backend("plain").open(content)
    with pytest.raises(BackendError, match="does not say what"):
        backend("plain").open(library(tmp_path, ROWS, "int nothing(void) { return 0; }"))
    with pytest.raises(UsageError, match="too few"):
        backend("plain").open(good, threads=0)


def test_native_code_runs_only_where_it_is_trusted(tmp_path, capsys):
    path = bundle_of(tmp_path, library(tmp_path, ROWS), machine())
    with pytest.raises(UsageError, match="native code.*--trust"):
        Runtime.open(path)
    with Runtime.open(path, trust=True) as model:
        assert model.tensors(X[0])["y"].tolist() == [2, 4, 6]
        assert model.predict_batch(list(X))[1]["y"].tolist() == [1, -2, 0]
    with Bundle.open(path) as bundle:
        assert selftest(bundle, trust=True).passed
    for arguments, code in ((["selftest", path], 2), (["selftest", "--trust", path], 0),
                            (["benchmark", "--seconds=0.01", "--trust", path], 0)):  # fmt: skip
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == code
    assert "--trust" in capsys.readouterr().err


def test_a_machine_without_a_build_is_told_which_there_are(tmp_path):
    path = bundle_of(tmp_path, library(tmp_path, ROWS), "riscv64")
    with pytest.raises(MissingRequirement, match=f"no build for {machine()}, it has riscv64"):
        Runtime.open(path, trust=True)


def test_an_altered_build_is_not_even_looked_at(tmp_path):
    path = bundle_of(tmp_path, library(tmp_path, ROWS), machine())
    raw = bytearray((tmp_path / "a.edgekit").read_bytes())
    raw[raw.index(b"\x7fELF") + 200] ^= 1
    (tmp_path / "a.edgekit").write_bytes(raw)
    with pytest.raises(BundleError, match="altered"):
        Runtime.open(path, trust=True)


def test_code_without_a_list_of_builds_needs_trust_all_the_same(tmp_path):
    """A bundle that names a library as the variant's own file must not slip through."""
    path = bundle_of(tmp_path, library(tmp_path, ROWS), machine())
    with Bundle.open(path) as bundle:
        variant = replace(bundle.manifest.variant(), file="models/c/model.so", builds={})
        manifest = bundle.manifest.replace(variants=(variant,), files={})
        members = {name: bundle.read(name) for name in bundle.manifest.files}
    write_bundle(tmp_path / "b.edgekit", manifest, members)
    with pytest.raises(UsageError, match="native code.*--trust"):
        Runtime.open(tmp_path / "b.edgekit")
    with Runtime.open(tmp_path / "b.edgekit", trust=True) as model:
        assert model.tensors(X[0])["y"].tolist() == [2, 4, 6]


def test_variants_for_an_interpreter_need_no_trust():
    manifest, _ = double_manifest()
    assert member_to_run(manifest.variant(), native=False, trust=False) == "models/double.tflite"
