"""Commands and bytes reach the far side exactly, and a host's name is never taken for an option."""

from __future__ import annotations

import getpass
import json
import socket

import pytest

from edgekit.errors import RemoteError
from edgekit.remote.transport import Done, Local, Ssh, connect
from edgekit_runtime.errors import MissingRequirement, UsageError

AWKWARD = ["two words", "it's", '"', "$HOME", "$(touch pwned)", "a\nb", "; rm x", "-rf", "", "*", "`id`", "ü\\"]
ECHO = "import json, sys; print(json.dumps([sys.argv[1:], len(sys.stdin.buffer.read())]))"


@pytest.mark.parametrize(
    "host",
    [
        "-oProxyCommand=touch pwned",
        "-F/etc/passwd",
        "pi@-oProxyCommand=x",
        "-l@board",
        "board; rm -rf /",
        "board name",
        "$(id)",
        "`id`@board",
        "board\nProxyCommand x",
        "",
        "@board",
        "a@b@c",
        "ssh://-x/",
    ],
)
def test_what_is_not_a_host_is_refused_before_anything_runs(host, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is not a host"):
        connect(host)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "host", ["board", "pi@raspberrypi.local", "ssh://pi@10.0.0.7:2222", "pi@[fe80::1]", "jetson_1", "::1"]
)
def test_what_ssh_knows_as_a_host_is_taken(host):
    with Ssh(host) as transport:
        assert transport.name == host


@pytest.mark.parametrize("option", ["", "Port", "-oPort=1", "Port=1\nProxyCommand=x", "=1"])
def test_what_is_not_an_option_is_refused(option):
    with pytest.raises(UsageError, match="NAME=VALUE"):
        connect("board", [option])


def test_a_folder_plays_the_board(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/ours")
    home = tmp_path / "a board's \n home"
    with connect(f"local:{home}") as transport:
        assert not transport.remote
        assert transport.run(["sh", "-c", 'printf %s "$HOME $PYTHONPATH"']).out == f"{home} "
        assert transport.run(["no-such-program"]).code == 127
        assert json.loads(transport.run(["python3", "-c", ECHO, *AWKWARD], b"\0\xff\n").out) == [AWKWARD, 3]
    for wrong in (["local:"], [f"local:{home}", ["Port=1"]]):
        with pytest.raises(UsageError):
            connect(*wrong)


def test_a_command_that_takes_too_long_is_ended(tmp_path):
    with pytest.raises(RemoteError, match="did not finish within 0.2 s"):
        Local(tmp_path).run(["sleep", "60"], timeout=0.2)


def test_without_ssh_its_name_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingRequirement, match="no ssh"):
        connect("board")


@pytest.mark.tool("sshd")
def test_ssh_passes_arguments_and_bytes_on_over_one_connection(sshd):
    before = sum("Accepted publickey" in line for line in sshd.log)
    with connect(f"{getpass.getuser()}@127.0.0.1", sshd.options) as transport:
        payload = bytes(range(256)) * 5000
        for _ in range(3):
            done = transport.run(["python3", "-c", ECHO, *AWKWARD], payload)
            assert json.loads(done.out) == [AWKWARD, len(payload)]
        assert transport.run(["sh", "-c", "echo no >&2; exit 3"]).code == 3
    assert sum("Accepted publickey" in line for line in sshd.log) == before + 1
    assert not (sshd.folder / "home/pwned").exists()


@pytest.mark.tool("sshd")
def test_a_key_that_opens_nothing_and_a_host_nobody_knows_are_one_sentence(sshd):
    who = f"{getpass.getuser()}@127.0.0.1"
    stranger = [o.replace("/key", "/stranger") if o.startswith("IdentityFile") else o for o in sshd.options]
    unknown = [o.replace("/known_hosts", "/none") for o in sshd.options]
    for options, hint in ((stranger, "ssh-copy-id"), (unknown, "connect once by hand"), (["Prot=1"], "man ssh_config")):
        with connect(who, options) as transport, pytest.raises(RemoteError, match=hint) as told:
            transport.run(["true"])
        assert "\n" not in str(told.value) and who in str(told.value)


@pytest.mark.tool("ssh")
def test_a_board_that_is_off_is_one_sentence():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, but nobody listens
        options = [f"Port={closed.getsockname()[1]}"]
        with connect("127.0.0.1", options) as transport, pytest.raises(RemoteError, match="does it run an ssh server"):
            transport.run(["true"])
    with connect("no-such-board.invalid") as transport, pytest.raises(RemoteError, match="is the name right"):
        transport.run(["true"])


def test_what_a_board_says_does_not_steer_the_terminal():
    said = Done(1, "", "fine\n\x1b]0;owned\x07\x1b[2Jbroken\r\n").complaint
    assert said.isprintable() and said.endswith("broken")
