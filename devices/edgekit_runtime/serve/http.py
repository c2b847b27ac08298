"""HTTP without a socket: replies, refusals, bodies, compression, JSON."""

from __future__ import annotations

import importlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from edgekit_runtime.errors import EdgekitError

_AUTOMATIC = 32 + zlib.MAX_WBITS  # gzip and zlib, told apart by their first bytes
_GZIP = 16 + zlib.MAX_WBITS


class Refused(EdgekitError):
    """A request that gets no answer but a status and a sentence.

    Attributes:
        status: HTTP status.
        headers: Headers beside the usual ones.
    """

    def __init__(self, status: int, message: str, hint: str = "", headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message, hint)
        self.status = status
        self.headers = headers


@dataclass(frozen=True)
class Reply:
    """What is sent back.

    Attributes:
        status: HTTP status.
        body: Content.
        content_type: Its media type; empty for none.
        headers: Headers beside type and length.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()


def json_reply(value: Any, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """A reply of JSON."""
    return Reply(status, dump_json(value), "application/json", headers)


def error_reply(error: EdgekitError, status: int) -> Reply:
    """The refusal as Triton writes it: one object with ``error``."""
    return json_reply({"error": str(error)}, status, error.headers if isinstance(error, Refused) else ())


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# made once: json.loads and json.dumps make one for each call with settings
_DECODER = json.JSONDecoder(parse_constant=_no_constant)
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


def _orjson() -> Any:
    try:
        return importlib.import_module("orjson")
    except ImportError:
        return None


FAST = _orjson()
"""orjson, of the extra ``fast``; None where it is not installed."""


def load_json(content: bytes) -> Any:
    """JSON to plain data; NaN and Infinity are not JSON.

    Raises:
        Refused: 400, the content is not JSON.
    """
    try:
        if FAST is not None:
            return FAST.loads(content)
        return _DECODER.decode(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        why = " ".join(str(error).split())[:120] or "nested too deeply"
        raise Refused(400, f"the request is not valid JSON ({why})") from error


def dump_json(value: Any) -> bytes:
    """Plain data to JSON.

    Raises:
        Refused: 422, there is a NaN or an infinity in it, which JSON cannot say.
    """
    try:
        return _ENCODER.encode(value).encode()
    except ValueError as error:
        raise Refused(422, "the answer holds NaN or infinity, which JSON cannot say", "ask for binary data") from error


def unpack(body: bytes, encoding: str, limit: int) -> bytes:
    """A body without its compression, never larger than `limit` bytes.

    Raises:
        Refused: 415 for an unknown compression, 413 where it unpacks to more, 400 where it is damaged.
    """
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Refused(415, f"Content-Encoding {encoding[:40]!r} is not known here", "send gzip, deflate or none")
    machine = zlib.decompressobj(_AUTOMATIC)
    try:
        content = machine.decompress(body, limit + 1)
    except zlib.error as error:
        raise Refused(400, f"the body is not valid {encoding}") from error
    if len(content) > limit:
        raise too_large(limit)
    if not machine.eof or machine.unused_data:
        raise Refused(400, f"the {encoding} body is truncated or has bytes behind its end")
    return content


def packed(reply: Reply, accepted: str) -> Reply:
    """The reply, compressed if the client names one compression alone.

    That is how Triton's clients ask for it. The usual list of browsers and HTTP libraries gets plain bytes: compressing
    floats costs a small board more than the network.
    """
    kind = accepted.strip().lower()
    if kind not in ("gzip", "deflate") or not reply.body:
        return reply
    machine = zlib.compressobj(1, zlib.DEFLATED, _GZIP if kind == "gzip" else zlib.MAX_WBITS)
    body = machine.compress(reply.body) + machine.flush()
    return Reply(reply.status, body, reply.content_type, (*reply.headers, ("Content-Encoding", kind)))


def too_large(limit: int) -> Refused:
    """The refusal of a body beyond the limit."""
    return Refused(413, f"the body has more than {limit:,} bytes", "start the server with a larger --max-body")


def header(headers: Mapping[bytes, bytes], name: str) -> str:
    """A header's value; empty where it is missing."""
    return headers.get(name.encode(), b"").decode("latin-1")


def whole_number(text: str, name: str) -> Optional[int]:
    """A header's whole number, None where it is missing.

    Raises:
        Refused: 400, it is not one.
    """
    if not text:
        return None
    if len(text) > 15 or not text.isascii() or not text.isdigit():
        raise Refused(400, f"header {name} takes a whole number, not {text[:40]!r}")
    return int(text)


def deadline(headers: Mapping[bytes, bytes], arrived: float) -> Optional[float]:
    """When nobody waits for the answer any more, from ``Request-Timeout-Ms``; None for never."""
    milliseconds = whole_number(header(headers, "request-timeout-ms"), "Request-Timeout-Ms")
    return None if milliseconds is None else arrived + milliseconds / 1000
