"""A child of the agent that looks at a downloaded bundle: it may need ``cryptography`` and memory, the agent does not.

``python -m edgekit_runtime.agent.verify FILE`` reads `Question` as JSON from standard input and writes `Verdict`.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from edgekit_runtime.agent.child import run
from edgekit_runtime.agent.protocol import Signature
from edgekit_runtime.errors import EdgekitError, MissingRequirement, UsageError
from edgekit_runtime.plain import PlainDataError, decode, encode

_BLOCK = 2**20


@dataclass(frozen=True)
class Question:
    """What the file should be.

    Attributes:
        sha256: Hex SHA-256 of the file.
        digest: Digest of the bundle.
        slot: Name of the model.
        signature: Over the digest; None for none.
        keys: Files of pinned public keys.
        allow_unsigned: Whether a bundle without a signature, or with one that no pinned key could check, is taken.
    """

    sha256: str
    digest: str
    slot: str
    signature: Optional[Signature] = None
    keys: tuple[str, ...] = ()
    allow_unsigned: bool = False


@dataclass(frozen=True)
class Verdict:
    """What it is.

    Attributes:
        problem: What is wrong, in one sentence; empty if nothing is.
        rejected: Whether the bundle is to blame, rather than this device.
        key: Which key signed it; empty for none.
    """

    problem: str = ""
    rejected: bool = False
    key: str = ""


def examine(path: Path, question: Question) -> Verdict:
    """Look at a file, in this process."""
    from edgekit_runtime.bundle import Bundle

    try:
        found = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                found.update(block)
        if found.hexdigest() != question.sha256:
            return Verdict("the file is not the one that was announced: its hash differs", True)
        with Bundle.open(path) as bundle:
            if bundle.digest != question.digest:
                return Verdict(f"it is bundle {bundle.digest[:16]}, not {question.digest[:16]}", True)
            if bundle.manifest.name != question.slot:
                return Verdict(f"it is model {bundle.manifest.name!r:.60}, for slot {question.slot!r:.60}", True)
            bundle.verify()
        return Verdict(key=_signer(question))
    except (MissingRequirement, UsageError) as error:  # a key file that is gone, cryptography that is not installed
        return Verdict(str(error))
    except EdgekitError as error:
        return Verdict(str(error), True)
    except OSError as error:
        return Verdict(f"cannot read {path} ({error.strerror or error})")


def _signer(question: Question) -> str:
    """Which key signed it.

    Raises:
        SignatureError: Nobody that this device trusts.
    """
    from edgekit_runtime import signing
    from edgekit_runtime.errors import SignatureError

    keys = signing.pinned_keys(question.keys)
    given = question.signature
    if given is None or not keys:
        if question.allow_unsigned:
            return ""
        raise SignatureError(
            "it is not signed" if given is None else "it is signed, but this device has no key to check it with",
            "sign it with edgekit bundle sign, and pin the key with --key",
        )
    made = signing.Signature(given.algorithm, given.key, question.digest, given.signature)
    return signing.check(made, question.digest, keys).id


def ask(path: Path, question: Question, timeout: float, stop: threading.Event) -> Verdict:
    """Have a child look at a file; one that dies or does not end says that this device could not.

    Raises:
        Stopped: `stop` was set, and the child was killed.
    """
    command = [sys.executable, "-m", "edgekit_runtime.agent.verify", str(path)]
    try:
        code, out, said = run(command, stop, given=json.dumps(encode(question)).encode(), timeout=timeout)
    except TimeoutError:
        return Verdict(f"looking at {path.name} took longer than {timeout:g} s")
    except OSError as error:
        return Verdict(f"no process to look at {path.name} could be started ({error.strerror or error})")
    try:
        return decode(Verdict, json.loads(out))
    except (ValueError, PlainDataError):
        last = said.strip().splitlines()[-1:] or [f"exit code {code}"]
        return Verdict(f"the process that looked at {path.name} died ({last[0][:200]})")


def main() -> None:
    """Entry point of the child."""
    verdict = examine(Path(sys.argv[1]), decode(Question, json.load(sys.stdin)))
    json.dump(encode(verdict), sys.stdout)


if __name__ == "__main__":
    main()
