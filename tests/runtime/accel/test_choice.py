"""The choice at first start: who competes, who wins, and when it is measured again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edgekit_runtime import Bundle, Runtime, choice
from edgekit_runtime.bundle import write_bundle
from edgekit_runtime.choice import choose_here, eligible, known_here, options
from edgekit_runtime.cli import main
from edgekit_runtime.errors import EdgekitError, MissingRequirement, SelfTestError, UsageError

from ..conftest import X, double_manifest

FAST = {"seconds": 0.01}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch, needs_backend):
    needs_backend("litert")
    needs_backend("onnx")
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(choice, "cores", lambda: 2)


def bundle(path, within=(None, True), **changes):
    manifest, members = double_manifest()
    variants = tuple(replace(v, within=w) for v, w in zip(manifest.variants, within))
    write_bundle(path, manifest.replace(variants=variants, **changes), members, overwrite=True)
    return path


class Sinking:
    """A clock by which each timed inference takes as long as a table says, in turn."""

    def __init__(self, monkeypatch, costs):
        self.now, self.costs, self.order = 0.0, costs, []
        run = Runtime.run
        clock = self

        def slow(self, feeds):
            threads = clock.threads[id(self)]
            clock.now += clock.costs[self.backend.name, threads]
            clock.order.append((self.backend.name, threads))
            return run(self, feeds)

        self.threads = {}
        opened = Runtime.open.__func__

        def open_(cls, *args, **kwargs):
            runtime = opened(cls, *args, **kwargs)
            clock.threads[id(runtime)] = kwargs.get("threads")
            return runtime

        monkeypatch.setattr(Runtime, "run", slow)
        monkeypatch.setattr(Runtime, "open", classmethod(open_))

    def __call__(self):
        return self.now


COSTS = {("litert", None): 1, ("onnx", None): 1, ("litert", 1): 4, ("litert", 2): 3, ("onnx", 1): 2, ("onnx", 2): 9}


def test_the_fastest_wins_and_everybody_is_measured_in_turns(tmp_path, monkeypatch):
    clock = Sinking(monkeypatch, COSTS)
    found = choose_here(bundle(tmp_path / "a.edgekit"), clock=clock, **FAST)
    assert (found.variant, found.backend, found.threads, found.p50_ms) == ("onnx-fp32", "onnx", 1, 2000)
    known = [c for c in found.candidates if c.p50_ms is not None]
    assert {(c.backend, c.threads): c.p50_ms / 1000 for c in known} == {k: v for k, v in COSTS.items() if k[1]}
    turns = [b for a, b in zip([None, *clock.order], clock.order) if a != b and b[1]]
    assert turns == turns[:4] * choice.ROUNDS and len(set(turns)) == 4, "rounds, not one after the other"


def test_of_equals_the_bundles_order_decides(tmp_path, monkeypatch):
    clock = Sinking(monkeypatch, {**dict.fromkeys(COSTS, 1.0), ("onnx", 2): 0.97})
    found = choose_here(bundle(tmp_path / "a.edgekit"), clock=clock, **FAST)
    assert (found.variant, found.threads) == ("tflite-fp32", 1)


@pytest.mark.parametrize("within", [None, False])
def test_what_is_not_known_to_be_accurate_does_not_compete(tmp_path, within):
    path = bundle(tmp_path / "a.edgekit", (None, within))
    found = choose_here(path, **FAST)
    assert {c.variant for c in found.candidates} == {"tflite-fp32"}
    assert choose_here(path, variant="onnx-fp32", **FAST).variant == "onnx-fp32", "but can be forced"


def test_what_fails_its_golden_samples_is_out_with_the_reason(tmp_path):
    manifest, members = double_manifest()
    wrong = double_manifest(expected_scale=3.0)[1]["golden/expected.npy"]
    expected = tuple(
        replace(e, outputs={"y": "golden/wrong.npy"}) if e.variant == "tflite-fp32" else e
        for e in manifest.golden.expected
    )
    changed = manifest.replace(
        golden=replace(manifest.golden, expected=expected),
        variants=tuple(replace(v, within=True) for v in manifest.variants),
    )
    path = tmp_path / "a.edgekit"
    write_bundle(path, changed, {**members, "golden/wrong.npy": wrong})
    found = choose_here(path, **FAST)
    assert found.backend == "onnx"
    assert all("self-test failed" in c.reason for c in found.candidates if c.backend == "litert")
    with pytest.raises(SelfTestError):
        choose_here(path, variant="tflite-fp32", backend="litert", **FAST)


def test_it_is_kept_by_bundle_versions_and_device_and_measured_again_when_damaged(tmp_path, monkeypatch):
    path = bundle(tmp_path / "a.edgekit")
    with Bundle.open(path) as opened:
        assert known_here(opened) is None
        first = choose_here(opened, **FAST)
        assert not first.remembered
        again = choose_here(opened, **FAST)
        assert again == replace(first, remembered=True) and known_here(opened) == again
        assert not choose_here(opened, again=True, **FAST).remembered
        (kept,) = (tmp_path / "cache/choices").glob("*.json")
        for damage in (b"", b"{", b"[]", b'{"variant": 3}', kept.read_bytes()[:-40]):
            kept.write_bytes(damage)
            assert not choose_here(opened, **FAST).remembered
        monkeypatch.setattr(choice, "device", lambda: "another board")
        assert not choose_here(opened, **FAST).remembered
        monkeypatch.setattr(choice, "__version__", "9.9")
        assert not choose_here(opened, **FAST).remembered
        assert not choose_here(opened, threads=1, **FAST).remembered, "what is forced is another question"
    assert not choose_here(bundle(path, name="other"), **FAST).remembered, "another bundle"


def test_a_cache_that_cannot_be_written_costs_time_alone(tmp_path):
    (tmp_path / "file").touch()
    found = choose_here(bundle(tmp_path / "a.edgekit"), cache=tmp_path / "file/below", **FAST)
    assert found.p50_ms > 0


def test_the_runtime_opens_what_was_chosen_and_says_so(tmp_path, monkeypatch):
    path = bundle(tmp_path / "a.edgekit")
    with Runtime.open(path) as runtime:
        assert runtime.choice is None and not (tmp_path / "cache").exists(), "nothing is measured unasked"
    with Runtime.open(path, measured=True) as runtime:
        assert runtime.choice and runtime.variant.name == runtime.choice.variant
        assert runtime.backend.name == runtime.choice.backend
        assert runtime.tensors(X[0])["y"].tolist() == [2, 4, 6, 8]
    monkeypatch.setenv("EDGEKIT_BACKEND", "onnx")
    monkeypatch.setenv("EDGEKIT_THREADS", "2")
    assert options(path) == {"variant": "onnx-fp32", "backend": "onnx", "threads": 2}
    monkeypatch.setenv("EDGEKIT_THREADS", "two")
    with pytest.raises(UsageError, match="EDGEKIT_THREADS"):
        options(path)


@pytest.mark.parametrize(
    ("asked", "kind", "said"),
    [
        ({"backend": "onyx"}, UsageError, "did you mean onnx"),
        ({"backend": "plain"}, UsageError, "they run on"),
        ({"variant": "x"}, EdgekitError, "no variant"),
        ({"threads": 0}, UsageError, "too few"),
    ],
)
def test_what_cannot_be_asked_is_said(tmp_path, asked, kind, said):
    with pytest.raises(kind, match=said):
        choose_here(bundle(tmp_path / "a.edgekit"), **asked, **FAST)


def test_the_cpu_competes_with_an_accelerator_only_when_it_is_allowed(tmp_path, machine):
    manifest, members = double_manifest()
    twin = replace(manifest.variant(), within=True)
    compiled = replace(twin, name="compiled", backends=("edgetpu",))
    golden = replace(
        manifest.golden,
        expected=(*manifest.golden.expected, replace(manifest.golden.expected[0], variant="compiled")),
    )
    manifest = manifest.replace(variants=(compiled, twin), chosen="compiled", golden=golden)
    del members["models/double.onnx"]
    golden_left = tuple(e for e in golden.expected if e.variant != "onnx-fp32")
    manifest = manifest.replace(golden=replace(golden, expected=golden_left))
    path = tmp_path / "coral.edgekit"
    write_bundle(path, manifest, members)
    assert eligible(manifest) == (compiled,)
    with pytest.raises(MissingRequirement, match="libedgetpu"):
        choose_here(path, **FAST)
    for asked in ({"allow_cpu": True}, {"backend": "litert"}):
        assert choose_here(path, **asked, **FAST).backend == "litert"


def test_the_verb_shows_every_candidate(tmp_path, capsys):
    path = bundle(tmp_path / "a.edgekit")

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main([*arguments])
        printed = capsys.readouterr()
        assert end.value.code == 0, printed.err
        return printed.out

    lines = run("choose", str(path), "--seconds", "0.01").splitlines()
    assert len([line for line in lines if "p50" in line]) == 5 and sum(line.startswith(" *") for line in lines) == 1
    assert "measured now" in lines[-1]
    assert json.loads(run("choose", str(path), "--json"))["remembered"] is True
    assert "fastest here" in run("inspect", str(path))
