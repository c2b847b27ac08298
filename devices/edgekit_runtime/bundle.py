"""The bundle: one `.edgekit` file that holds a manifest, models, golden samples and notes.

The format, whole: a zip archive whose members are stored (never compressed), start at multiples of 64 bytes so that
models can be memory-mapped, carry no dates, and are all listed with size and SHA-256 in ``manifest.json``, which is the
first member. Nothing else is allowed: no directories, links, encryption, duplicate or overlapping members, no bytes
between them, no names outside ``[A-Za-z0-9._-]`` with ``/`` between them. The bundle's digest is the SHA-256 of
``manifest.json``; through the hashes in it, it covers every byte that is ever used. Equal contents give an equal file.

Reading needs the standard library alone.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Callable, Optional, Union

from edgekit_runtime.archive import ALIGNMENT, blocks, check_member_name, read_directory, store
from edgekit_runtime.atomic import replacing
from edgekit_runtime.errors import BundleError
from edgekit_runtime.manifest import Manifest, Member

__all__ = ["ALIGNMENT", "MANIFEST", "MAX_MANIFEST_BYTES", "Bundle", "write_bundle"]

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 16 * 2**20
"""Room for a vocabulary of a million words; what a small board can still parse."""


class Bundle:
    """An opened bundle: a checked manifest and access to its members.

    The manifest and the archive's structure are checked when it is opened; a member's hash is checked the first time
    it is read. Use `verify` to check every member at once.

    Attributes:
        path: The file.
        manifest: What it says about itself.
        digest: SHA-256 of the manifest, which names this bundle.
    """

    def __init__(self, path: Union[str, os.PathLike[str]]) -> None:
        self.path = Path(path)
        try:
            if not stat.S_ISREG(self.path.stat().st_mode):  # opening a pipe would wait for ever
                raise BundleError(f"cannot open bundle {self.path}: it is not a file")
            self._file: IO[bytes] = self.path.open("rb")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise BundleError(f"cannot open bundle {self.path}: {why}") from error
        try:
            self._members = read_directory(self._file, self.path)
            if MANIFEST not in self._members:
                raise BundleError(f"{self.path} is a zip file but not an edgekit bundle: it has no {MANIFEST}")
            raw = self._read_manifest()
            self.digest = hashlib.sha256(raw).hexdigest()
            try:
                self.manifest = Manifest.from_json(raw)
            except BundleError as error:
                raise BundleError(f"{self.path}: {error.message}", error.hint) from error
            self._check_listing()
        except BaseException:
            self._file.close()
            raise
        self._verified: set[str] = set()
        self._map: Optional[mmap.mmap] = None

    @classmethod
    def open(cls, path: Union[str, os.PathLike[str]]) -> Bundle:
        """Open and check a bundle.

        Raises:
            BundleError: Missing, truncated, altered, hostile, or of another major version.
        """
        return cls(path)

    def read(self, member: str) -> bytes:
        """The bytes of a member, after its hash was checked.

        Raises:
            BundleError: No such member, or its content was altered.
        """
        return bytes(self.view(member))

    def view(self, member: str) -> memoryview:
        """A member's bytes without a copy: a read-only view into the memory-mapped file.

        The view stays valid as long as the bundle is open. Its start is aligned to `ALIGNMENT` bytes in every bundle
        that `write_bundle` made.

        Raises:
            BundleError: No such member, or its content was altered.
        """
        if member not in self.manifest.files:
            raise BundleError(f"{self.path} has no member {member!r}")
        offset, size = self._members[member]
        if self._map is None:
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        view = memoryview(self._map)[offset : offset + size]
        if member not in self._verified:
            if hashlib.sha256(view).hexdigest() != self.manifest.files[member].sha256:
                raise BundleError(f"{self.path}: member {member!r} was altered", "fetch or export the bundle again")
            self._verified.add(member)
        return view

    def extract(self, member: str, folder: Union[str, os.PathLike[str]]) -> Path:
        """Write one member into `folder` under its own file name and return its path."""
        target = Path(folder) / member.rsplit("/", 1)[-1]
        target.write_bytes(self.view(member))
        return target

    def verify(self) -> None:
        """Check the hash of every member.

        Raises:
            BundleError: A member was altered.
        """
        for member in self.manifest.files:
            self.view(member)

    def close(self) -> None:
        """Close the file. Views that are still in use keep their memory until they are dropped."""
        if self._map is not None:
            try:
                self._map.close()
            except BufferError:  # an interpreter still looks at a model: the mapping goes when it does
                pass
            self._map = None
        self._file.close()

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def _read_manifest(self) -> bytes:
        offset, size = self._members[MANIFEST]
        if size > MAX_MANIFEST_BYTES:
            raise BundleError(f"{self.path}: the manifest is larger than {MAX_MANIFEST_BYTES:,} bytes")
        self._file.seek(offset)
        return self._file.read(size)

    def _check_listing(self) -> None:
        listed = self.manifest.files
        present = set(self._members) - {MANIFEST}
        for name in sorted(present ^ set(listed)):
            what = "is missing from the file" if name in listed else "is not listed in the manifest"
            raise BundleError(f"{self.path}: member {name!r} {what}", "fetch or export the bundle again")
        for name, member in listed.items():
            if self._members[name][1] != member.bytes:
                raise BundleError(f"{self.path}: member {name!r} does not have the size that the manifest states")


def write_bundle(
    path: Union[str, os.PathLike[str]],
    manifest: Manifest,
    members: Mapping[str, Union[bytes, Path]],
    *,
    overwrite: bool = False,
    prove: Optional[Callable[[Bundle], object]] = None,
) -> str:
    """Write a bundle in one atomic step: it is there whole, or not at all.

    Args:
        path: The file to make.
        manifest: Its `files` are filled in here.
        members: Member name to content, or to the file that holds it.
        overwrite: Whether an existing file may be replaced.
        prove: Called with the finished bundle before it gets its name; what it raises leaves no bundle, and an
            existing one as it was.

    Returns:
        The digest of the bundle.

    Raises:
        BundleError: The file exists, a name is not allowed, or it cannot be written (a full disk, for one).
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise BundleError(f"{path} exists already", "give --overwrite or another --output")
    if MANIFEST in members:
        raise BundleError(f"{MANIFEST} is made from the manifest and cannot be given as a member")
    for name in members:
        check_member_name(name, str(path))
    try:
        files = {name: _listed(content) for name, content in sorted(members.items())}
        manifest = manifest.replace(files=files)
        manifest.check()
        head = manifest.to_json()
        with replacing(path) as out:
            with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
                store(archive, out, MANIFEST, head, len(head))
                for name, content in sorted(members.items()):
                    if store(archive, out, name, content, files[name].bytes) != files[name].sha256:
                        raise BundleError(f"{content!s} was changed while it was packed", "export again")
            if prove is not None:
                out.flush()
                with Bundle.open(out.name) as finished:
                    prove(finished)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise BundleError(f"cannot write bundle {path}: {error.strerror or error}{where}") from error
    return hashlib.sha256(head).hexdigest()


def _listed(content: Union[bytes, Path]) -> Member:
    digest, size = hashlib.sha256(), 0
    for block in blocks(content):
        digest.update(block)
        size += len(block)
    return Member(bytes=size, sha256=digest.hexdigest())
