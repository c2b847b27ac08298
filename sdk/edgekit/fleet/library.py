"""Bundles that the server gives out: checked when they come, kept under their digest."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

from sqlalchemy.orm import Session

from edgekit.fleet.errors import FleetError
from edgekit.fleet.models import Bundle as Row
from edgekit_runtime import Bundle
from edgekit_runtime.errors import BundleError, SignatureError
from edgekit_runtime.manifest import Manifest
from edgekit_runtime.plain import encode
from edgekit_runtime.signing import ALGORITHM, Signature, parse_signature

_RESERVE = 64 * 2**20  # bytes that an upload leaves free


@dataclass(frozen=True)
class Received:
    """An upload that was looked at.

    Attributes:
        path: Where it lies for now.
        digest: Of the bundle.
        manifest: What it says about itself.
        size: Bytes of the file.
        sha256: Hex hash of the file.
        signature: Who signed it; None for nobody.
    """

    path: Path
    digest: str
    manifest: Manifest
    size: int
    sha256: str
    signature: Signature | None


class Library:
    """Bundles in a folder.

    Args:
        root: The folder.
        max_bytes: Size of a bundle that is taken.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        self.root, self.max_bytes = root, max_bytes
        self._incoming = root / "incoming"
        shutil.rmtree(self._incoming, ignore_errors=True)  # what an earlier run broke off
        self._incoming.mkdir(parents=True)
        self.manifest: Callable[[str], Manifest | None] = lru_cache(maxsize=32)(self._manifest)
        """Of a digest; None where the bundle is not here."""

    def path(self, digest: str) -> Path:
        """Where a bundle's file is."""
        return self.root / f"{digest}.edgekit"

    def incoming(self) -> Upload:
        """Room for an upload."""
        return Upload(self._incoming / uuid.uuid4().hex, self.max_bytes)

    def take(self, session: Session, came: Received, now: float) -> Row:
        """Keep an upload under its digest; the signature of one that is known is renewed.

        Args:
            session: One that writes.
            came: The upload.
            now: Seconds since 1970.
        """
        signature = None
        if came.signature is not None:
            signature = {k: v for k, v in encode(came.signature).items() if k != "digest"}
        row = session.get(Row, came.digest)
        if row is None:
            came.path.replace(self.path(came.digest))
            _sync(self.root)
            row = Row(
                digest=came.digest,
                name=came.manifest.name,
                target=came.manifest.target,
                size=came.size,
                sha256=came.sha256,
                signature=signature,
                added=now,
            )
            session.add(row)
            session.flush()
        elif signature is not None:
            row.signature = signature
        self.manifest.cache_clear()  # type: ignore[attr-defined]
        return row

    def _manifest(self, digest: str) -> Manifest | None:
        if len(digest) != 64 or not digest.isalnum():
            return None
        try:
            with Bundle.open(self.path(digest)) as bundle:
                return bundle.manifest
        except BundleError:
            return None


class Upload:
    """A file that is coming in; it vanishes unless it is taken.

    Args:
        path: Where it goes.
        max_bytes: How much is taken.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path, self._max = path, max_bytes
        self._size, self._hash = 0, hashlib.sha256()
        self._out: IO[bytes] = path.open("xb")

    def write(self, block: bytes) -> None:
        """Add bytes.

        Raises:
            FleetError: It is too large, or there is no room.
        """
        self._size += len(block)
        if self._size > self._max:
            raise FleetError(413, f"a bundle may have {self._max:,} bytes", "start the server with --max-bundle-mib")
        if shutil.disk_usage(self.path.parent).free < _RESERVE:
            raise FleetError(507, "there is no room for the bundle on the server's disk")
        self._hash.update(block)
        try:
            self._out.write(block)
        except OSError as error:
            raise FleetError(507, f"the bundle cannot be kept ({error.strerror or error})") from error

    def finish(self, signature: bytes | None) -> Received:
        """Look at what came.

        Args:
            signature: As it lies beside the bundle; None where there is none.

        Raises:
            FleetError: It is no bundle, was altered, or the signature is of another one.
        """
        try:
            self._out.flush()
            os.fsync(self._out.fileno())
            self._out.close()
            with Bundle.open(self.path) as bundle:
                bundle.verify()
                digest, manifest = bundle.digest, bundle.manifest
            made = None if signature is None else parse_signature(signature, "the signature")
        except (BundleError, SignatureError) as error:
            said = str(error).replace(str(self.path), "the upload")
            raise FleetError(422, said) from error
        if made is not None and (made.digest != digest or made.algorithm != ALGORITHM):
            raise FleetError(422, f"the signature is not an {ALGORITHM} one of bundle {digest[:16]}", "sign it again")
        return Received(self.path, digest, manifest, self._size, self._hash.hexdigest(), made)

    def close(self) -> None:
        """Drop what was not taken."""
        self._out.close()
        self.path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
