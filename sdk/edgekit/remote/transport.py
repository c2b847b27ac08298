"""How commands and bytes reach a board: the system's own ssh, or a folder of this machine that plays the board."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

from edgekit.errors import RemoteError
from edgekit_runtime.errors import MissingRequirement, UsageError

SSH_FAILED = 255
"""What ssh exits with when it is ssh that failed; programs of ours on the board never do."""

_PERSIST_SECONDS = 60
_LONGEST_FOLDER = 80
"""Of a socket's path, which has 104 characters on some systems, ssh's own suffix included."""
_HOST = re.compile(r"(ssh://)?([A-Za-z0-9_][A-Za-z0-9_.+-]*@)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_:][A-Za-z0-9_.:%-]*)")
_OPTION = re.compile(r"[A-Za-z][A-Za-z0-9]*[ =][^\n\r\0]+")
_WHY = (
    ("host key verification failed", "its host key is not known or has changed: connect once by hand with ssh"),
    ("permission denied", "no key opens it, and passwords are never asked for: run ssh-copy-id"),
    ("could not resolve", "is the name right, and is the board on this network?"),
    ("timed out", "is the board on, and on this network?"),
    ("connection refused", "does it run an ssh server on that port? (on a Pi: sudo raspi-config, Interface, SSH)"),
    ("no route to host", "is the board on, and on this network?"),
    ("bad configuration option", "see man ssh_config for what --ssh-option takes"),
)


def printable(text: str) -> str:
    """Text of a board without what would steer the user's terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


@dataclass(frozen=True)
class Done:
    """A command that ended.

    Attributes:
        code: Its exit code.
        out: What it wrote to standard output.
        err: What it wrote to standard error.
    """

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The last line of standard error, or the exit code."""
        lines = self.err.strip().splitlines()
        return printable(lines[-1][:300]) if lines else f"exit code {self.code}"


class Transport(ABC):
    """A way to one board; closed at the end of its ``with`` block.

    Attributes:
        name: The board as the user named it.
        remote: Whether it is another machine.
    """

    name: str
    remote: bool

    @abstractmethod
    def run(self, command: Sequence[str], stdin: bytes | IO[bytes] = b"", *, timeout: float | None = None) -> Done:
        """Run a program on the board.

        Args:
            command: The program and its arguments, exactly; no shell sees them unquoted.
            stdin: Bytes or an open file that it reads.
            timeout: Seconds it may take.

        Raises:
            RemoteError: The board cannot be reached, or it took longer.
        """

    def python(
        self,
        interpreter: str,
        program: str,
        *arguments: str,
        stdin: bytes | IO[bytes] = b"",
        timeout: float | None = None,
    ) -> Done:
        """Run one of the programs in `edgekit.remote.board` with an interpreter of the board."""
        source = files("edgekit.remote.board").joinpath(f"{program}.py").read_text("utf-8")
        return self.run([interpreter, "-I", "-c", source, *arguments], stdin, timeout=timeout)

    def close(self) -> None:
        """End what is kept open."""

    def __enter__(self) -> Transport:
        """The transport itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


class Local(Transport):
    """A folder of this machine as the board's home: the same steps without a network."""

    remote = False

    def __init__(self, home: Path) -> None:
        self.name = f"local:{home}"
        self._home = home.absolute()
        self._home.mkdir(parents=True, exist_ok=True)

    def run(self, command: Sequence[str], stdin: bytes | IO[bytes] = b"", *, timeout: float | None = None) -> Done:
        kept = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")  # a login on a board has no PYTHONPATH of ours
        environment = {**{k: v for k, v in os.environ.items() if k in kept}, "HOME": str(self._home)}
        return _run(self.name, command, stdin, timeout, environment, self._home)


class Ssh(Transport):
    """OpenSSH's client, one connection for all commands; ports, keys and jump hosts are those of the ssh_config."""

    remote = True

    def __init__(self, host: str, options: Sequence[str] = ()) -> None:
        """Connect at the first command.

        Args:
            host: ``[user@]host``, an alias of the ssh_config, or ``ssh://[user@]host[:port]``.
            options: Each as ``ssh -o`` takes it.

        Raises:
            UsageError: A host or option that ssh could take for something else.
            MissingRequirement: There is no ssh.
        """
        if not _HOST.fullmatch(host):
            raise UsageError(
                f"{host!r:.80} is not a host", "give [user@]host or a name from your ssh_config, or local:FOLDER"
            )
        for option in options:
            if not _OPTION.fullmatch(option):
                raise UsageError(f"--ssh-option {option!r:.80} is not NAME=VALUE", "as in man ssh_config: Port=2222")
        program = shutil.which("ssh")
        if program is None:
            raise MissingRequirement("there is no ssh on PATH", "install the OpenSSH client")
        self.name = host
        self._folder = tempfile.mkdtemp(prefix="edgekit-")
        shared = [
            "ControlMaster=auto",
            f"ControlPath={self._folder.replace('%', '%%')}/c",
            f"ControlPersist={_PERSIST_SECONDS}",
        ]
        fixed = [
            "BatchMode=yes",
            "ConnectTimeout=15",
            "ServerAliveInterval=15",
            "ServerAliveCountMax=4",
            "ClearAllForwardings=yes",
            "RequestTTY=no",
            "RemoteCommand=none",
            "LogLevel=ERROR",
            *(shared if len(self._folder) < _LONGEST_FOLDER else ()),
        ]
        # ssh keeps the first value it is given, so that the user's come first
        self._ssh = [program, *(word for option in (*options, *fixed) for word in ("-o", option))]

    def run(self, command: Sequence[str], stdin: bytes | IO[bytes] = b"", *, timeout: float | None = None) -> Done:
        # ssh gives one string to the login shell of the far side: that is what the quoting is for
        done = _run(self.name, [*self._ssh, "--", self.name, shlex.join(command)], stdin, timeout)
        if done.code == SSH_FAILED:
            said = done.err.lower()
            hint = next((why for sign, why in _WHY if sign in said), "try ssh -v by hand")
            raise RemoteError(f"cannot reach {self.name} ({done.complaint})", hint)
        return done

    def close(self) -> None:
        subprocess.run(
            [*self._ssh, "-O", "exit", "--", self.name], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        shutil.rmtree(self._folder, ignore_errors=True)


def _run(
    name: str,
    command: Sequence[str],
    stdin: bytes | IO[bytes],
    timeout: float | None,
    environment: dict[str, str] | None = None,
    folder: Path | None = None,
) -> Done:
    given: dict[str, Any] = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
    try:
        done = subprocess.run(
            list(command), **given, capture_output=True, timeout=timeout, env=environment, cwd=folder, check=False
        )
    except subprocess.TimeoutExpired:
        raise RemoteError(f"{name} did not finish within {timeout:g} s", "is it overloaded, or stuck?") from None
    except FileNotFoundError as error:
        return Done(127, "", f"{error.filename}: not found")
    except ValueError as error:  # a zero byte in an argument
        raise UsageError(f"a command for {name} cannot be passed on ({error})") from error
    return Done(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))


def connect(host: str, options: Sequence[str] = ()) -> Transport:
    """The way to `host`: ``local:FOLDER``, or whatever ssh knows.

    Raises:
        UsageError: It is neither, or options are given that a folder has no use for.
        MissingRequirement: There is no ssh.
    """
    if host.startswith("local:"):
        if not host.removeprefix("local:"):
            raise UsageError("local: names no folder", "give the board's home, as in local:/tmp/board")
        if options:
            raise UsageError("--ssh-option has no meaning for local:", "leave it out")
        return Local(Path(host.removeprefix("local:")))
    return Ssh(host, options)
