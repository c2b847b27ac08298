"""Who made a bundle: detached Ed25519 signatures, held against keys that were pinned before.

A signature lies beside its bundle, as ``NAME.edgekit.sig``: one JSON object with `Signature`'s fields. It covers the
text ``edgekit bundle signature v1``, a line feed and the bundle's digest in hex; the digest covers the manifest, and
the hashes in it every byte that is ever used. Ed25519: RFC 8032. Keys: PEM files, RFC 8410.

Reading keys and signatures needs the standard library alone, checking one needs ``cryptography`` (extra ``agent``).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import importlib.util
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

from edgekit_runtime.errors import MissingRequirement, SignatureError, UsageError
from edgekit_runtime.plain import PlainDataError, decode, encode

ALGORITHM = "ed25519"
SUFFIX = ".sig"
KEYS_VARIABLE = "EDGEKIT_KEYS"
"""Environment variable with the files of pinned keys, separated as paths are in PATH."""

_HEAD = b"edgekit bundle signature v1\n"
_PUBLIC = bytes.fromhex("302a300506032b6570032100")  # SubjectPublicKeyInfo of Ed25519; the key's 32 bytes follow
_MAX_FILE = 64 * 1024

_Path = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class PublicKey:
    """A key that signatures are checked with.

    Attributes:
        raw: Its 32 bytes.
    """

    raw: bytes

    @property
    def id(self) -> str:
        """What it is called: the first 16 hex digits of its SHA-256."""
        return hashlib.sha256(self.raw).hexdigest()[:16]


@dataclass(frozen=True)
class Signature:
    """A signature of one bundle.

    Attributes:
        algorithm: ``ed25519``.
        key: `PublicKey.id` of the key that it was made with.
        digest: Digest of the bundle.
        signature: 64 bytes in base64.
    """

    algorithm: str
    key: str
    digest: str
    signature: str

    def to_json(self) -> bytes:
        """As it is written."""
        return (json.dumps(encode(self), indent=2) + "\n").encode()


def message(digest: str) -> bytes:
    """What a signature of a bundle covers."""
    return _HEAD + digest.encode("ascii")


def signature_path(bundle: _Path) -> Path:
    """Where a bundle's signature lies."""
    return Path(f"{os.fspath(bundle)}{SUFFIX}")


def parse_signature(content: bytes, where: str) -> Signature:
    """A signature as it is written.

    Raises:
        SignatureError: It is none.
    """
    try:
        return decode(Signature, json.loads(content))
    except (ValueError, RecursionError, PlainDataError) as error:
        raise SignatureError(f"{where} is no signature ({error})", "sign the bundle again") from error


def read_signature(bundle: _Path) -> Optional[Signature]:
    """The signature beside a bundle; None where there is none.

    Raises:
        SignatureError: It cannot be read, or is no signature.
    """
    path = signature_path(bundle)
    try:
        content = _small(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SignatureError(f"cannot read {path} ({error.strerror or error})") from error
    return parse_signature(content, str(path))


def read_public_key(path: _Path) -> PublicKey:
    """A public key from a PEM file.

    Raises:
        UsageError: It cannot be read, or is no public Ed25519 key.
    """
    try:
        lines = _small(Path(path)).decode("ascii").strip().splitlines()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(f"cannot read the key {os.fspath(path)} ({why})") from error
    if any("PRIVATE" in line for line in lines):
        raise UsageError(
            f"{os.fspath(path)} is a private key", "pin the public one; keep this where bundles are signed"
        )
    try:
        if lines[:1] != ["-----BEGIN PUBLIC KEY-----"] or lines[-1:] != ["-----END PUBLIC KEY-----"]:
            raise ValueError
        content = base64.b64decode("".join(lines[1:-1]), validate=True)
        if len(content) != len(_PUBLIC) + 32 or not content.startswith(_PUBLIC):
            raise ValueError
    except (ValueError, binascii.Error) as error:
        raise UsageError(
            f"{os.fspath(path)} is no public Ed25519 key in PEM form", "edgekit bundle keygen makes one"
        ) from error
    return PublicKey(content[len(_PUBLIC) :])


def pinned_keys(paths: Sequence[_Path] = ()) -> tuple[PublicKey, ...]:
    """Keys from files, else from those that ``EDGEKIT_KEYS`` names.

    Raises:
        UsageError: One cannot be read.
    """
    found = list(paths) or [p for p in os.environ.get(KEYS_VARIABLE, "").split(os.pathsep) if p]
    return tuple(read_public_key(p) for p in found)


def check(signature: Signature, digest: str, keys: Sequence[PublicKey]) -> PublicKey:
    """Hold a signature against pinned keys.

    Args:
        signature: As it came.
        digest: Of the bundle that is there.
        keys: Those that may sign.

    Returns:
        The key that signed.

    Raises:
        SignatureError: It is of another bundle, by a key that is not pinned, or wrong.
        MissingRequirement: ``cryptography`` is not installed.
    """
    if signature.algorithm != ALGORITHM:
        raise SignatureError(f"the signature is of kind {signature.algorithm!r:.40}, not {ALGORITHM}")
    if signature.digest != digest:
        raise SignatureError(
            f"the signature is of bundle {signature.digest[:16]}, this is {digest[:16]}",
            "fetch the one that belongs to it",
        )
    key = next((k for k in keys if k.id == signature.key), None)
    if key is None:
        pinned = ", ".join(k.id for k in keys) or "no key"
        raise SignatureError(f"key {signature.key[:40]} signed it, which is not pinned here", f"pinned: {pinned}")
    if importlib.util.find_spec("cryptography") is None:
        raise MissingRequirement(
            "checking signatures needs cryptography, which is not installed", 'pip install "edgekit-runtime[agent]"'
        )
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        content = base64.b64decode(signature.signature, validate=True)
        Ed25519PublicKey.from_public_bytes(key.raw).verify(content, message(digest))
    except (InvalidSignature, ValueError) as error:
        raise SignatureError(f"the signature by key {key.id} is wrong", "fetch bundle and signature again") from error
    return key


def check_bundle(bundle: _Path, digest: str, keys: Sequence[PublicKey]) -> PublicKey:
    """Hold the signature beside a bundle against pinned keys.

    Raises:
        SignatureError: There is none, or as `check`.
        MissingRequirement: As `check`.
    """
    signature = read_signature(bundle)
    if signature is None:
        raise SignatureError(f"{os.fspath(bundle)} is not signed: there is no {signature_path(bundle).name} beside it",
                             "edgekit bundle sign makes it")  # fmt: skip
    return check(signature, digest, keys)


def _small(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_MAX_FILE + 1)
    if len(content) > _MAX_FILE:
        raise ValueError(f"{path} is larger than {_MAX_FILE} bytes")
    return content
