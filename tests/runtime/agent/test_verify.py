"""What is looked at before a downloaded bundle may run, in the child and around it."""

from __future__ import annotations

import base64
import hashlib
import sys
import time
from threading import Event, Timer

import pytest

from edgekit_runtime import Bundle
from edgekit_runtime.agent import child
from edgekit_runtime.agent.child import Stopped
from edgekit_runtime.agent.protocol import Signature
from edgekit_runtime.agent.verify import Question, Verdict, ask, examine
from edgekit_runtime.signing import PublicKey, message

from ..test_signing import PUBLIC, SECRET, pem


def question(bundle, **changes) -> Question:
    with Bundle.open(bundle) as opened:
        known = {"digest": opened.digest, "slot": opened.manifest.name}
    return Question(**{"sha256": hashlib.sha256(bundle.read_bytes()).hexdigest(), **known, **changes})


@pytest.fixture
def pinned(tmp_path) -> tuple[str, ...]:
    (tmp_path / "k.pub").write_text(pem(PUBLIC))
    return (str(tmp_path / "k.pub"),)


def signature(digest: str) -> Signature:
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519", reason="needs the agent extra")
    made = ed25519.Ed25519PrivateKey.from_private_bytes(SECRET).sign(message(digest))
    return Signature("ed25519", PublicKey(PUBLIC).id, base64.b64encode(made).decode())


def test_a_signed_bundle_is_taken(double, pinned):
    asked = question(double, keys=pinned)
    signed = question(double, keys=pinned, signature=signature(asked.digest))
    assert examine(double, signed) == Verdict(key=PublicKey(PUBLIC).id) == ask(double, signed, 60, Event())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"sha256": "0" * 64}, "its hash differs"),
        ({"digest": "0" * 64}, "not 0000000000000000"),
        ({"slot": "cats"}, "it is model 'double', for slot 'cats'"),
        ({"allow_unsigned": False}, "it is not signed"),
        ({"allow_unsigned": False, "signature": Signature("ed25519", "0" * 16, "")}, "no key to check it with"),
    ],
)
def test_a_bundle_that_is_not_what_it_should_be_is_rejected(double, changes, why):
    verdict = examine(double, question(double, **{"allow_unsigned": True, **changes}))
    assert verdict.rejected and why in verdict.problem and "\n" not in verdict.problem


def test_a_forged_signature_is_rejected_even_where_unsigned_bundles_are_taken(double, pinned):
    asked = question(double)
    forged = Signature("ed25519", PublicKey(PUBLIC).id, base64.b64encode(bytes(64)).decode())
    pytest.importorskip("cryptography", reason="needs the agent extra")
    verdict = examine(double, Question(asked.sha256, asked.digest, asked.slot, forged, pinned, True))
    assert verdict.rejected and "is wrong" in verdict.problem
    other = Signature("ed25519", "0" * 16, forged.signature)
    verdict = examine(double, Question(asked.sha256, asked.digest, asked.slot, other, pinned, True))
    assert verdict.rejected and "not pinned" in verdict.problem


def test_a_key_that_is_gone_is_this_device_s_fault(double):
    verdict = examine(double, question(double, keys=("/gone.pub",), signature=Signature("ed25519", "0", "")))
    assert not verdict.rejected and "cannot read the key" in verdict.problem


def test_garbage_is_rejected_by_a_child(tmp_path):
    junk = tmp_path / "junk.part"
    junk.write_bytes(b"PK\x03\x04" + bytes(1000))
    verdict = ask(junk, Question(hashlib.sha256(junk.read_bytes()).hexdigest(), "0" * 64, "double"), 60, Event())
    assert verdict.rejected and "\n" not in verdict.problem


def test_a_child_that_cannot_answer_rejects_nothing(tmp_path):
    verdict = ask(tmp_path / "gone", Question("0" * 64, "0" * 64, "double"), 60, Event())
    assert not verdict.rejected and "cannot read" in verdict.problem
    verdict = ask(tmp_path / "gone", Question("0" * 64, "0" * 64, "double"), 0.001, Event())
    assert not verdict.rejected and "took longer" in verdict.problem


def test_a_look_that_is_not_wanted_any_more_ends_at_once(tmp_path):
    stop = Event()
    stop.set()
    with pytest.raises(Stopped):
        ask(tmp_path / "gone", Question("0" * 64, "0" * 64, "double"), 60, stop)


def test_a_child_is_killed_when_it_shall_stop_and_when_it_takes_too_long():
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    stop, begin = Event(), time.monotonic()
    Timer(0.3, stop.set).start()
    with pytest.raises(Stopped):
        child.run(sleeper, stop)
    with pytest.raises(TimeoutError):
        child.run(sleeper, Event(), timeout=0.2)
    assert time.monotonic() - begin < 60
    echo = [sys.executable, "-c", "import sys, time; time.sleep(0.3); sys.stdout.write(sys.stdin.read()); sys.exit(3)"]
    assert child.run(echo, Event(), given=b"x" * 50_000) == (3, b"x" * 50_000, "")
