"""Signatures and pinned keys, read by the standard library; checked where cryptography is installed."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit_runtime.errors import SignatureError, UsageError
from edgekit_runtime.signing import (
    PublicKey,
    Signature,
    check,
    message,
    parse_signature,
    pinned_keys,
    read_public_key,
    read_signature,
)

# RFC 8032, section 7.1, test 1: the secret key of its first signature, and the public key
SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
DIGEST = "ab" * 32


def pem(raw: bytes) -> str:
    body = base64.b64encode(bytes.fromhex("302a300506032b6570032100") + raw).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"


def signature_of(digest: str) -> Signature:
    """By the test's key."""
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519", reason="needs the agent extra")
    made = ed25519.Ed25519PrivateKey.from_private_bytes(SECRET).sign(message(digest))
    return Signature("ed25519", PublicKey(PUBLIC).id, digest, base64.b64encode(made).decode())


@pytest.fixture
def signed() -> Signature:
    return signature_of(DIGEST)


def test_a_public_key_is_read_from_its_pem_file(tmp_path):
    (tmp_path / "k.pub").write_text(pem(PUBLIC))
    key = read_public_key(tmp_path / "k.pub")
    assert key.raw == PUBLIC and len(key.id) == 16


def test_keys_are_pinned_by_the_environment_too(tmp_path, monkeypatch):
    (tmp_path / "k.pub").write_text(pem(PUBLIC))
    monkeypatch.setenv("EDGEKIT_KEYS", f"{tmp_path / 'k.pub'}")
    assert [k.raw for k in pinned_keys()] == [PUBLIC]
    monkeypatch.delenv("EDGEKIT_KEYS")
    assert pinned_keys() == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no public Ed25519 key"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "is a private key"),
        (pem(PUBLIC[:-1]), "no public Ed25519 key"),
        (pem(PUBLIC).replace("MCow", "MC*w"), "no public Ed25519 key"),
        ("\xe9", "it is not text"),
        ("-----BEGIN PUBLIC KEY-----\n" + "A" * 100_000, "it is not text"),
    ],
)
def test_what_is_no_public_key_is_refused(tmp_path, text, why):
    (tmp_path / "k.pub").write_text(text, "utf-8")
    with pytest.raises(UsageError, match=why):
        read_public_key(tmp_path / "k.pub")


def test_a_signature_is_right_for_its_bundle_and_its_key_alone(signed):
    key = PublicKey(PUBLIC)
    assert check(signed, DIGEST, [PublicKey(bytes(32)), key]) == key
    with pytest.raises(SignatureError, match="is of bundle abababab"):
        check(signed, "cd" * 32, [key])
    with pytest.raises(SignatureError, match="not pinned here: pinned: no key"):
        check(signed, DIGEST, [])
    for broken in ("", "!", signed.signature[:-8] + "AAAAAA==", base64.b64encode(bytes(64)).decode()):
        forged = Signature("ed25519", signed.key, DIGEST, broken)
        with pytest.raises(SignatureError, match=f"by key {key.id} is wrong"):
            check(forged, DIGEST, [key])
    with pytest.raises(SignatureError, match="of kind 'none'"):
        check(Signature("none", signed.key, DIGEST, signed.signature), DIGEST, [key])


def test_a_signature_does_not_cover_the_digest_alone(signed):
    """Whoever gets something else signed by the key cannot pass it off as a bundle."""
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519", reason="needs the agent extra")
    bare = ed25519.Ed25519PrivateKey.from_private_bytes(SECRET).sign(DIGEST.encode())
    with pytest.raises(SignatureError, match="is wrong"):
        check(Signature("ed25519", signed.key, DIGEST, base64.b64encode(bare).decode()), DIGEST, [PublicKey(PUBLIC)])


def test_a_bundle_without_a_signature_has_none(tmp_path):
    assert read_signature(tmp_path / "m.edgekit") is None
    (tmp_path / "m.edgekit.sig").mkdir()
    with pytest.raises(SignatureError, match="cannot read"):
        read_signature(tmp_path / "m.edgekit")


@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps).map(str.encode),
    )
)
def test_what_is_no_signature_is_one_error(content):
    with pytest.raises(SignatureError, match="is no signature"):
        parse_signature(content, "it")


def test_a_signature_is_read_as_it_was_written():
    made = Signature("ed25519", "0" * 16, DIGEST, "AAAA")
    assert parse_signature(made.to_json(), "it") == made
