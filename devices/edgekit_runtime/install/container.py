"""A container file and all that its build needs but the wheels' index."""

from __future__ import annotations

import argparse
import json
import re
from importlib import resources
from pathlib import Path
from typing import Union

from edgekit_runtime import __version__
from edgekit_runtime.errors import UsageError
from edgekit_runtime.install.files import Plan, fill
from edgekit_runtime.install.settings import Settings

TOKEN = "/run/secrets/edgekit-token"  # noqa: S105 - where, not what
_IMAGE = re.compile(r"[a-z0-9][a-zA-Z0-9._/:@-]{0,254}")
_EXTRAS = {"tflite": "litert", "onnx": "onnx", "plain": "plain"}
_WHEELS = "Wheels for the container file: edgekit-runtime's own, and any other that no index has.\n"
_ONLY_SYSTEMD = ("user", "run_as", "program", "fleet", "fleet_token_file", "group", "allow_unsigned", "watch")


def refuse(options: argparse.Namespace, wanted: Settings, also: tuple[str, ...]) -> None:
    """What a container cannot have.

    Raises:
        UsageError: It is asked for.
    """
    for name in (*_ONLY_SYSTEMD, *also):
        if getattr(options, name):
            raise UsageError(f"--{name.replace('_', '-')} is for --systemd", "leave it")
    if not wanted.bundles:
        raise UsageError("there is nothing to serve", "give bundles")


def command(wanted: Settings) -> list[str]:
    """The words after the program, with paths as they are in the container."""
    models = [f"/models/{Path(bundle).name}" for bundle in wanted.bundles]
    return ["serve", *models, "--host=0.0.0.0", f"--port={wanted.port}", f"--token-file={TOKEN}", *wanted.words]


def image(text: str, what: str) -> str:
    """The name of an image.

    Raises:
        UsageError: It is none.
    """
    if not _IMAGE.fullmatch(text):
        raise UsageError(f"{what} {text!r:.80} is not the name of an image")
    return text


def plan(options: argparse.Namespace, wanted: Settings) -> Plan:
    """The container file, the bundles and the pins.

    Raises:
        UsageError: There is no bundle, one is not here, or an option is not for a container.
    """
    refuse(options, wanted, ("store", "socket", "key"))
    if wanted.missing:
        raise UsageError(f"{wanted.missing[0]} is not here, and is copied into the image", "name one that is")
    extras = sorted({"serve" if wanted.grpc_port is None else "grpc", *(_EXTRAS.get(f, f) for f in wanted.formats)})
    probe = (
        "import sys, urllib.request as u; "
        f"sys.exit(u.urlopen('http://127.0.0.1:{wanted.port}/v2/health/ready', timeout=4).status != 200)"
    )
    text = fill(
        "Containerfile",
        BASE=image(options.base, "--base"),
        REQUIREMENT=f"edgekit-runtime[{','.join(extras)}]=={__version__}",
        NAME=wanted.name,
        DESCRIPTION="edgekit bundles over HTTP",
        PORTS=" ".join(map(str, filter(None, (wanted.port, wanted.grpc_port)))),
        HEALTH=_words(["/opt/edgekit/bin/python", "-c", probe]),
        COMMAND=_words(command(wanted)),
    )
    pins = resources.files("edgekit_runtime.install").joinpath("templates", "constraints.txt").read_text("utf-8")
    files: dict[str, Union[str, bytes]] = {"Containerfile": text, "constraints.txt": pins, "wheels/README": _WHEELS}
    for bundle in wanted.bundles:
        files[f"models/{Path(bundle).name}"] = Path(bundle).read_bytes()
    token = wanted.token_file or "TOKEN_FILE"
    commands = (
        f"podman build --platform linux/arm64,linux/amd64 --manifest {wanted.name} .",
        f"podman secret create edgekit-token {token}",
        f"podman run --read-only --tmpfs /tmp --cap-drop all --security-opt no-new-privileges"
        f" --secret edgekit-token,uid=10001,mode=0400 --publish 127.0.0.1:{wanted.port}:{wanted.port} {wanted.name}",
    )
    notes = ["the image is as reproducible as its base: pin that with --base NAME@sha256:..."]
    if wanted.devices:
        notes.append(
            f"give the devices to podman run with --device; {', '.join(wanted.devices)} needs its drivers inside"
        )
    return Plan(files, commands, tuple(notes))


def _words(words: list[str]) -> str:
    return json.dumps(words, ensure_ascii=False)
