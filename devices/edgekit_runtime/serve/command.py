"""``edgekit-runtime serve``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from edgekit_runtime.errors import UsageError

_LIMITS = {
    "port": (0, 65535),
    "grpc_port": (0, 65535),
    "queue": (1, 10**6),
    "max_body": (1, 2048),
    "max_batch": (1, 256),
    "batch_delay": (0, 10_000),
    "stuck_after": (0.1, 86400),
    "restarts": (0, 1000),
    "window": (1, 86400),
}


def add(verbs: Any, common: argparse.ArgumentParser) -> None:
    """Register the verb."""
    flags(verbs.add_parser("serve", parents=[common], help="answer over HTTP until told to stop"))


def flags(server: argparse.ArgumentParser) -> None:
    """What a server can be told; `install` takes the same."""
    server.add_argument("bundles", nargs="*", help="the .edgekit files")
    server.add_argument("--store", help="folder of a store: every slot's current bundle is served")
    server.add_argument("--host", default="127.0.0.1", help="interface to listen on; beyond loopback a token is needed")
    server.add_argument("--port", type=int, default=8080, help="TCP port; 0 for a free one")
    server.add_argument("--socket", help="Unix socket to listen on instead")
    server.add_argument(
        "--grpc-port", type=int, help="TCP port for gRPC besides, on the same interface; 0 for a free one"
    )
    server.add_argument("--token-file", help="file with the token that requests bring; else EDGEKIT_SERVE_TOKEN")
    server.add_argument("--threads", type=int, help="threads for one inference")
    server.add_argument("--choose", action="store_true", help="run what is fastest here, measured the first time")
    server.add_argument("--trust", action="store_true", help="let native code in the bundles run")
    server.add_argument("--key", action="append", default=[], help="public key: native code it signed may run")
    server.add_argument("--queue", type=int, default=64, help="requests that may wait for each model")
    server.add_argument("--max-body", type=int, default=64, help="largest request body, in MiB")
    server.add_argument("--max-batch", type=int, default=1, help="requests that are run as one; 1 for no batching")
    server.add_argument("--batch-delay", type=float, default=0.0, help="ms that a request waits for others to batch")
    server.add_argument("--stuck-after", type=float, default=10.0, help="seconds after which an inference is stuck")
    server.add_argument(
        "--restarts", type=int, default=3, help="restarts in 10 minutes before the previous bundle runs"
    )
    server.add_argument(
        "--no-monitor", action="store_true", help="count requests alone, not what the models see and say"
    )
    server.add_argument("--window", type=float, default=300.0, help="seconds of a monitoring window")


def check(options: argparse.Namespace) -> None:
    """Hold every number to its limits.

    Raises:
        UsageError: One is beyond them.
    """
    for name, (least, most) in _LIMITS.items():
        value = getattr(options, name)
        if value is not None and not least <= value <= most:
            raise UsageError(f"--{name.replace('_', '-')} {value} is not between {least} and {most}")


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop."""
    from edgekit_runtime.serve.models import Opening, Repository
    from edgekit_runtime.serve.server import Address, read_token, serve, with_grpc
    from edgekit_runtime.signing import pinned_keys

    check(options)
    if not options.bundles and options.store is None:
        raise UsageError("there is nothing to serve", "give bundles or --store")

    pinned_keys(options.key)  # what is wrong with a key is said now

    token, max_body = read_token(options.token_file), options.max_body * 2**20
    endpoint = None if options.grpc_port is None else with_grpc(options.host, options.grpc_port, token, max_body)

    def listening(where: str, models: Repository) -> None:
        names = [m.name for m in models]
        if options.json:
            grpc = {"grpc": endpoint.where} if endpoint else {}
            print(json.dumps({"listening": where, **grpc, "models": names}), flush=True)
        else:
            beside = f" and grpc://{endpoint.where}" if endpoint else ""
            print(f"serving {', '.join(names) or 'an empty store'} on {where}{beside}", flush=True)

    serve(
        options.bundles,
        Address(options.host, options.port, Path(options.socket) if options.socket else None),
        token=token,
        store=None if options.store is None else Path(options.store),
        opening=Opening(
            trust=options.trust,
            keys=tuple(options.key),
            threads=options.threads,
            choose=options.choose,
            queue=options.queue,
            max_body=max_body,
            max_batch=options.max_batch,
            batch_delay=options.batch_delay / 1000,
            stuck_after=options.stuck_after,
            restarts=options.restarts,
            monitor=None if options.no_monitor else options.window,
        ),
        endpoint=endpoint,
        listening=listening,
    )
    return 0
