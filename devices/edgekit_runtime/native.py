"""Native code out of a bundle: which build this machine runs, and whether it may be run at all."""

from __future__ import annotations

import os
import platform
import struct
from collections.abc import Sequence
from typing import Union

from edgekit_runtime.bundle import Bundle
from edgekit_runtime.errors import MissingRequirement, UsageError
from edgekit_runtime.manifest import Variant
from edgekit_runtime.signing import PublicKey, check, read_signature

_NARROW = {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}
_SAME = {"amd64": "x86_64", "arm64": "aarch64", "armv8l": "armv7l"}


def machine() -> str:
    """This machine as bundles name it: ``x86_64``, ``aarch64``, ``armv7l``, …; what Python itself was built for counts.

    A 32-bit system on a 64-bit board says ``aarch64``, and loads 32-bit libraries alone.
    """
    name = platform.machine().lower()
    name = _SAME.get(name, name)
    return _NARROW.get(name, name) if struct.calcsize("P") == 4 else name


def member_to_run(variant: Variant, *, native: bool, trust: bool) -> str:
    """The member that a back end opens: the variant's file, or the build for this machine where it is source code.

    Args:
        variant: The variant.
        native: Whether the back end runs what it opens as machine code.
        trust: Whether the user said so.

    Raises:
        MissingRequirement: It has no build for this machine.
        UsageError: It would run native code that nobody vouches for.
    """
    here = machine()
    if variant.builds and here not in variant.builds:
        raise MissingRequirement(
            f"variant {variant.name} has no build for {here}, it has {', '.join(sorted(variant.builds))}",
            "export it again where a compiler for this machine is, or compile its sources here",
        )
    if native and not may_run(variant, trust=trust):
        raise UsageError(
            f"variant {variant.name} is native code, which may do anything",
            "say --trust, or --key if you have its signer's",
        )
    return variant.builds.get(here, variant.file)


def may_run(variant: Variant, *, trust: bool) -> bool:
    """Whether native code out of a bundle may run: the one place that decides.

    Args:
        variant: The variant that holds it.
        trust: Whether the user said so, or a pinned key (`vouched`).
    """
    return trust


def vouched(bundle: Union[str, os.PathLike[str]], keys: Sequence[PublicKey]) -> bool:
    """Whether a bundle is signed by one of the keys; then its native code may run without the user's word.

    Args:
        bundle: The file; its signature lies beside it.
        keys: Pinned keys; none vouch for nothing.

    Raises:
        SignatureError: There is a signature, by one of the keys even, but it is wrong or of another bundle.
        BundleError: It is no bundle.
        MissingRequirement: ``cryptography`` is not installed.
    """
    signature = read_signature(bundle) if keys else None
    if signature is None or signature.key not in {k.id for k in keys}:
        return False
    with Bundle.open(bundle) as opened:
        check(signature, opened.digest, keys)
    return True
