"""The operator's side: calls of a fleet server, over the standard library's HTTP client."""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from edgekit.fleet.errors import ServerError
from edgekit.fleet.host import SERVER_FILE, loopback
from edgekit_runtime import Bundle
from edgekit_runtime.errors import SignatureError, UsageError
from edgekit_runtime.signing import read_signature, signature_path

SERVER_VARIABLE, TOKEN_VARIABLE = "EDGEKIT_FLEET_SERVER", "EDGEKIT_FLEET_TOKEN"
"""Environment variables with the server's address and the operator's token."""

_LARGEST = 256 * 2**20


@dataclass(frozen=True)
class Where:
    """How to reach a server.

    Attributes:
        server: Its address; None for the environment's, or a server on this machine.
        token_file: File of the operator's token; None for the environment's, or that server's own.
        data: Folder of a server on this machine.
        ca: PEM file of the authorities to believe; None for the system's.
        insecure_http: Whether ``http`` to another machine is taken.
    """

    server: str | None = None
    token_file: Path | None = None
    data: Path = Path("edgekit-fleet")
    ca: Path | None = None
    insecure_http: bool = False


class Client:
    """One fleet server.

    Args:
        url: Its address.
        token: The operator's.
        ca: PEM file of the authorities to believe.
        insecure: Whether ``http`` to another machine is taken.
        timeout: Seconds without a byte after which it is taken to be gone.

    Raises:
        UsageError: The address is none, would carry the token in the clear, or the authorities cannot be read.
    """

    def __init__(
        self, url: str, token: str, *, ca: str | None = None, insecure: bool = False, timeout: float = 60.0
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        try:
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise UsageError(f"{url!r:.120} is not an address ({error})") from error
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.username:
            raise UsageError(f"{url!r:.120} is not the address of a server", "give https://HOST[:PORT]")
        if parts.scheme == "http" and not insecure and not loopback(host):
            raise UsageError(f"{url} would carry the operator's token in the clear", "give https, or --insecure-http")
        if not token.isascii() or not token.isprintable():
            raise UsageError("the operator's token holds characters that no token has")
        self.url, self._host, self._port, self._base = url, host, port, parts.path.rstrip("/")
        self._token, self._timeout = token, timeout
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            try:
                self._tls = ssl.create_default_context(cafile=ca)
            except (OSError, ssl.SSLError) as error:
                raise UsageError(f"cannot read the authorities in {ca} ({error})") from error

    @classmethod
    def find(cls, where: Where) -> Client:
        """The server that is meant: named, in the environment, or in a folder of this machine.

        Raises:
            UsageError: None is.
        """
        server = where.server or os.environ.get(SERVER_VARIABLE)
        ca = None if where.ca is None else str(where.ca)
        if server is None:
            try:
                said = json.loads((where.data / SERVER_FILE).read_bytes())
                server, ca = str(said["url"]), ca or said["ca"]
            except FileNotFoundError as error:
                raise UsageError(
                    f"no fleet server runs on {where.data}",
                    f"start edgekit fleet serve, or give --server or {SERVER_VARIABLE}",
                ) from error
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise UsageError(f"{where.data / SERVER_FILE} cannot be read ({error})") from error
            return cls(server, _token(where) or _read(where.data / "tokens" / "operator"), ca=ca, insecure=True)
        token = _token(where)
        if token is None:
            raise UsageError(f"{server} wants the operator's token", f"give --token-file or {TOKEN_VARIABLE}")
        return cls(server, token, ca=ca, insecure=where.insecure_http)

    def call(self, method: str, path: str, message: object = None) -> dict[str, Any]:
        """Ask, and read the answer.

        Args:
            method: Of HTTP.
            path: Under ``/api/v1/fleet``, with its slash.
            message: JSON data; None for none.

        Raises:
            ServerError: No answer, or a refusal.
        """
        body = None if message is None else json.dumps(message).encode()
        return self._send(method, path, body, {"Content-Type": "application/json"})

    def upload(self, bundle: Path, *, allow_unsigned: bool = False) -> dict[str, Any]:
        """Send a bundle and the signature beside it.

        Raises:
            SignatureError: There is none, or it is of another bundle.
            BundleError: It is none, or was altered.
            ServerError: As `call`.
        """
        with Bundle.open(bundle) as opened:
            opened.verify()
            digest = opened.digest
        signature = read_signature(bundle)
        if signature is None and not allow_unsigned:
            raise SignatureError(
                f"{bundle} is not signed: there is no {signature_path(bundle).name} beside it",
                "edgekit bundle sign makes it; --allow-unsigned sends it to devices that take such",
            )
        if signature is not None and signature.digest != digest:
            raise SignatureError(
                f"{signature_path(bundle)} is of bundle {signature.digest[:16]}, this is {digest[:16]}"
            )
        head = {"Content-Type": "application/octet-stream", "Content-Length": str(bundle.stat().st_size)}
        if signature is not None:
            head["Edgekit-Signature"] = base64.b64encode(signature.to_json()).decode()
        with bundle.open("rb") as file:
            return self._send("POST", "/bundles", file, head)

    def _send(self, method: str, path: str, body: bytes | IO[bytes] | None, head: Mapping[str, str]) -> dict[str, Any]:
        connection: http.client.HTTPConnection
        if self._tls is not None:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._tls)
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        try:
            head = {**head, "Authorization": f"Bearer {self._token}"}
            try:
                connection.request(method, f"{self._base}/api/v1/fleet{path}", body, head)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it may have refused before it had read all: its answer says why
            response = connection.getresponse()
            content = response.read(_LARGEST)
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or error or type(error).__name__
            raise ServerError(f"the fleet server {self.url} does not answer ({why})") from error
        finally:
            connection.close()
        try:
            said = json.loads(content)
            if response.status == 200 and isinstance(said, dict):
                return said
            sentence = str(said["error"])
        except (ValueError, KeyError, TypeError, RecursionError):
            sentence = f"{self.url} answers {response.status}, and not as a fleet server does"
        refused = ServerError(" ".join(sentence.split())[:500])
        refused.status = response.status
        raise refused


def _token(where: Where) -> str | None:
    if where.token_file is not None:
        return _read(where.token_file)
    return os.environ.get(TOKEN_VARIABLE) or None


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not ASCII"
        raise UsageError(f"cannot read the operator's token from {path} ({why})") from error
