"""Bundles on the device, by what they are and not by what they are called, and which of them answers.

```
ROOT/bundles/DIGEST.edgekit     the bundle with this digest, and DIGEST.edgekit.sig beside it
ROOT/slots/NAME.json            {"current": DIGEST, "previous": DIGEST or null}; NAME is the model's name
ROOT/agent/                     the agent's own: journal, secret, outbox, downloads that are not whole yet
```

A file has its name only when it is whole and on the disk, and a slot is replaced in one step, so that after a power cut
at any instant every slot points at a whole bundle. Needs the standard library alone.
"""

from __future__ import annotations

import json
import os
import re
import urllib.parse
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

from edgekit_runtime.agent.protocol import check_digest
from edgekit_runtime.atomic import replacing
from edgekit_runtime.errors import EdgekitError
from edgekit_runtime.plain import PlainDataError, decode, encode

_BUNDLE = re.compile(r"([0-9a-f]{64})\.edgekit")
_MAX_SLOT = 4096


class StoreError(EdgekitError):
    """The store cannot be read or written."""


@dataclass(frozen=True)
class Slot:
    """What answers under one model's name.

    Attributes:
        current: Digest of the bundle.
        previous: Digest of the one before it, to go back to; None for none.
    """

    current: str
    previous: Optional[str] = None

    def __post_init__(self) -> None:
        check_digest(self.current, "current")
        if self.previous is not None:
            check_digest(self.previous, "previous")


class Store:
    """The store in one folder. One process writes, any number read.

    Args:
        root: The folder.
        make: Whether to make what is not there; whoever only reads does not.

    Raises:
        StoreError: It cannot be made.
    """

    def __init__(self, root: Union[str, os.PathLike[str]], *, make: bool = True) -> None:
        self.root = Path(root)
        if not make:
            return
        try:
            for folder in ("bundles", "slots", "agent"):
                (self.root / folder).mkdir(parents=True, exist_ok=True)
            (self.root / "agent").chmod(0o700)
        except OSError as error:
            raise StoreError(f"cannot make the store {self.root} ({error.strerror or error})") from error

    def path(self, digest: str) -> Path:
        """Where the bundle of a digest is, or would be.

        Raises:
            ValueError: It is no digest.
        """
        return self.root / "bundles" / f"{check_digest(digest, 'a digest')}.edgekit"

    def has(self, digest: str) -> bool:
        """Whether the bundle is there, whole."""
        return self.path(digest).is_file()

    def digests(self) -> set[str]:
        """Digests of all bundles that are there."""
        return {m.group(1) for p in (self.root / "bundles").iterdir() if (m := _BUNDLE.fullmatch(p.name))}

    def adopt(self, whole: Path, digest: str, signature: Optional[bytes] = None) -> Path:
        """Take in a file that is whole, verified, and on the same disk; it is moved.

        Args:
            whole: The file.
            digest: Its bundle's digest, which the caller has checked.
            signature: What ``DIGEST.edgekit.sig`` shall hold; None for no signature.

        Raises:
            StoreError: It cannot be moved.
        """
        target = self.path(digest)
        try:
            if signature is not None:
                self.sign(digest, signature)
            _sync(whole)
            whole.replace(target)
            _sync(target.parent)
        except OSError as error:
            raise StoreError(f"cannot store {target.name} ({error.strerror or error})") from error
        return target

    def sign(self, digest: str, signature: bytes) -> None:
        """Put a signature beside where a bundle is, or will be.

        Raises:
            StoreError: It cannot be written.
        """
        target = Path(f"{self.path(digest)}.sig")
        try:
            with replacing(target) as out:
                out.write(signature)
        except OSError as error:
            raise StoreError(f"cannot write {target} ({error.strerror or error})") from error

    def slots(self) -> list[str]:
        """Names of all slots."""
        found = (p for p in (self.root / "slots").glob("*.json") if not p.name.startswith("."))
        return sorted(urllib.parse.unquote(p.stem) for p in found)

    def slot(self, name: str) -> Optional[Slot]:
        """What answers under a name; None for nothing.

        Raises:
            StoreError: The slot's file is not what it should be.
        """
        path = self._slot(name)
        try:
            content = path.read_bytes()[: _MAX_SLOT + 1]
            return decode(Slot, json.loads(content))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, PlainDataError) as error:
            raise StoreError(f"the slot {path} cannot be read ({error})", "point it at a bundle again") from error

    def point(self, name: str, digest: str) -> Slot:
        """Let a slot answer with another bundle, which must be there; what answered becomes the previous one.

        Pointing at what answers already changes nothing, so that it may be done twice.

        Raises:
            StoreError: The bundle is not there, or the slot cannot be written.
        """
        before = self.slot(name)
        if before is not None and before.current == digest:
            return before
        return self._write(name, Slot(digest, before.current if before else None))

    def go_back(self, name: str) -> Optional[Slot]:
        """Let a slot answer with its previous bundle again; None, and nothing done, where there is none.

        The bundle that is left is not kept as the previous one: nobody should go back to it.

        Raises:
            StoreError: The slot cannot be written.
        """
        before = self.slot(name)
        if before is None or before.previous is None or not self.has(before.previous):
            return None
        return self._write(name, Slot(before.previous))

    def restore(self, name: str, slot: Optional[Slot]) -> None:
        """Put a slot to what it was; None takes it away. A previous bundle that is gone is left out.

        Raises:
            StoreError: A bundle is not there any more, or the slot cannot be written.
        """
        if slot is not None:
            if slot.previous is not None and not self.has(slot.previous):
                slot = Slot(slot.current)
            self._write(name, slot)
            return
        try:
            self._slot(name).unlink(missing_ok=True)
            _sync(self.root / "slots")
        except OSError as error:
            raise StoreError(f"cannot remove the slot {name!r} ({error.strerror or error})") from error

    def clean(self, keep: Collection[str] = ()) -> list[str]:
        """Remove bundles that no slot names and that are not to be kept; the digests of those that went.

        A slot that cannot be read keeps everything: it may need any of them.

        Raises:
            StoreError: A slot cannot be read, or a file cannot be removed.
        """
        needed = set(keep)
        for name in self.slots():
            slot = self.slot(name)
            if slot is not None:
                needed |= {slot.current, slot.previous or slot.current}
        gone = sorted(self.digests() - needed)
        try:
            for digest in gone:
                self.path(digest).unlink(missing_ok=True)
                Path(f"{self.path(digest)}.sig").unlink(missing_ok=True)
            for leftover in self._leftovers():
                leftover.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot remove old bundles ({error.strerror or error})") from error
        return gone

    def _leftovers(self) -> Iterator[Path]:
        """What writers left that were killed."""
        for folder in ("bundles", "slots"):
            yield from (self.root / folder).glob(".*.part")

    def _slot(self, name: str) -> Path:
        # a model may be called anything; only letters, digits, _ . - ~ stand as they are, and no name begins with a dot
        quoted = urllib.parse.quote(name, safe="")
        if not quoted or len(quoted) > 200:
            raise StoreError(f"a slot cannot be called {name!r:.80}")
        return self.root / "slots" / f"{quoted.replace('.', '%2E', 1) if quoted.startswith('.') else quoted}.json"

    def _write(self, name: str, slot: Slot) -> Slot:
        for digest in (slot.current, slot.previous):
            if digest is not None and not self.has(digest):
                raise StoreError(f"bundle {digest[:16]} is not in the store {self.root}")
        path = self._slot(name)
        try:
            with replacing(path) as out:
                out.write(json.dumps(encode(slot)).encode())
            _sync(path.parent)
        except OSError as error:
            raise StoreError(f"cannot write the slot {path} ({error.strerror or error})") from error
        return slot


def _sync(path: Path) -> None:
    """Have a file, or a folder's names, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
