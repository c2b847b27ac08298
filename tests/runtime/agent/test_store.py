"""The store: what a slot points at is there, whole, whatever is cut off when."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit_runtime.agent.store import Slot, Store, StoreError

DIGESTS = [c * 64 for c in "abcd"]


def whole(store: Store, digest: str) -> Path:
    """A file that is ready to be adopted; its content tells which it is."""
    path = store.root / "agent" / f"{digest}.part"
    path.write_bytes(digest.encode() * 1000)
    return path


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def test_a_slot_remembers_what_answered_before(store):
    for digest in DIGESTS[:2]:
        store.adopt(whole(store, digest), digest, b"{}")
        store.point("words", digest)
    assert store.slot("words") == Slot(DIGESTS[1], DIGESTS[0]) and store.slots() == ["words"]
    assert store.point("words", DIGESTS[1]) == Slot(DIGESTS[1], DIGESTS[0]), "twice is once"
    assert store.go_back("words") == Slot(DIGESTS[0]) == store.slot("words")
    assert store.go_back("words") is None, "there is nothing before it"
    store.restore("words", None)
    assert store.slot("words") is None and store.slots() == []


def test_a_slot_never_points_at_what_is_not_there(store):
    with pytest.raises(StoreError, match="not in the store"):
        store.point("words", DIGESTS[0])
    with pytest.raises(ValueError, match="64 hex digits"):
        store.path("../../etc/passwd")
    assert store.slots() == []


def test_what_no_slot_needs_is_removed(store):
    for digest in DIGESTS:
        store.adopt(whole(store, digest), digest, b"{}")
    for digest in DIGESTS[:3]:
        store.point("words", digest)
    assert store.clean(keep=[DIGESTS[3]]) == [DIGESTS[0]]
    assert store.digests() == set(DIGESTS[1:]) and not Path(f"{store.path(DIGESTS[0])}.sig").exists()


def test_a_slot_that_cannot_be_read_keeps_every_bundle(store):
    store.adopt(whole(store, DIGESTS[0]), DIGESTS[0])
    (store.root / "slots" / "words.json").write_text('{"current": "x"}')
    with pytest.raises(StoreError, match="cannot be read"):
        store.clean()
    assert store.has(DIGESTS[0])


@given(st.text(min_size=1, max_size=40))
@settings(deadline=None)  # each example waits for the disk
def test_a_model_may_be_called_anything(name):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        store.adopt(whole(store, DIGESTS[0]), DIGESTS[0])
        try:
            store.point(name, DIGESTS[0])
        except StoreError:
            assert len(name.encode("utf-8", "surrogatepass")) * 3 > 200
        except UnicodeEncodeError:
            assert any("\ud800" <= c <= "\udfff" for c in name)
        else:
            assert store.slots() == [name] and store.slot(name) == Slot(DIGESTS[0])
        assert {p.name for p in Path(folder).iterdir()} == {"bundles", "slots", "agent"}


def test_two_slots_do_not_share_a_file(store):
    store.adopt(whole(store, DIGESTS[0]), DIGESTS[0])
    names = ["a/b", "a%2Fb", ".a", "%2Ea", "..", "A", "a b"]
    for name in names:
        store.point(name, DIGESTS[0])
    assert sorted(store.slots()) == sorted(names)


@pytest.mark.skipif(os.geteuid() != 0 and not os.access("/dev/full", os.W_OK), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence_and_changes_nothing(store, monkeypatch):
    store.adopt(whole(store, DIGESTS[0]), DIGESTS[0])
    store.adopt(whole(store, DIGESTS[1]), DIGESTS[1])
    store.point("words", DIGESTS[0])

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        store.point("words", DIGESTS[1])
    monkeypatch.undo()
    assert store.slot("words") == Slot(DIGESTS[0])


def work(store: Store) -> None:
    """What an agent does with a store in its life."""
    for digest in DIGESTS:
        store.adopt(whole(store, digest), digest, b"{}")
        store.point("words", digest)
        store.clean(keep=[digest])
    store.go_back("words")
    store.restore("words", Slot(DIGESTS[2]))
    store.clean()


class Cut(BaseException):
    """The process is gone."""


class Log:
    """Every sync, rename and removal of `work`, with what the files held; may cut the process off before one."""

    def __init__(self, root: Path, monkeypatch, stop: int = 10**9) -> None:
        self.root, self.stop = root, stop
        self.calls: list[tuple[str, str, str, bytes]] = []
        fsync, replace, unlink = os.fsync, Path.replace, Path.unlink

        def logged(what: str, path: Path, target: Path | None, content: bytes) -> None:
            if len(self.calls) == self.stop:
                raise Cut
            name = os.path.relpath(path, root)
            self.calls.append((what, name, os.path.relpath(target, root) if target else "", content))

        def synced(handle):
            path = Path(f"/proc/self/fd/{handle}").readlink()
            logged("sync", path, None, path.read_bytes() if path.is_file() else b"")
            fsync(handle)

        def replaced(path, target):
            logged("rename", path, Path(target), path.read_bytes())
            return replace(path, target)

        def unlinked(path, missing_ok=False):
            if path.exists():
                logged("remove", path, None, b"")
            return unlink(path, missing_ok=missing_ok)

        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(Path, "replace", replaced)
        monkeypatch.setattr(Path, "unlink", unlinked)


def sound(store: Store) -> None:
    """Every slot points at a whole bundle."""
    for name in store.slots():
        slot = store.slot(name)
        assert store.path(slot.current).read_bytes() == slot.current.encode() * 1000


def test_a_process_that_is_killed_anywhere_leaves_a_sound_store(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        log = Log(tmp_path, patch)
        work(Store(tmp_path / "store"))
    for stop in range(len(log.calls)):
        root = tmp_path / f"cut-{stop}"
        with monkeypatch.context() as patch:
            Log(root, patch, stop)
            with pytest.raises(Cut):
                work(Store(root))
        sound(Store(root))
        work(Store(root))  # and the agent goes on
        sound(Store(root))


def test_a_power_cut_anywhere_leaves_a_sound_store(tmp_path, monkeypatch):
    """Names count from when their folder was synced, contents from when the file was; of the rest anything may be there."""
    root = tmp_path / "store"
    with monkeypatch.context() as patch:
        log = Log(root, patch)
        work(Store(root))
    generator = random.Random(1)
    found = 0
    for number in range(600):
        place = Store(tmp_path / f"after-{number}").root
        cut = generator.randrange(len(log.calls))
        durable, names, pending = {}, {}, []
        for what, name, target, _content in log.calls[:cut]:
            if what == "sync" and _content:
                durable[name] = _content
            elif what == "rename":
                durable[target] = durable.get(name, b"")  # what was not synced is not there
                pending.append((what, target))
            elif what == "remove":
                pending.append((what, name))
            elif what == "sync":
                for done in [p for p in pending if Path(p[1]).parent == Path(name)]:
                    names[done[1]] = done[0] == "rename"
                    pending.remove(done)
        for what, name in pending:  # in order, each may have reached the disk
            if generator.random() < 0.5:
                names[name] = what == "rename"
        for name, there in names.items():
            if there:
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_bytes(durable[name])
        store = Store(place)
        found += len(store.slots())
        sound(store)
    assert found > 300, "most cuts are after the first slot"
