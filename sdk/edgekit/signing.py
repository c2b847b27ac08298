"""Signing bundles: keys in PEM files, signatures as `edgekit_runtime.signing` checks them."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.requires import require
from edgekit_runtime.atomic import replacing
from edgekit_runtime.bundle import Bundle
from edgekit_runtime.errors import EdgekitError, UsageError
from edgekit_runtime.signing import ALGORITHM, PublicKey, Signature, message, signature_path

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def make_keys(path: str | os.PathLike[str]) -> tuple[Path, Path, PublicKey]:
    """Make a pair of keys.

    Args:
        path: Name of the files, without suffix.

    Returns:
        ``NAME.key``, which only its owner may read, ``NAME.pub``, and the public key.

    Raises:
        UsageError: One of the files exists.
        EdgekitError: They cannot be written.
        MissingRequirement: ``cryptography`` is not installed.
    """
    require("cryptography", "fleet")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    secret, public = Path(f"{os.fspath(path)}.key"), Path(f"{os.fspath(path)}.pub")
    for file in (secret, public):
        if file.exists():
            raise UsageError(f"{file} exists already", "a key that is gone cannot sign again: give another name")
    made = Ed25519PrivateKey.generate()
    try:
        secret.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        with replacing(public) as out:
            out.write(made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    except OSError as error:
        raise EdgekitError(f"cannot write {error.filename or secret} ({error.strerror or error})") from error
    raw = made.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return secret, public, PublicKey(raw)


def sign(bundle: str | os.PathLike[str], key: str | os.PathLike[str]) -> Signature:
    """Sign a bundle: ``BUNDLE.sig`` is written beside it, in one step.

    Args:
        bundle: The ``.edgekit`` file; every member's hash is checked first.
        key: The private key's PEM file.

    Raises:
        BundleError: The bundle is not what it should be.
        UsageError: The key cannot be read, is no private Ed25519 key, or has a passphrase.
        EdgekitError: The signature cannot be written.
        MissingRequirement: ``cryptography`` is not installed.
    """
    require("cryptography", "fleet")
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    secret = _private(Path(key))
    with Bundle.open(bundle) as opened:
        opened.verify()
        digest = opened.digest
    public = PublicKey(secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
    made = Signature(ALGORITHM, public.id, digest, base64.b64encode(secret.sign(message(digest))).decode())
    place = signature_path(bundle)
    try:
        with replacing(place) as out:
            out.write(made.to_json())
    except OSError as error:
        raise EdgekitError(f"cannot write {place} ({error.strerror or error})") from error
    return made


def _private(path: Path) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        found = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise UsageError(f"cannot read the key {path} ({error.strerror or error})") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        why = "it has a passphrase" if isinstance(error, TypeError) else "it is no private key in PEM form"
        raise UsageError(f"{path} cannot sign: {why}", "edgekit bundle keygen makes one") from error
    if not isinstance(found, Ed25519PrivateKey):
        raise UsageError(f"{path} is no Ed25519 key", "edgekit bundle keygen makes one")
    return found
