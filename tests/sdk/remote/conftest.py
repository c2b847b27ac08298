"""A real ssh server on loopback with keys of its own, and a bundle small enough to send about."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgekit_runtime.bundle import write_bundle

from ...runtime.conftest import double_manifest


@pytest.fixture
def double(tmp_path: Path) -> Path:
    """``2 * x`` as a TFLite file alone, under a name that no shell would leave alone."""
    manifest, members = double_manifest()
    members.pop("models/double.onnx")
    golden = manifest.golden
    path = tmp_path / 'it\'s a $(touch pwned)\n"double".edgekit'
    write_bundle(
        path,
        manifest.replace(
            variants=manifest.variants[:1], golden=type(golden)(**{**vars(golden), "expected": golden.expected[:1]})
        ),
        members,
    )
    return path


@dataclass
class Server:
    """A running sshd.

    Attributes:
        folder: Keys, configuration, and ``home``, which is where who logs in finds himself.
        port: Where it listens.
        log: What it said.
    """

    folder: Path
    port: int
    log: list[str] = field(default_factory=list)

    @property
    def options(self) -> list[str]:
        """What a user would have in his ssh_config."""
        return [
            f"Port={self.port}",
            f"IdentityFile={self.folder}/key",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            f"UserKnownHostsFile={self.folder}/known_hosts",
            "GlobalKnownHostsFile=/dev/null",
        ]


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host", "key", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "home").mkdir()
    shutil.copy(folder / "key.pub", folder / "authorized_keys")
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized_keys\n"
        "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"SetEnv HOME={folder}/home\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where a root's sshd confines its children
    program = shutil.which("sshd")
    assert program
    running = subprocess.Popen([program, "-D", "-e", "-f", folder / "config"], stderr=subprocess.PIPE, text=True)
    server = Server(folder, port)
    assert running.stderr
    for line in running.stderr:
        server.log.append(line)
        if "Server listening" in line:
            break
    rest = running.stderr
    threading.Thread(target=lambda: server.log.extend(rest), daemon=True).start()
    yield server
    running.terminate()
    running.wait(timeout=30)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> None:
    """The cache is shared by the module's tests: wheels come from the index once."""
    patch = pytest.MonkeyPatch()
    if "XDG_CACHE_HOME" not in os.environ:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()
