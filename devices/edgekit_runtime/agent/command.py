"""``edgekit-runtime agent``."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, Optional

from edgekit_runtime.errors import UsageError

TOKEN_VARIABLE = "EDGEKIT_AGENT_TOKEN"  # noqa: S105
"""Environment variable that may hold the enrolment token."""

DEFAULT_ROOT = "/var/lib/edgekit"


def add(verbs: Any, common: argparse.ArgumentParser) -> None:
    """Register the verb."""
    agent = verbs.add_parser("agent", parents=[common], help="take bundles from a fleet server, prove and serve them")
    agent.add_argument("--server", required=True, help="https address of the fleet server")
    agent.add_argument("--token-file", help=f"file with the enrolment token, for the first time; else {TOKEN_VARIABLE}")
    agent.add_argument("--name", help="what this device is called; its host name by default")
    agent.add_argument("--group", action="append", default=[], help="group to be in; several may be given")
    agent.add_argument("--root", default=DEFAULT_ROOT, help="folder of the store and the agent's own files")
    agent.add_argument("--key", action="append", default=[], help="public key that may sign bundles; else EDGEKIT_KEYS")
    agent.add_argument("--allow-unsigned", action="store_true", help="take bundles that nobody signed")
    agent.add_argument("--ca", help="PEM file of the authorities to believe; the system's by default")
    agent.add_argument("--insecure-http", action="store_true", help="talk to another machine without encryption")
    agent.add_argument("--poll-seconds", type=float, help="how often to poll; the server says otherwise")
    agent.add_argument("--serve-socket", help="Unix socket of a serving process that runs already on the same store")
    agent.add_argument("--serve-port", type=int, help="TCP port on this machine to serve models on; a Unix socket else")
    agent.add_argument("--window", type=float, default=300.0, help="seconds of a monitoring window")
    agent.add_argument("--threads", type=int, help="threads for one inference")


def run(options: argparse.Namespace) -> int:
    """Go on until told to stop."""
    from edgekit_runtime.agent.link import Link
    from edgekit_runtime.agent.protocol import check_device
    from edgekit_runtime.agent.resident import Agent
    from edgekit_runtime.agent.server_process import ServerProcess
    from edgekit_runtime.agent.serving import Serving
    from edgekit_runtime.agent.store import Store
    from edgekit_runtime.agent.talk import Settings
    from edgekit_runtime.signing import KEYS_VARIABLE, pinned_keys

    keys = tuple(options.key) or tuple(k for k in os.environ.get(KEYS_VARIABLE, "").split(os.pathsep) if k)
    pinned_keys(keys)  # what is wrong with a key is said now, not at the first bundle
    if not keys and not options.allow_unsigned:
        raise UsageError("no key is pinned, so that no bundle could be taken", "give --key, or --allow-unsigned")
    if options.poll_seconds is not None and not 0.1 <= options.poll_seconds <= 86400:
        raise UsageError(f"--poll-seconds {options.poll_seconds} is not between 0.1 and 86400")
    try:
        name = check_device(options.name or socket.gethostname())
    except ValueError as error:
        raise UsageError(str(error), "give --name") from error
    if not 1 <= options.window <= 86400:
        raise UsageError(f"--window {options.window} is not between 1 and 86400")
    if options.serve_port is not None and not 1 <= options.serve_port <= 65535:
        raise UsageError(f"--serve-port {options.serve_port} is not between 1 and 65535")
    if options.serve_socket is not None and options.serve_port is not None:
        raise UsageError("--serve-socket is of a server that runs already, --serve-port of one to start", "give one")
    link = Link(options.server, ca=options.ca, insecure=options.insecure_http)
    store = Store(options.root)
    own = store.root / "agent" / "serve.sock"
    server: Optional[ServerProcess] = None
    if options.serve_socket is not None:
        serving = Serving(path=Path(options.serve_socket))
    else:
        port = options.serve_port
        more = [f"--socket={own}"] if port is None else [f"--port={port}"]
        more += [f"--key={key}" for key in keys]
        more += [] if options.threads is None else [f"--threads={options.threads}"]
        more += [f"--window={options.window}"]
        server = ServerProcess(store.root, more, time.monotonic)
        serving = Serving(path=own) if port is None else Serving(port=port)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    settings = Settings(name, _token(options.token_file), tuple(options.group), options.poll_seconds, options.window)
    agent = Agent(settings, store, link, serving, server=server, keys=keys, allow_unsigned=options.allow_unsigned)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    agent.run(stop)
    return 0


def _token(path: Optional[str]) -> Optional[str]:
    if path is None:
        return os.environ.pop(TOKEN_VARIABLE, "") or None  # children, which run models, need not know it
    try:
        return Path(path).read_text("ascii").strip() or None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not ASCII"
        raise UsageError(f"cannot read the token from {path} ({why})") from error
