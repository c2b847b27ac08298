"""The fleet server as a process: its address, its tokens, its end."""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import signal
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import SdkError
from edgekit.fleet.options import ENROLMENT, Options
from edgekit_runtime.atomic import replacing
from edgekit_runtime.errors import MissingRequirement, UsageError

SERVER_FILE = "server.json"
"""In the server's folder while it runs: where clients on the same machine find it."""


@dataclass(frozen=True)
class Address:
    """Where the server listens.

    Attributes:
        host: Name or number of the interface.
        port: 0 for one that is free.
        cert: PEM file of the certificate and its chain.
        key: PEM file of its private key.
        insecure_http: Whether others may talk to it without encryption.
    """

    host: str = "127.0.0.1"
    port: int = 8443
    cert: Path | None = None
    key: Path | None = None
    insecure_http: bool = False

    def check(self) -> None:
        """Refuse what would carry secrets in the clear.

        Raises:
            UsageError: It would, or the certificate cannot be read.
        """
        if (self.cert is None) != (self.key is None):
            raise UsageError("a certificate needs its key, and a key its certificate", "give --cert and --key")
        if self.cert is None or self.key is None:
            if not loopback(self.host) and not self.insecure_http:
                raise UsageError(
                    f"{self.host} would carry secrets in the clear", "give --cert and --key, or --insecure-http"
                )
            return
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(self.cert, self.key)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"cannot use the certificate {self.cert} with the key {self.key} ({error})") from error


def serve(root: Path, address: Address, options: Options, started: Callable[[str, Path], None]) -> None:
    """Serve until told to stop (SIGINT, SIGTERM).

    Args:
        root: Folder of the fleet.
        address: Where to listen.
        options: How the fleet is kept.
        started: Called with the URL and the file of the enrolment token once devices may come.

    Raises:
        UsageError: The address would carry secrets in the clear, or cannot be had.
        MissingRequirement: The extra ``fleet`` is not installed.
    """
    address.check()
    try:
        import uvicorn

        from edgekit.fleet.server import application
        from edgekit.fleet.service import Service
    except ImportError as error:
        raise MissingRequirement(f"the fleet server needs {error.name}", 'pip install "edgekit[fleet]"') from error
    service = Service(root, options)
    try:
        listening = _listen(address)
    except BaseException:
        service.close()
        raise
    url = _url(address, listening.getsockname()[1])
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    more: dict[str, Any] = {}
    if address.cert is not None and address.key is not None:
        more = {"ssl_certfile": str(address.cert), "ssl_keyfile": str(address.key)}
    config = uvicorn.Config(
        application(service), access_log=False, log_level="warning", lifespan="on", server_header=False,
        timeout_keep_alive=30, timeout_graceful_shutdown=10, **more,
    )  # fmt: skip
    place = root / SERVER_FILE
    with replacing(place) as out:
        said = {"url": url, "pid": os.getpid(), "ca": str(address.cert.resolve()) if address.cert else None}
        out.write(json.dumps(said).encode())
    started(url, root / "tokens" / ENROLMENT)
    for number in (signal.SIGINT, signal.SIGTERM):
        # uvicorn stops on them, and then raises them anew: that must not end the process before the lines below
        signal.signal(number, lambda *_: None)
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        place.unlink(missing_ok=True)
        listening.close()


def _listen(address: Address) -> socket.socket:
    try:
        family, _, _, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(where)
        made.listen(1024)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise SdkError(f"cannot listen on {address.host}:{address.port} ({why})") from error
    return made


def _url(address: Address, port: int) -> str:
    host = address.host
    if host in ("0.0.0.0", "::"):  # noqa: S104 - it is what was asked for
        host = "localhost" if address.cert else "127.0.0.1"
    return f"{'https' if address.cert else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def loopback(host: str) -> bool:
    """Whether an address is of this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
