"""The outbox: order, bounds, crashes, power cuts, full disks, broken files."""

import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekit_runtime.errors import UsageError
from edgekit_runtime.monitor.outbox import MAX_BODY, Outbox, boot_id

from . import power

HERE = Path(__file__).parent


def opened(folder: Path, **settings) -> Outbox:
    return Outbox(folder / "outbox.db", "pi-1", boot=settings.pop("boot", "boot"), clock=lambda: 5.0, **settings)


def test_messages_come_back_in_order_with_their_identity_until_acknowledged(tmp_path):
    box = opened(tmp_path)
    assert box.put([("state", b"a"), ("sample", b"b")]) == [1, 2]
    assert box.put([("alarm", b"c")]) == [3]
    found = box.peek()
    assert [(m.sequence, m.priority, m.body) for m in found] == [
        (1, "state", b"a"),
        (2, "sample", b"b"),
        (3, "alarm", b"c"),
    ]
    assert {(m.device, m.made) for m in found} == {("pi-1", 5.0)}
    assert box.peek(limit=1) == found[:1]
    assert box.acknowledge(found[0].boot, 2)
    assert box.peek() == found[2:]
    box.close()
    assert box.peek() == found[2:]
    assert box.problem == ""


def test_a_sequence_is_never_used_twice_and_a_boot_keeps_its_name(tmp_path):
    box = opened(tmp_path)
    box.put([("state", b"a")])
    box.acknowledge(box.peek()[0].boot, 1)
    box.close()
    again = opened(tmp_path, boot="later")
    assert again.put([("state", b"b")]) == [2]
    assert again.peek()[0].boot.startswith("later.")


def test_a_full_ring_drops_the_least_important_and_oldest_and_counts_them(tmp_path):
    box = opened(tmp_path, capacity=3)
    box.put([("sketch", b"0"), ("state", b"1"), ("sample", b"2"), ("alarm", b"3")])
    assert [m.body for m in box.peek()] == [b"0", b"1", b"3"]
    box.put([("state", b"4"), ("state", b"5")])
    assert [m.body for m in box.peek()] == [b"1", b"4", b"5"]
    assert box.put([("sample", b"6")]) == [7]
    assert [m.body for m in box.peek()] == [b"1", b"4", b"5"]
    assert box.waiting() == {"sample": 0, "sketch": 0, "alarm": 0, "state": 3}
    assert box.dropped() == {"sample": 2, "sketch": 1, "alarm": 1, "state": 0}


def test_a_batch_is_kept_whole_or_refused_whole(tmp_path):
    box = opened(tmp_path)
    with pytest.raises(UsageError, match="no priority 'urgent'"):
        box.put([("state", b"a"), ("urgent", b"b")])
    with pytest.raises(UsageError, match="over the limit"):
        box.put([("state", b"a"), ("state", bytes(MAX_BODY + 1))])
    assert box.peek() == []
    with pytest.raises(UsageError, match="1 or more"):
        opened(tmp_path, capacity=0)


def test_two_processes_worth_of_connections_share_one_file(tmp_path):
    one, two = opened(tmp_path), opened(tmp_path)
    assert one.put([("state", b"a")]) == [1]
    assert two.put([("state", b"b")]) == [2]
    assert len(one.peek()) == 2


@pytest.mark.parametrize("damage", ["text", "zeroed header", "torn pages"])
def test_a_broken_file_is_set_aside_and_the_caller_goes_on(tmp_path, damage, caplog):
    box = opened(tmp_path)
    box.put([("state", b"x" * 2000)] * 200)
    first = box.peek(1)[0].boot
    box.close()
    path = tmp_path / "outbox.db"
    content = bytearray(path.read_bytes())
    if damage == "text":
        content = bytearray(b"not a database\n" * 1000)
    elif damage == "zeroed header":
        content[:100] = bytes(100)
    else:
        content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    broken = opened(tmp_path)
    assert "was broken" in broken.problem
    assert "outbox.db.corrupt-1" in broken.problem
    assert (tmp_path / "outbox.db.corrupt-1").read_bytes()[: len(content)] == bytes(content)
    assert len(caplog.records) == 1
    assert broken.put([("state", b"new")]) == [1]
    assert broken.problem == ""
    # sequences begin anew, so the identity does too
    assert broken.peek()[0].boot not in ("", first)
    # an answer of the server that comes late is about the old file
    assert broken.acknowledge(first, 200)
    assert [m.body for m in broken.peek()] == [b"new"]


def test_a_place_that_cannot_be_a_file_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    box = Outbox(tmp_path / "file" / "outbox.db", "pi-1", boot="b")
    assert box.put([("state", b"a")]) == []
    assert box.peek() == []
    assert not box.acknowledge("b", 1)
    assert "cannot be" in box.problem
    assert "\n" not in box.problem


FULL = """
import resource, sys
from pathlib import Path
from edgekit_runtime.monitor.outbox import Outbox
box = Outbox(Path(sys.argv[1]), "d", boot="b")
assert box.put([("state", b"kept")]) == [1]
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
while box.put([("sample", bytes(20_000))]):
    pass
print(box.problem)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert box.put([("state", b"later")]), box.problem
assert not box.problem
bodies = [m.body for m in box.peek(10_000)]
assert bodies[0] == b"kept" and bodies[-1] == b"later"
"""


def test_no_room_is_one_sentence_and_goes_on_when_there_is_room(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "o.db")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert "cannot be written" in done.stdout


WRITER = """
import os, sys
from pathlib import Path
from edgekit_runtime.monitor.outbox import Outbox
box = Outbox(Path(sys.argv[1]), "d", boot="b", capacity=10**6)
while True:
    sequences = box.put([("sample", b"body %d" % i) for i in range(7)])
    assert len(sequences) == 7
    os.write(1, b"%d\\n" % sequences[-1])
"""


def test_nothing_kept_is_lost_when_the_process_is_killed(tmp_path):
    generator = random.Random(3)
    path = tmp_path / "o.db"
    kept = 0
    for _ in range(12):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(generator.randrange(1, 30))]
        time.sleep(generator.random() * 0.01)  # where in a commit it is killed is left to chance
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.read().splitlines()
        child.wait()
        child.stdout.close()
        kept = max(int(line) for line in lines)
        box = Outbox(path, "d", boot="b", capacity=10**6)
        sequences = [m.sequence for m in box.peek(10**6)]
        assert box.problem == ""
        assert sequences == list(range(1, len(sequences) + 1))
        assert len(sequences) >= kept
        box.close()
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
    assert kept > 100


LOGGED = """
import os, sys
from pathlib import Path
from edgekit_runtime.monitor.outbox import Outbox
folder = Path(sys.argv[1])
told = os.open(folder / "told", os.O_WRONLY | os.O_CREAT)
box = Outbox(folder / "outbox.db", "d", boot="b")
box._open().execute("PRAGMA wal_autocheckpoint=30")
for i in range(150):
    sequences = box.put([("sample", b"%d " % (3 * i + n + 1) * (40 + 60 * n)) for n in range(3)])
    os.write(told, b"put %d\\n" % sequences[-1])
    if i % 10 == 9:
        os.write(told, b"try %d\\n" % (sequences[-1] - 12))
        assert box.acknowledge(box.peek(1)[0].boot, sequences[-1] - 12)
        os.write(told, b"gone %d\\n" % (sequences[-1] - 12))
"""


@pytest.mark.tool("gcc")
@pytest.mark.skipif(sys.platform != "linux", reason="the shim is for Linux")
def test_nothing_kept_is_lost_when_the_power_goes(tmp_path):
    shim, log, disk = tmp_path / "writes.so", tmp_path / "log", tmp_path / "disk"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(shim), str(HERE / "writes.c")], check=True)
    disk.mkdir()
    watched = {**os.environ, "LD_PRELOAD": str(shim), "WRITES_OF": str(disk), "WRITES_TO": str(log)}
    subprocess.run([sys.executable, "-c", LOGGED, str(disk)], env=watched, check=True)
    writes = power.read_log(log)
    assert {w.name for w in writes if w.what == "S"} >= {"outbox.db", "outbox.db-wal"}
    after = tmp_path / "after"
    survived = 0
    count = int(os.environ.get("EDGEKIT_POWER_CUTS", "250"))
    after.mkdir()
    for place, _ in power.cuts(writes, count, seed=4, folder=after):
        told = [w.data.split() for w in writes[:place] if w.name == "told"]
        put, tried, gone = (
            max((int(n) for t, n in told if t == what), default=0) for what in (b"put", b"try", b"gone")
        )
        box = Outbox(after / "outbox.db", "d", boot="b")
        found = box.peek(10_000)
        assert not box.problem, (place, box.problem)
        have = [m.sequence for m in found]
        assert have == list(range(have[0], have[-1] + 1)) if have else put == tried
        assert not have or (gone < have[0] <= tried + 1 and have[-1] >= put), (
            place,
            put,
            tried,
            gone,
            have[:1],
            have[-1:],
        )
        assert all(set(m.body.split()) == {b"%d" % m.sequence} for m in found)
        survived += len(found) > 0
        box.close()
        shutil.rmtree(after)
        after.mkdir()
    assert survived > count / 2


def test_what_was_not_synced_is_really_dropped(tmp_path):
    """The cuts can lose data: the same check on writes without any sync must find losses."""
    log = [power.Write("W", "a", i * 600, bytes([i + 1]) * 600) for i in range(20)]
    whole = {
        place
        for place, names in power.cuts(log, 50, 1, tmp_path)
        if names and len((tmp_path / "a").read_bytes().replace(b"\0", b"")) == place * 600
    }
    assert len(whole) < 5


def test_every_boot_has_a_name(tmp_path):
    (tmp_path / "id").write_text("abc-def\n")
    assert boot_id(tmp_path / "id") == "abc-def"
    assert boot_id(tmp_path / "none") != boot_id(tmp_path / "none")
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] != 200_000
