"""``edgekit-runtime install``."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from edgekit_runtime.errors import EdgekitError, MissingRequirement, UsageError


def add(verbs: Any, common: argparse.ArgumentParser) -> None:
    """Register the verb."""
    from edgekit_runtime.serve import command as serving

    install = verbs.add_parser(
        "install", parents=[common], help="make a service of it: systemd units, a container file, Kubernetes manifests"
    )
    kind = install.add_mutually_exclusive_group(required=True)
    kind.add_argument("--systemd", dest="kind", action="store_const", const="systemd", help="units for systemd")
    kind.add_argument("--container", dest="kind", action="store_const", const="container", help="a container file")
    kind.add_argument("--k8s", dest="kind", action="store_const", const="k8s", help="manifests for Kubernetes")
    install.add_argument("--output", help="folder to write the files to; they are printed otherwise")
    install.add_argument(
        "--now", action="store_true", help="systemd: write, enable and start the units on this machine"
    )
    install.add_argument("--name", default="edgekit-serve", help="what the service is called")
    install.add_argument(
        "--device", action="append", default=[], choices=["coral", "coral-usb", "jetson", "camera"],
        help="device that the service may use; several may be given",
    )  # fmt: skip
    install.add_argument("--user", action="store_true", help="systemd: units of a user's own, without root")
    install.add_argument("--run-as", help="systemd: user to run as, instead of one that exists while the service does")
    install.add_argument("--program", help="systemd: the edgekit-runtime to start; this one by default")
    install.add_argument("--fleet", help="systemd: URL of a fleet server; its agent is installed too")
    install.add_argument("--fleet-token-file", help="systemd: file with the fleet server's enrolment token")
    install.add_argument("--group", action="append", default=[], help="systemd: group of the fleet to be in")
    install.add_argument("--allow-unsigned", action="store_true", help="systemd: the agent takes unsigned bundles")
    install.add_argument("--watch", help="systemd: a pipeline's camera.toml; edgekit-runtime watch is installed too")
    install.add_argument("--base", default="python:3.11-slim-bookworm", help="container: image to build on")
    install.add_argument("--image", help="Kubernetes: the image that was built")
    install.add_argument("--memory", type=int, default=512, help="Kubernetes: most memory of the service, in MiB")
    install.add_argument(
        "--plugin-image", help="Kubernetes: image of the smarter device manager, to find Coral devices"
    )
    serving.flags(install)


def run(options: argparse.Namespace) -> int:
    """Print or write."""
    from edgekit_runtime.install import container, kubernetes, systemd
    from edgekit_runtime.install.settings import settings

    if options.now and (options.kind != "systemd" or options.output):
        raise UsageError("--now is for --systemd on this machine", "leave it, or --output")
    makes = {"systemd": systemd.plan, "container": container.plan, "k8s": kubernetes.plan}
    plan = makes[options.kind](options, settings(options))
    if options.now:
        _enable(plan.files, options.user)
    elif options.output:
        _write(plan.files, Path(options.output))
    if options.json:
        texts = {n: c for n, c in plan.files.items() if isinstance(c, str)}
        print(json.dumps({"files": texts, "commands": plan.commands, "notes": plan.notes}))
        return 0
    if options.now:
        print(f"enabled and started: {', '.join(plan.files)}")
    elif options.output:
        print("\n".join(f"wrote {Path(options.output) / name}" for name in plan.files))
    else:
        for name, content in plan.files.items():
            print(f"# ---- {name}")
            print(content if isinstance(content, str) else f"# {len(content)} bytes")
    if not options.now:
        print("# ---- then" if not options.output else "then:")
        print("\n".join(plan.commands))
    for note in plan.notes:
        print(f"# note: {note}")
    return 0


def _write(files: Any, folder: Path) -> None:
    try:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.part")
            part.write_bytes(content if isinstance(content, bytes) else content.encode())
            part.replace(path)
    except OSError as error:
        raise EdgekitError(f"cannot write into {folder} ({error.strerror or error})", "root may be needed") from error


def _enable(files: Any, user: bool) -> None:
    from edgekit_runtime.install.systemd import SYSTEM

    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    _write(files, home / "systemd/user" if user else Path(SYSTEM))
    control = ["systemctl", *(["--user"] if user else [])]
    for words in (["daemon-reload"], ["enable", "--now", *files]):
        try:
            done = subprocess.run(
                [*control, *words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
            )
        except OSError as error:
            raise MissingRequirement("there is no systemctl", "is this machine run by systemd?") from error
        if done.returncode:
            said = " ".join((done.stderr or done.stdout).split())[:300]
            raise EdgekitError(f"{' '.join([*control, *words])} failed: {said}", "journalctl -xe says more")
