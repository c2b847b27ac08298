"""Manifests for Kubernetes: a Deployment, or a DaemonSet on the nodes that have an accelerator."""

from __future__ import annotations

import argparse
import json
from typing import Any

from edgekit_runtime.errors import UsageError
from edgekit_runtime.install.container import command, image, refuse
from edgekit_runtime.install.files import Plan, fill
from edgekit_runtime.install.settings import Settings

# Of each accelerator: the resource that its device plug-in counts, and the class of runtime that it needs.
_ACCELERATORS = {"coral": ("smarter-devices/apex_0", None), "jetson": ("nvidia.com/gpu", "nvidia")}


def plan(options: argparse.Namespace, wanted: Settings) -> Plan:
    """The manifests; the token is made a Secret by a command, and is in no file.

    Raises:
        UsageError: There is no image or bundle, or an option is not for Kubernetes.
    """
    refuse(options, wanted, ("store", "socket", "key"))
    if not options.image:
        raise UsageError("there is no image to run", "build one with install --container, and give --image")
    if not 64 <= options.memory <= 2**20:
        raise UsageError(f"--memory {options.memory} is not between 64 and {2**20} MiB")
    unknown = set(wanted.devices) - set(_ACCELERATORS)
    if unknown or len(wanted.devices) > 1:
        raise UsageError(
            "--device takes one of coral and jetson for Kubernetes", "camera and USB need a unit of systemd"
        )
    if options.plugin_image and wanted.devices != ("coral",):
        raise UsageError("--plugin-image is for --device coral", "the makers of other devices have a plug-in")
    files = {f"{wanted.name}.yaml": _workload(options, wanted)}
    nodes = "kubectl label node NODE edgekit/{}=true"
    commands = [nodes.format(wanted.devices[0])] if wanted.devices else []
    notes = [f"{path} is not on this machine: the image must have it" for path in wanted.missing]
    if options.plugin_image:
        name = "edgekit-device-plugin.yaml"
        files = {name: fill("plugin.yaml", IMAGE=_text(image(options.plugin_image, "--plugin-image"))), **files}
    elif wanted.devices == ("coral",):
        notes.append(
            "the nodes' Coral devices must be known as smarter-devices/apex_0; --plugin-image writes what does it"
        )
    if wanted.devices:
        notes.append("manifests for accelerators are from their makers' documentation; no cluster has tried them")
    secret = f"kubectl create secret generic {wanted.name}-token --from-file=token={wanted.token_file or 'TOKEN_FILE'}"
    applied = " ".join(f"-f {name}" for name in files)
    return Plan(files, (*commands, secret, f"kubectl apply {applied}"), tuple(notes))


def _workload(options: argparse.Namespace, wanted: Settings) -> str:
    memory = f"{options.memory}Mi"
    requests: dict[str, str] = {"cpu": "250m", "memory": memory}
    limits: dict[str, str] = {"memory": memory}  # no limit of processor time: it would only delay answers
    runtime_class = nodes = ""
    for device in wanted.devices:
        resource, needed = _ACCELERATORS[device]
        limits[resource] = "1"
        nodes = f"nodeSelector: {_text({f'edgekit/{device}': 'true'})}"
        runtime_class = f"runtimeClassName: {needed}" if needed else ""
    every = bool(wanted.devices)
    return fill(
        "workload.yaml",
        KIND="DaemonSet" if every else "Deployment",
        NAME=wanted.name,
        REPLICAS="" if every else "replicas: 1",
        # one that is new must be ready before the old one goes; an accelerator cannot be had twice
        STRATEGY="updateStrategy: {type: RollingUpdate}"
        if every
        else "strategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}",
        RUNTIMECLASS=runtime_class,
        NODES=nodes,
        IMAGE=_text(image(options.image, "--image")),
        COMMAND=_text(command(wanted)),
        PORT=str(wanted.port),
        GRPCPORT="" if wanted.grpc_port is None else f"- {{name: grpc, containerPort: {wanted.grpc_port}}}",
        GRPCSERVICE="" if wanted.grpc_port is None else f"- {{name: grpc, port: {wanted.grpc_port}, targetPort: grpc}}",
        PORTTEXT=_text(str(wanted.port)),
        REQUESTS=_text(requests),
        LIMITS=_text(limits),
        SECRET=f"{wanted.name}-token",
        THREADS=_text(str(options.threads or 1)),
    )


def _text(value: Any) -> str:
    """A value as JSON, which YAML reads as it is: nothing in it can end it."""
    return json.dumps(value)
