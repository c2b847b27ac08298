"""Onto a board and tested there: whole or not at all, again and again, and what stops it is one sentence."""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import json
import platform
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.errors import RemoteError
from edgekit.remote import facts
from edgekit.remote.board.install import READY
from edgekit.remote.board.receive import DISK_FULL, part_of
from edgekit.remote.copy import Item, bring
from edgekit.remote.deploy import carry_out, plan, put
from edgekit.remote.measure import measure
from edgekit.remote.transport import Local, connect
from edgekit_runtime import Bundle
from edgekit_runtime.agent.machine import Machine, Underway
from edgekit_runtime.agent.protocol import SOAKING
from edgekit_runtime.agent.serving import Serving
from edgekit_runtime.agent.store import Slot, Store
from edgekit_runtime.errors import MissingRequirement, UsageError

from ...runtime.agent.test_machine import job
from ..conftest import edgekit

CONTENT = bytes(range(256)) * 8192  # 2 MiB


@pytest.fixture
def item(tmp_path) -> Item:
    source = tmp_path / "a file.bin"
    source.write_bytes(CONTENT)
    return Item(source, str(tmp_path / "home/in/it"), hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


@pytest.fixture
def there(tmp_path) -> Local:
    return Local(tmp_path / "home")


def test_a_file_is_sent_once(item, there):
    assert bring(there, sys.executable, [item]) == len(CONTENT)
    assert Path(item.destination).read_bytes() == CONTENT
    assert bring(there, sys.executable, [item]) == 0


def test_an_interrupted_copy_goes_on_where_it_stopped(item, there):
    broken = there.python(
        sys.executable,
        "receive",
        "take",
        item.destination,
        item.sha256,
        "0",
        str(item.bytes),
        stdin=CONTENT[:1_000_000],
    )
    assert broken.code != 0 and not Path(item.destination).exists()
    assert bring(there, sys.executable, [item]) == len(CONTENT) - 1_000_000
    assert Path(item.destination).read_bytes() == CONTENT


@pytest.mark.parametrize("wrong", [b"x" * 1000, CONTENT[:-1] + b"x", CONTENT + b"more"])
def test_a_part_that_is_not_the_beginning_is_sent_anew(item, there, wrong):
    part = part_of(Path(item.destination), item.sha256)
    part.parent.mkdir(parents=True)
    part.write_bytes(wrong)
    bring(there, sys.executable, [item])
    assert Path(item.destination).read_bytes() == CONTENT and not part.exists()


def test_what_does_not_arrive_as_it_was_sent_never_gets_its_name(item, there):
    item.source.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(RemoteError, match="did not arrive"):
        bring(there, sys.executable, [item])
    assert list(Path(item.destination).parent.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(item, there, tmp_path):
    (tmp_path / "home/in").write_text("a file where a folder should be")
    with pytest.raises(RemoteError, match="could not be written"):
        bring(there, sys.executable, [item])


class TinyDisk(Local):
    """A board whose home is a file system of a megabyte, made for each command and gone with it."""

    def run(self, command, stdin=b"", *, timeout=None):
        mount = 'mount -t tmpfs -o size=1m none "$HOME" && exec "$@"'
        return super().run(["unshare", "--mount", "--map-root-user", "sh", "-c", mount, "sh", *command], stdin)


@pytest.mark.tool("unshare")
def test_a_full_disk_is_one_sentence(item, double, tmp_path, wheels):
    small = TinyDisk(tmp_path / "home")
    with pytest.raises(RemoteError, match=r"the disk of local:.* is full: a file.bin does not fit: make room there"):
        bring(small, sys.executable, [item])
    with pytest.raises(RemoteError, match="has 1 MB of disk free, and .* MB are needed"):
        plan(small, double)


def test_a_board_without_python_is_told_what_to_install(tmp_path, monkeypatch, double):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "ls", "test"):
        (programs / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(MissingRequirement, match="has no Python 3 that runs: on the board: sudo apt install python3"):
        plan(Local(tmp_path / "home"), double)
    (programs / "python3").write_text("#!/bin/sh\necho broken shim >&2; exit 127\n")
    (programs / "python3").chmod(0o755)
    with pytest.raises(MissingRequirement, match="broken shim"):
        plan(Local(tmp_path / "home"), double)


def test_an_answer_that_is_nonsense_is_said_so(tmp_path, monkeypatch):
    (tmp_path / "python3").write_text("#!/bin/sh\necho '{\"home\": 3}'\n")
    (tmp_path / "python3").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(RemoteError, match="answers nonsense"):
        facts.look(Local(tmp_path / "home"))


def test_an_environment_that_is_half_made_is_never_used(double, tmp_path, wheels):
    there = Local(tmp_path / "home")
    planned = plan(there, double)
    venv = Path(planned.venv)
    # the power went while it was being made
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").write_text("half")
    assert not plan(there, double).made
    # a wheel that is damaged on the board ends the installation, and nothing is left of it
    bring(there, sys.executable, planned.wheels)
    numpy = next(Path(w.destination) for w in planned.wheels if "numpy-" in w.destination)
    whole = numpy.read_bytes()
    order = {
        "venv": planned.venv,
        "python": planned.needs.python.executable,
        "pip": planned.wheels[-1].destination,
        "wheels": [w.destination for w in planned.wheels[:-1]],
        "system_site": False,
    }
    numpy.write_bytes(whole[: len(whole) // 2])
    done = there.python(sys.executable, "install", stdin=json.dumps(order).encode())
    assert done.code == 1 and "numpy" in done.err
    assert not venv.exists()
    # and the next time it is sent again and made
    carry_out(there, planned)
    assert (venv / "bin/edgekit-runtime").is_file()
    assert list((venv.parent / "wheels").iterdir()) == []
    assert plan(there, double).made


@pytest.mark.tool("unshare")
def test_a_disk_that_fills_up_while_installing_leaves_nothing(double, tmp_path, wheels):
    planned = plan(Local(tmp_path / "home"), double)
    folder = tmp_path / "small"
    folder.mkdir()
    source = Path(facts.__file__).parent / "board/install.py"
    order = {
        "venv": f"{folder}/venv",
        "python": planned.needs.python.executable,
        "pip": str(planned.wheelhouse.pip.path),
        "wheels": [str(w.path) for w in planned.wheelhouse.wheels],
        "system_site": False,
    }
    script = 'mount -t tmpfs -o size=16m none "$1" && "$2" -I "$3"; code=$?; ls "$1"; exit $code'
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", folder, sys.executable, source],
        input=json.dumps(order), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == DISK_FULL and done.stdout == "", done.stderr
    assert all(w.path.is_file() for w in planned.wheelhouse.wheels)


def test_two_deploys_at_once_do_not_mix(double, tmp_path, wheels):
    there = Local(tmp_path / "home")
    planned = plan(there, double)
    folder = Path(planned.venv).parent
    folder.mkdir(parents=True)
    with (folder / ".install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RemoteError, match="another deploy is installing"):
            carry_out(there, planned)


@pytest.mark.tool("sshd")
def test_over_ssh_a_bundle_is_brought_tested_and_timed(sshd, double, wheels):
    host = f"{getpass.getuser()}@127.0.0.1"
    way = ["--host", host, *(word for option in sshd.options for word in ("--ssh-option", option))]
    with Bundle.open(double) as bundle:
        digest = bundle.digest
    dry = edgekit("deploy", str(double), *way, "--dry-run", cwd=double.parent)
    assert dry.returncode == 0, dry.stderr
    home = sshd.folder / "home"
    assert "ai_edge_litert" in dry.stdout and not (home / ".edgekit").exists()

    first = edgekit("deploy", str(double), *way, "--json", cwd=double.parent)
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    assert told["selftest"]["passed"] and told["sent"] == told["to_send"] > 10_000_000
    assert (home / f".edgekit/bundles/{digest}.edgekit").read_bytes() == double.read_bytes()

    assert told["placed"]["store"] == str(home / ".edgekit") and not told["placed"]["agent"]
    assert Store(home / ".edgekit").slot("double") == Slot(digest)

    made = Path(told["environment"], READY).stat()
    again = json.loads(edgekit("deploy", str(double), *way, "--json", cwd=double.parent).stdout)
    assert again["sent"] == 0 and Path(told["environment"], READY).stat() == made

    timed = edgekit("benchmark", str(double), *way, "--seconds=0.05", "--threads=auto", cwd=double.parent)
    assert timed.returncode == 0, timed.stderr
    assert "estimate: there is none" in timed.stdout and host in timed.stdout
    here = edgekit("benchmark", str(double), "--seconds=0.05", cwd=double.parent)
    assert here.returncode == 0, here.stderr
    kept = json.loads(Path(f"{double}.latency.json").read_text())
    assert kept["digest"] == digest and [r["host"] for r in kept["results"]] == [host, ""]
    assert kept["results"][0]["threads_ms"] and kept["results"][0]["p99_ms"] >= kept["results"][0]["p50_ms"] > 0
    # what it says to run is what runs
    program = told["command"].split(" serve ")[0]
    ran = subprocess.run([program, "inspect", told["bundle"]], capture_output=True, text=True, check=True)
    assert digest[:16] in ran.stdout


def test_the_agents_store_gets_it_and_keeps_the_one_before(double, tmp_path, tmp_path_factory, wheels):
    home = tmp_path_factory.mktemp("h")  # the path of a socket may have 107 characters
    there = Local(home)
    planned = plan(there, double)
    carry_out(there, planned)
    store = Store(home / ".local/state/edgekit")
    old = tmp_path / "old"
    old.write_bytes(b"another bundle")
    store.adopt(old, "b" * 64)
    store.point("double", "b" * 64)
    # while the agent is at a job, the slot is the agent's
    journal = store.root / "agent/journal.json"
    machine = Machine()
    machine.underway = Underway(job(), SOAKING)
    journal.write_text(json.dumps(machine.to_plain()))
    with pytest.raises(RemoteError, match="its agent is at job 1 just now"):
        put(there, planned, double)
    journal.write_text(json.dumps(Machine().to_plain()))
    # a server that does not take it leaves the slot as it was
    sock = store.root / "agent/serve.sock"
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(sock))
        with pytest.raises(RemoteError, match="the serving process does not answer"):
            put(there, planned, double)
    assert store.slot("double") == Slot("b" * 64)
    sock.unlink()
    placed = put(there, planned, double)
    assert placed.agent and placed.store == str(store.root) and not placed.loaded and placed.previous == "b" * 64
    assert store.slot("double") == Slot(planned.digest, "b" * 64)
    assert store.path(planned.digest).read_bytes() == double.read_bytes()
    assert put(there, planned, double).previous == "b" * 64, "a second time changes nothing"
    assert not list(store.root.glob(".deploy.*"))
    # an agent's store that this user may not write is said, and deploy's own has it
    place = tmp_path / "elsewhere"
    place.write_text("no store")
    beside = put(there, planned, double, str(place))
    assert not beside.agent and "an agent's store that this user may not write" in beside.words
    assert beside.store == planned.board.folder and Store(beside.store).slot("double") == Slot(planned.digest)


def test_a_server_that_runs_on_the_agents_store_answers_with_it_at_once(double, tmp_path, wheels, needs_backend):
    needs_backend("litert")
    there = Local(tmp_path / "h")
    planned = plan(there, double)
    carry_out(there, planned)
    root = tmp_path / "s"
    sock = Store(root).root / "agent/serve.sock"
    command = [sys.executable, "-m", "edgekit_runtime", "serve", f"--store={root}", f"--socket={sock}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout and "serving an empty store" in server.stdout.readline()
        try:
            assert put(there, planned, double, str(root)).loaded
            assert Serving(path=sock).running()["double"].digest == planned.digest
        finally:
            server.terminate()


def test_times_of_an_emulated_board_are_refused(double, tmp_path, wheels):
    there = Local(tmp_path / "home")
    planned = plan(there, double)
    emulated = facts.Board(**{**vars(planned.board), "emulator": "qemu-aarch64"})
    with pytest.raises(UsageError, match="emulated by qemu-aarch64, and its times say nothing"):
        measure(there, type(planned)(**{**vars(planned), "board": emulated}), double)
    assert not Path(f"{double}.latency.json").exists()


def test_a_wrong_answer_on_the_board_is_its_own_sentence(tmp_path, wheels):
    from edgekit.remote.deploy import ask_runtime
    from edgekit_runtime.bundle import write_bundle

    from ...runtime.conftest import double_manifest

    manifest, members = double_manifest(expected_scale=2.5)
    members.pop("models/double.onnx")
    golden = type(manifest.golden)(**{**vars(manifest.golden), "expected": manifest.golden.expected[:1]})
    bad = tmp_path / "bad.edgekit"
    write_bundle(bad, manifest.replace(variants=manifest.variants[:1], golden=golden), members)
    with connect(f"local:{tmp_path / 'home'}") as there:
        planned = plan(there, bad)
        carry_out(there, planned)
        with pytest.raises(RemoteError, match=r"selftest on local:.*tflite-fp32.*3\.5"):
            ask_runtime(there, planned, "selftest")


@pytest.mark.tool("cc")
def test_native_code_runs_there_by_the_users_word_or_its_signers_key(tmp_path, wheels):
    from ...runtime.test_plain import ROWS, bundle_of, library

    path = Path(bundle_of(tmp_path, library(tmp_path, ROWS), platform.machine()))
    way = ("--host", f"local:{tmp_path / 'home'}")
    refused = edgekit("deploy", str(path), *way, cwd=tmp_path)
    assert refused.returncode == 1 and "native code, which may do anything: say --trust" in refused.stderr
    assert edgekit("bundle", "keygen", "release", cwd=tmp_path).returncode == 0
    assert edgekit("bundle", "sign", str(path), "--key=release.key", cwd=tmp_path).returncode == 0
    for word in ("--trust", "--key=release.pub"):
        done = edgekit("deploy", str(path), *way, word, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "c-fp64 on plain" in done.stdout and done.stdout.rstrip().endswith("--trust")
    timed = edgekit("benchmark", str(path), *way, "--seconds=0.01", "--key=release.pub", "--json", cwd=tmp_path)
    assert json.loads(timed.stdout)["backend"].startswith("plain"), timed.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["benchmark", "--ssh-option", "Port=1"], "are for a board"),
        (["benchmark", "--threads", "many"], "neither a number nor auto"),
        (["deploy", "--host", "-oProxyCommand=x"], "is not a host"),
        (["deploy", "--host", "local:"], "names no folder"),
        (["deploy", "--host", "local:b", "--python", "2.7"], "does not run on Python"),
        (["benchmark", "--host", "local:b", "--backend", "plain"], "no variant runs on back end"),
    ],
)
def test_bad_usage_is_one_sentence(double, options, said):
    verb, *rest = options
    done = edgekit(verb, str(double), *rest, cwd=double.parent)
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
