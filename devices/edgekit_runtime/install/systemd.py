"""Units for systemd: serving, the agent, and a camera's pipeline."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from edgekit_runtime.errors import UsageError
from edgekit_runtime.install.files import Plan, fill
from edgekit_runtime.install.settings import Settings, absolute, one_word, program, server_url
from edgekit_runtime.serve.server import Address

SYSTEM = "/etc/systemd/system"
_HOMES = (("home",), ("root",))
_TEMPORARY = ("/tmp/", "/var/tmp/")  # noqa: S108 - the service has its own
_PLAIN = re.compile(r"[\w./@+-]+", re.ASCII)
_FOLDER = re.compile(r"[a-z][a-z0-9-]*")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")

# Of each device: groups of its udev rules, entries of DeviceAllow (kernel names of /proc/devices, or a node).
_GROUPS = {"coral": ("apex",), "coral-usb": ("plugdev",), "jetson": ("video",), "camera": ("video",)}
_NODES = {
    "coral": ("char-apex rw",),
    "coral-usb": ("char-usb_device rw",),
    "jetson": ("char-nvidia* rw", "char-nvhost* rw", "char-nvgpu* rw", "char-nvmap* rw", "/dev/nvmap rw"),
    "camera": ("char-video4linux rw", "char-media rw", "char-dma_heap rw"),
}


class Raw(str):
    """A word of a command line that systemd shall expand."""

    __slots__ = ()


def quoted(word: str) -> str:
    """A word as ExecStart takes it: nothing in it is expanded, split or ended (systemd.service(5), systemd.syntax(7)).

    Raises:
        ValueError: It has control characters.
    """
    if not word.isprintable():
        raise ValueError(f"{word!r:.80} cannot be in a unit")
    if isinstance(word, Raw):
        return str(word)
    safe = word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    return safe if _PLAIN.fullmatch(word.replace("=", "").replace(":", "")) else f'"{safe}"'


def plan(options: argparse.Namespace, wanted: Settings) -> Plan:
    """The units.

    Raises:
        UsageError: There is nothing to install, or a path is where a service cannot see it.
    """
    started = program(options.program)
    watched = absolute(options.watch, "--watch", []) if options.watch else None
    # no link is followed: a venv's interpreter is a link out of it, and the venv is what must be seen
    paths = [started[0], *wanted.bundles, *wanted.keys, *filter(None, (wanted.store, watched))]
    _visible(paths, options)
    files: dict[str, str] = {}
    if wanted.bundles or wanted.store:
        files[f"{wanted.name}.service"] = _serve(options, wanted, started)
    if options.fleet:
        files["edgekit-agent.service"] = _agent(options, wanted, started)
    if watched:
        files["edgekit-watch.service"] = _watch(options, wanted, [*started, "watch", watched])
    if not files:
        raise UsageError("there is nothing to install", "give bundles, --store, --fleet or --watch")
    notes = [f"{path} is not on this machine" for path in wanted.missing]
    if any("\nLoadCredential=" in text for text in files.values()):
        notes.append("handing over a token needs systemd 247 or later; its file may be for root alone")
    if "jetson" in wanted.devices or "coral" in wanted.devices or "coral-usb" in wanted.devices:
        notes.append(
            "the accelerator's device nodes are from its makers' documentation; no board has tried these units"
        )
    control = "systemctl --user" if options.user else "sudo systemctl"
    where = "~/.config/systemd/user" if options.user else SYSTEM
    units = " ".join(files)
    copy = "" if options.user else "sudo "
    commands = [f"{copy}cp {units} {where}/", f"{control} daemon-reload", f"{control} enable --now {units}"]
    if options.user:
        commands.append("loginctl enable-linger")
    return Plan(files, tuple(commands), tuple(notes))


def _visible(paths: Sequence[str], options: argparse.Namespace) -> None:
    if options.run_as is not None and (options.user or not _USER.fullmatch(options.run_as)):
        raise UsageError(
            f"--run-as {options.run_as!r:.40} is not a user that the service could run as",
            "a user's own units run as that user" if options.user else "",
        )
    for path in paths:
        if path.startswith(_TEMPORARY) and not options.user:
            raise UsageError(f"{path} would be out of the service's sight, which has a /tmp of its own", "move it")
        if (
            (Path(path).parts[1:2] in _HOMES or path.startswith("/run/user/"))
            and not options.user
            and options.run_as is None
        ):
            raise UsageError(
                f"{path} is in a home, where a service of its own user cannot look",
                "put it below /opt or /var/lib, or give --run-as",
            )


def _serve(options: argparse.Namespace, wanted: Settings, started: Sequence[str]) -> str:
    # gRPC listens on the interface even where HTTP has a socket
    path = Path(wanted.socket) if wanted.socket and wanted.grpc_port is None else None
    address = Address(wanted.host, wanted.port, path)
    if not address.local and wanted.token_file is None:
        raise UsageError(
            f"{wanted.host} can be reached from other machines, and there is no token", "give --token-file"
        )
    words = [*started, "serve", *wanted.bundles]
    words += [f"--store={wanted.store}"] if wanted.store else []
    words += [f"--socket={wanted.socket}"] if wanted.socket else [f"--host={wanted.host}", f"--port={wanted.port}"]
    words += [f"--key={key}" for key in wanted.keys]
    words += wanted.words
    token = _token(wanted.token_file, "token", options)
    words += token[0]
    return _unit(
        options, f"{wanted.name}.service", "edgekit: models over HTTP", words, wanted,
        credentials=token[1], runtime=_runtime(wanted.socket, options), offline=address.local,
    )  # fmt: skip


def _agent(options: argparse.Namespace, wanted: Settings, started: Sequence[str]) -> str:
    if not wanted.keys and not options.allow_unsigned:
        raise UsageError("no key is pinned, so that no bundle could be taken", "give --key, or --allow-unsigned")
    words = [*started, "agent", f"--server={server_url(options.fleet)}", Raw("--root=%S/edgekit")]
    words += [f"--key={key}" for key in wanted.keys]
    words += [f"--group={one_word(group, '--group')}" for group in options.group]
    words += ["--allow-unsigned"] if options.allow_unsigned else []
    missing: list[str] = []
    path = absolute(options.fleet_token_file, "--fleet-token-file", missing) if options.fleet_token_file else None
    token = _token(path, "enrolment", options)
    words += token[0]
    return _unit(
        options, "edgekit-agent.service", "edgekit: bundles from a fleet server", words, wanted,
        credentials=token[1], after="network-online.target",
    )  # fmt: skip


def _watch(options: argparse.Namespace, wanted: Settings, words: Sequence[str]) -> str:
    return _unit(
        options, "edgekit-watch.service", "edgekit: a camera's pipeline", words, wanted,
        after="network-online.target",
    )  # fmt: skip


def _token(path: Optional[str], name: str, options: argparse.Namespace) -> tuple[list[str], str]:
    """Words, and the setting that lets a user of the service's own read a file that is for root alone."""
    if path is None:
        return [], ""
    if not _PLAIN.fullmatch(path):
        raise UsageError(f"{path:.200} has more than letters, digits and ./@+-_ in it", "rename the token's file")
    if options.user or options.run_as is not None:
        return [f"--token-file={path}"], ""
    return [Raw(f"--token-file=${{CREDENTIALS_DIRECTORY}}/{name}")], f"LoadCredential={name}:{path}"


def _runtime(socket: Optional[str], options: argparse.Namespace) -> str:
    """The folder of the socket."""
    if socket is None:
        return ""
    parts = Path(socket).parts
    if len(parts) == 4 and parts[1] == "run" and _FOLDER.fullmatch(parts[2]) and not options.user:
        return f"RuntimeDirectory={parts[2]}\nRuntimeDirectoryMode=0755"
    if options.user:
        return ""
    raise UsageError(f"--socket {socket:.200} is not in a folder that the service could make", "write /run/NAME/SOCKET")


def _unit(
    options: argparse.Namespace,
    unit: str,
    about: str,
    words: Sequence[str],
    wanted: Settings,
    *,
    credentials: str = "",
    runtime: str = "",
    after: str = "network.target",
    offline: bool = False,
) -> str:
    # measured with PR_SET_MDWE on x86-64: LiteRT with XNNPACK and onnxruntime's CPU kernels need no memory that is
    # writable and executable; CUDA, TensorRT and the Edge TPU's driver were not there to be asked
    code = "" if set(wanted.devices) - {"camera"} else "MemoryDenyWriteExecute=yes"
    same = {
        "UNIT": unit,
        "DESCRIPTION": about,
        "COMMAND": " ".join(map(quoted, words)),
        "RUNTIME": runtime,
        "MEMORY": code,
    }
    if options.user:
        return fill("user.service", **same)
    account = "User=edgekit\nDynamicUser=yes" if options.run_as is None else f"User={options.run_as}"
    groups = sorted({g for d in wanted.devices for g in _GROUPS[d]})
    nodes = [n for d in wanted.devices for n in _NODES[d]]
    network = "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6" + (
        " AF_NETLINK" if "coral-usb" in wanted.devices else ""
    )
    return fill(
        "system.service",
        **same,
        AFTER=f"After={after}" + ("" if after == "network.target" else f"\nWants={after}"),
        CREDENTIALS=credentials,
        ACCOUNT="\n".join([account, *([f"SupplementaryGroups={' '.join(groups)}"] if groups else [])]),
        HOME="yes" if options.run_as is None else "read-only",
        NETWORK=f"{network}\nIPAddressDeny=any\nIPAddressAllow=localhost" if offline else network,
        DEVICES="\n".join(["DevicePolicy=closed", *(f"DeviceAllow={n}" for n in nodes)])
        if nodes
        else "PrivateDevices=yes",
    )
