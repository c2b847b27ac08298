"""The server's outside: an address or a Unix socket, a token, uvicorn."""

from __future__ import annotations

import contextlib
import importlib.util
import ipaddress
import logging
import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

from edgekit_runtime.errors import EdgekitError, MissingRequirement, UsageError
from edgekit_runtime.monitor.device import Device
from edgekit_runtime.serve import bounded
from edgekit_runtime.serve.app import Application
from edgekit_runtime.serve.grpc import Endpoint
from edgekit_runtime.serve.heap import keep_pages
from edgekit_runtime.serve.models import Opening, Repository
from edgekit_runtime.serve.service import Service, pause

TOKEN_VARIABLE = "EDGEKIT_SERVE_TOKEN"  # noqa: S105
"""Environment variable that may hold the token."""

_MIN_TOKEN = 16
_GRACE = 10  # seconds for requests that run when the server is told to stop


@dataclass(frozen=True)
class Address:
    """Where to listen.

    Attributes:
        host: Name or number of an interface.
        port: TCP port, 0 for a free one.
        path: Unix socket instead; None for TCP.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    path: Optional[Path] = None

    @property
    def local(self) -> bool:
        """Whether only this machine can connect."""
        if self.path is not None or self.host == "localhost":
            return True
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return False


def read_token(path: Optional[str]) -> Optional[str]:
    """The token from a file, else from the environment; None for none.

    Raises:
        UsageError: The file cannot be read, or the token is too short or not plain text.
    """
    if path is None:
        text = os.environ.get(TOKEN_VARIABLE)
        if text is None:
            return None
        where = f"the environment variable {TOKEN_VARIABLE}"
    else:
        where = path
        try:
            text = Path(path).read_text("ascii")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is not ASCII"
            raise UsageError(f"cannot read the token from {path} ({why})") from error
    token = text.strip()
    if len(token) < _MIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(f"the token in {where} is not one word of {_MIN_TOKEN} or more printable characters")
    return token


def with_grpc(host: str, port: int, token: Optional[str], max_body: int) -> Endpoint:
    """Where gRPC listens beside HTTP.

    Raises:
        UsageError: No token beyond loopback.
        MissingRequirement, EdgekitError: As `Endpoint`.
    """
    if token is None and not Address(host, port).local:
        raise _open_to_all(host)
    return Endpoint(host, port, max_body)


def _open_to_all(host: str) -> UsageError:
    return UsageError(
        f"{host} can be reached from other machines, and there is no token",
        f"give --token-file or {TOKEN_VARIABLE}",
    )


def serve(
    bundles: Sequence[str],
    address: Address,
    *,
    token: Optional[str] = None,
    opening: Optional[Opening] = None,
    store: Optional[Path] = None,
    endpoint: Optional[Endpoint] = None,
    listening: Callable[[str, Repository], None],
) -> None:
    """Serve bundles until SIGTERM or SIGINT.

    Args:
        bundles: The files.
        address: Where.
        token: What requests must bring; needed where others than this machine can connect.
        opening: How bundles are opened.
        store: Folder of a store whose slots are served besides.
        endpoint: Where gRPC listens besides; None for nowhere.
        listening: Called with the URL and the models when connections are taken (models are not ready yet).

    Raises:
        MissingRequirement: uvicorn is not installed.
        UsageError: No token beyond loopback, or two bundles of one name.
        BundleError: A file is not a bundle.
        EdgekitError: The address cannot be had.
    """
    if importlib.util.find_spec("uvicorn") is None:
        raise MissingRequirement(
            "serving needs uvicorn, which is not installed", 'pip install "edgekit-runtime[serve]"'
        )
    if token is None and not address.local:
        raise _open_to_all(address.host)
    repository = Repository(bundles, opening, store)
    application = Application(repository, token=token, device=Device(), regularly=Service(), beat=pause())
    with _listen(address) as taken:
        where = f"unix:{address.path}" if address.path is not None else _url(taken)
        listening(where, repository)
        try:
            _run(application if endpoint is None else endpoint.around(application), taken)
        except SystemExit:  # uvicorn's way to say that the application did not start; older ones return
            if endpoint is None or not endpoint.problem:
                raise
    if endpoint is not None and endpoint.problem:
        raise EdgekitError(endpoint.problem)


def _run(application: Callable[..., Any], taken: socket.socket) -> None:
    import uvicorn

    keep_pages()
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises the signal again after it has stopped
        signal.signal(number, _stop)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    config = uvicorn.Config(
        application,
        http=bounded.protocol(),
        loop="uvloop" if importlib.util.find_spec("uvloop") else "asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE,
    )
    uvicorn.Server(config).run(sockets=[taken])


def _stop(number: int, frame: Any) -> None:
    raise SystemExit(0)


@contextlib.contextmanager
def _listen(address: Address) -> Any:
    """The listening socket; a Unix socket is for its owner alone, and goes when the server does."""
    if address.path is not None:
        taken = _unix(address.path)
    else:
        try:
            family, kind, protocol, _, name = socket.getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            taken = socket.socket(family, kind, protocol)
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(name)
        except (OSError, OverflowError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise EdgekitError(f"cannot listen on {address.host} port {address.port} ({why})") from error
    try:
        taken.listen(2048)
        yield taken
    finally:
        taken.close()
        if address.path is not None:
            address.path.unlink(missing_ok=True)


def _unix(path: Path) -> socket.socket:
    taken = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        if path.is_socket():  # left over, unless somebody answers
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                if probe.connect_ex(str(path)) == 0:
                    raise EdgekitError(f"another server listens on {path}")
            path.unlink()
        taken.bind(str(path))
    except OSError as error:
        taken.close()
        raise EdgekitError(f"cannot listen on {path} ({error.strerror or error})") from error
    finally:
        os.umask(before)
    return taken


def _url(taken: socket.socket) -> str:
    host, port = taken.getsockname()[:2]
    return f"http://[{host}]:{port}" if taken.family == socket.AF_INET6 else f"http://{host}:{port}"
