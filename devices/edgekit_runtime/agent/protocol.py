"""What agent and fleet server say to each other: version 1, JSON over HTTPS, always begun by the device.

| call | request | reply | authorization |
|---|---|---|---|
| ``POST /api/v1/enroll`` | `Enroll` | `Enrolled` | ``Bearer TOKEN``, the fleet's enrolment token |
| ``POST /api/v1/poll`` | `Poll` | `Orders` | ``Bearer DEVICE:SECRET`` |
| ``POST /api/v1/reports`` | `Reports` | `Received` | ``Bearer DEVICE:SECRET`` |
| ``GET /api/v1/bundles/DIGEST`` | ``Range`` for the rest of a broken download | the file | ``Bearer DEVICE:SECRET`` |

A refusal is ``{"error": sentence}`` with its HTTP status; 401 means that the secret is not known (enrol again), 409
that the name is taken, 426 that the version is not spoken. Times are by the clock of whoever sends them; the device's
may be wrong, so that deadlines are durations. Every request may be sent twice: enrolment is the same for the same
secret, a poll states where the device is rather than what changed, and reports are numbered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, TypeVar

from edgekit_runtime.errors import EdgekitError
from edgekit_runtime.plain import PlainDataError, decode, encode

VERSION = 1

MAX_MESSAGE = 4 * 2**20
"""Bytes of JSON that either side takes."""

QUEUED, DOWNLOADING, VERIFYING, TESTING, SWAPPING, SOAKING = (
    "QUEUED",
    "DOWNLOADING",
    "VERIFYING",
    "TESTING",
    "SWAPPING",
    "SOAKING",
)
SUCCEEDED, FAILED, ROLLED_BACK, STRANDED, TIMED_OUT, REJECTED, CANCELED = (
    "SUCCEEDED",
    "FAILED",
    "ROLLED_BACK",
    "STRANDED",
    "TIMED_OUT",
    "REJECTED",
    "CANCELED",
)

UNDERWAY = (QUEUED, DOWNLOADING, VERIFYING, TESTING, SWAPPING, SOAKING)
"""States of a job that is not over, in their order."""

ENDED = (SUCCEEDED, FAILED, ROLLED_BACK, STRANDED, TIMED_OUT, REJECTED, CANCELED)
"""States of a job that is over.

FAILED: could not be fetched, tested or started; REJECTED: signature, hash or bundle are not what they should be, or it
is for other devices; ROLLED_BACK: it ran, did not fare well, and the bundle before it runs again; STRANDED: it should
have gone back, but no bundle before it is whole, so that it is still the slot's, and the detail says why; TIMED_OUT: a
state lasted longer than it may; CANCELED: the server took the job back.
"""

_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")

T = TypeVar("T")


class ProtocolError(EdgekitError):
    """A message is not one of this protocol."""


@dataclass(frozen=True)
class Enroll:
    """A device makes itself known.

    Attributes:
        device: Its name: letters, digits, ``.``, ``_``, ``-``; at most 64.
        secret_sha256: Hex SHA-256 of the secret that the device made up; the secret itself comes with later requests.
        groups: Groups that it wants to be in.
        facts: What it is: ``machine``, ``system``, ``python``, ``runtime``, ``model`` of the board, …
        protocol: Version.
    """

    device: str
    secret_sha256: str
    groups: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    protocol: int = VERSION

    def __post_init__(self) -> None:
        check_device(self.device)
        check_digest(self.secret_sha256, "secret_sha256")


@dataclass(frozen=True)
class Enrolled:
    """The device is known.

    Attributes:
        device: Its name.
        poll_seconds: How often it should poll, on average.
    """

    device: str
    poll_seconds: float


@dataclass(frozen=True)
class Running:
    """What really answers in one slot (a slot is a model's name).

    Attributes:
        digest: Digest of the bundle; empty for none.
        previous: Digest of the bundle before it, still on the device; empty for none.
        variant: Variant and back end, as ``int8 on litert 2.3.0``.
        ready: Whether the serving process said that it is ready.
        degraded: What is wrong though it answers, in one sentence; empty if nothing is.
    """

    digest: str
    previous: str = ""
    variant: str = ""
    ready: bool = False
    degraded: str = ""


@dataclass(frozen=True)
class JobState:
    """Where a job is.

    Attributes:
        job: Its number.
        state: One of `UNDERWAY` and `ENDED`.
        detail: Why, in one sentence.
        progress: Share of the download, 0 to 1.
    """

    job: str
    state: str
    detail: str = ""
    progress: float = 0.0

    def __post_init__(self) -> None:
        if self.state not in UNDERWAY and self.state not in ENDED:
            raise ValueError(f"there is no state {self.state!r:.40}")


@dataclass(frozen=True)
class Health:
    """The device itself; None where it cannot tell.

    Attributes:
        cpu: Share of processor time in use, 0 to 1.
        memory: Share of memory in use, 0 to 1.
        disk: Share of the store's disk in use, 0 to 1.
        temperature: Hottest sensor, in degrees Celsius.
        throttled: Whether it is slowed down now, by heat or voltage.
        uptime: Seconds since the boot.
    """

    cpu: Optional[float] = None
    memory: Optional[float] = None
    disk: Optional[float] = None
    temperature: Optional[float] = None
    throttled: Optional[bool] = None
    uptime: Optional[float] = None


@dataclass(frozen=True)
class Poll:
    """A device says where it stands and asks for orders.

    Attributes:
        device: Its name.
        boot: Identity of this boot.
        sequence: Grows with every poll of a boot; the server takes an older one for late and does not store it.
        time: Seconds since 1970, by the device's clock.
        slots: What runs, by slot.
        jobs: Jobs that it knows and that the server has not settled; ended ones are repeated until `Orders.settled`
            names them.
        health: The device itself.
        facts: As `Enroll.facts`, where they changed since the last poll that was answered; empty otherwise.
        dropped: Messages lost for lack of room, by priority.
        protocol: Version.
    """

    device: str
    boot: str
    sequence: int
    time: float
    slots: Mapping[str, Running] = field(default_factory=dict)
    jobs: tuple[JobState, ...] = ()
    health: Health = field(default_factory=Health)
    facts: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    protocol: int = VERSION

    def __post_init__(self) -> None:
        check_device(self.device)


@dataclass(frozen=True)
class Limits:
    """How long each state of a job may last, in seconds."""

    queued: float = 3600.0
    downloading: float = 6 * 3600.0
    verifying: float = 600.0
    testing: float = 900.0
    swapping: float = 300.0
    soaking: float = 3600.0

    def of(self, state: str) -> float:
        """The limit of one of `UNDERWAY`."""
        return float(getattr(self, state.lower()))


@dataclass(frozen=True)
class Soak:
    """What a bundle must show before it is kept.

    Attributes:
        seconds: How long it is watched.
        min_requests: Requests that it must have answered by then; 0 where none need come.
        max_error_rate: Share of requests that may fail.
        max_latency_ratio: Its 99th percentile over that of the bundle before it, where both answered 100 or more
            requests; 0 for no limit.
    """

    seconds: float = 60.0
    min_requests: int = 0
    max_error_rate: float = 0.01
    max_latency_ratio: float = 0.0


@dataclass(frozen=True)
class Signature:
    """A detached signature; what it covers is in ``edgekit_runtime.signing``.

    Attributes:
        algorithm: ``ed25519``.
        key: Which key, as in `edgekit_runtime.signing`.
        signature: Base64.
    """

    algorithm: str
    key: str
    signature: str


@dataclass(frozen=True)
class Job:
    """Bring a slot to a bundle.

    Attributes:
        job: Its number, never used twice.
        slot: Name of the model.
        digest: The bundle.
        size: Bytes of the file.
        sha256: Hex SHA-256 of the file, so that a broken download is told from a forged bundle.
        signature: Over the digest; None where there is none.
        soak: What it must show.
        limits: How long each state may last.
    """

    job: str
    slot: str
    digest: str
    size: int
    sha256: str
    signature: Optional[Signature] = None
    soak: Soak = field(default_factory=Soak)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        check_digest(self.digest, "digest")
        check_digest(self.sha256, "sha256")
        if self.size < 0:
            raise ValueError(f"a file cannot have {self.size} bytes")


@dataclass(frozen=True)
class Orders:
    """The answer to a poll.

    Attributes:
        time: Seconds since 1970, by the server's clock.
        poll_seconds: How often to poll, on average.
        job: What to do; None for nothing. It is repeated until the device states it in `Poll.jobs`.
        cancel: Jobs that are taken back; one that swaps or soaks already goes back to the bundle before it.
        settled: Jobs whose end the server has stored.
        protocol: Version.
    """

    time: float
    poll_seconds: float
    job: Optional[Job] = None
    cancel: tuple[str, ...] = ()
    settled: tuple[str, ...] = ()
    protocol: int = VERSION


@dataclass(frozen=True)
class Report:
    """A message out of the device's outbox.

    Attributes:
        boot: Boot and file identity: within one, `sequence` only grows.
        sequence: Its number.
        priority: ``state``, ``alarm``, ``sketch`` or ``sample``.
        made: Seconds since 1970, by the device's clock.
        body: JSON data: ``{"kind": "window", "slot", "digest", "window", "drift"}``, ``{"kind": "job", …}``,
            ``{"kind": "alarm", "slot", "sentence"}``, …
    """

    boot: str
    sequence: int
    priority: str
    made: float
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Reports:
    """Messages, oldest first."""

    device: str
    reports: tuple[Report, ...]
    protocol: int = VERSION

    def __post_init__(self) -> None:
        check_device(self.device)


@dataclass(frozen=True)
class Received:
    """What the server has stored: the highest sequence of each boot; the device may forget up to there."""

    acknowledged: Mapping[str, int]


def to_json(message: Any) -> bytes:
    """A message as it goes over the wire."""
    return json.dumps(encode(message), separators=(",", ":"), allow_nan=False).encode()


def from_json(kind: type[T], content: bytes) -> T:
    """A message as it came.

    Raises:
        ProtocolError: It is too large, not JSON, or not a message of that kind.
    """
    if len(content) > MAX_MESSAGE:
        raise ProtocolError(f"a message of {len(content)} bytes is over the limit of {MAX_MESSAGE}")
    try:
        return decode(kind, json.loads(content))
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"it is not a message in JSON ({error})") from error
    except PlainDataError as error:
        raise ProtocolError(f"it is not a message of this protocol ({error})") from error


def check_device(name: str) -> str:
    """A device's name, checked.

    Raises:
        ValueError: It is not one.
    """
    if not _DEVICE.fullmatch(name):
        raise ValueError(
            f"a device is called by 1 to 64 letters, digits, dots, dashes and underlines, not {name!r:.80}"
        )
    return name


def check_digest(digest: str, what: str) -> str:
    """A SHA-256 in hex, checked.

    Raises:
        ValueError: It is not one.
    """
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"{what} must be 64 hex digits, not {digest!r:.80}")
    return digest
