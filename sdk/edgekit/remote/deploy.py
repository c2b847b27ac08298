"""A bundle onto a board: what is needed, what is there, the rest brought, and the self-test as the last word."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import RemoteError
from edgekit.instructions import processor_of
from edgekit.remote.board.install import BUSY, DISK_FULL, READY
from edgekit.remote.copy import Item, bring, present
from edgekit.remote.facts import Board, look
from edgekit.remote.transport import Transport, printable
from edgekit.remote.wheelhouse import Wheelhouse, gather
from edgekit.remote.wheels import Needs, needs
from edgekit_runtime import Bundle, __version__
from edgekit_runtime.errors import MissingRequirement, UsageError
from edgekit_runtime.plain import PlainDataError, decode
from edgekit_runtime.signing import read_signature

_SLACK = 1.1
"""File systems take more than the sum of the files' sizes; compiled Python comes on top."""
_BYTECODE = 1.3
_AGENTS = ("/var/lib/edgekit", "{home}/.local/state/edgekit", "{home}/.config/edgekit")
"""Where an agent keeps its store: by default, and below a user's own systemd (since version 254, and before)."""


@dataclass(frozen=True)
class Plan:
    """What deploying would do.

    Attributes:
        board: The board.
        needs: What the bundle needs there.
        wheelhouse: The wheels.
        venv: Path of the environment there.
        made: Whether the environment is there already.
        name: Of the model, which is its slot's.
        digest: Of the bundle.
        bundle: The bundle, to where it goes.
        wheels: The wheels, to where they go; empty where the environment is there.
        missing: Bytes that the board has yet to get.
        disk: Bytes of disk that it takes there at most, while it is being installed.
    """

    board: Board
    needs: Needs
    wheelhouse: Wheelhouse
    venv: str
    made: bool
    name: str
    digest: str
    bundle: Item
    wheels: tuple[Item, ...]
    missing: int
    disk: int

    @property
    def python(self) -> str:
        """The environment's interpreter."""
        return f"{self.venv}/bin/python"

    def lines(self) -> list[str]:
        """The plan for people."""
        env = "is there" if self.made else f"is made with Python {self.needs.python.full}"
        wheels = ", ".join("-".join(i.source.name.split("-")[:2]) for i in self.wheels)
        return [
            self.board.words,
            f"environment {self.venv} {env}" + (", with the system's packages" if self.needs.system_site else ""),
            *([f"wheels {wheels}"] if wheels else []),
            *self.needs.notes,
            f"bundle {self.bundle.destination} (digest {self.digest[:16]})",
            f"{self.missing / 1e6:,.1f} MB to send, {self.disk / 1e6:,.0f} MB of disk",
        ]


def plan(
    transport: Transport,
    path: Path,
    *,
    wheelhouse: Path | None = None,
    python: str | None = None,
    backend: str | None = None,
) -> Plan:
    """Look at a board and say what it lacks; nothing is changed there.

    Args:
        transport: The way to it.
        path: The bundle.
        wheelhouse: Folder of wheels to use instead of the index.
        python: The only Python of the board that will do.
        backend: The only back end that will do.

    Raises:
        UsageError: The bundle is for a microcontroller.
        MissingRequirement: The board cannot run it, or the wheels are not to be had.
        RemoteError: The board cannot be reached, or has no room.
    """
    with Bundle.open(path) as opened:
        manifest, digest = opened.manifest, opened.digest
    if processor := processor_of(manifest, None):
        raise UsageError(f"{path} is for a {processor}, which has no ssh", "flash it: see docs/guide/classic.md")
    board = look(transport)
    found = needs(board, manifest, python=python, backend=backend)
    house = gather(found, wheelhouse)
    with path.open("rb") as source:
        whole = hashlib.file_digest(source, "sha256").hexdigest()
    bundle = Item(path, f"{board.folder}/bundles/{digest}.edgekit", whole, path.stat().st_size)
    venv = f"{board.folder}/venv-{__version__}-py{found.python.version}-{house.key}"
    made = transport.run(["test", "-f", f"{venv}/{READY}"]).code == 0
    staged = f"{board.folder}/wheels"
    wheels = (
        [] if made else [Item(w.path, f"{staged}/{w.path.name}", w.sha256, w.bytes) for w in (*house.wheels, house.pip)]
    )
    there = present(transport, found.python.executable, [bundle, *wheels])
    missing = sum(i.bytes - min(have, i.bytes) for i, have in zip([bundle, *wheels], there, strict=True) if have >= 0)
    installed = 0 if made else sum(w.unpacked for w in house.wheels)
    disk = int((missing + installed * _BYTECODE) * _SLACK)
    if missing and disk > board.disk_free:
        raise RemoteError(
            f"{transport.name} has {board.disk_free / 1e6:,.0f} MB of disk free, and {disk / 1e6:,.0f} MB are needed",
            "make room there",
        )
    return Plan(board, found, house, venv, made, manifest.name, digest, bundle, tuple(wheels), missing, disk)


def carry_out(transport: Transport, planned: Plan, said: Callable[[str], None] = lambda _: None) -> int:
    """Bring and install what is missing; what is there already is left alone.

    Returns:
        Bytes that were sent.

    Raises:
        RemoteError: It did not work out; what was there before is still whole.
    """
    base = planned.needs.python.executable
    sent = bring(transport, base, [*planned.wheels, planned.bundle], said)
    if not planned.made:
        said("installing")
    order = {
        "venv": planned.venv,
        "python": base,
        "pip": planned.wheels[-1].destination if planned.wheels else "",
        "wheels": [w.destination for w in planned.wheels[:-1]],
        "system_site": planned.needs.system_site,
    }
    done = transport.python(base, "install", stdin=json.dumps(order).encode())
    if done.code == DISK_FULL:
        raise RemoteError(f"the disk of {transport.name} is full: edgekit-runtime does not fit", "make room there")
    if done.code == BUSY:
        raise RemoteError(f"another deploy is installing on {transport.name}", "wait for it")
    if done.code:
        raise RemoteError(f"edgekit-runtime cannot be installed on {transport.name}", done.complaint)
    return sent


@dataclass(frozen=True)
class Placed:
    """Where a bundle is on a board, and what it took the place of.

    Attributes:
        store: Folder of the store.
        agent: Whether it is the agent's, and not deploy's own.
        slot: Name of the slot that points at it.
        previous: Digest of the bundle before it, which is kept; empty for none.
        loaded: Whether the agent's server answers with it already.
        remark: Why it is not in the agent's store though there is one; empty elsewhere.
    """

    store: str
    agent: bool
    slot: str
    previous: str
    loaded: bool
    remark: str

    @property
    def words(self) -> str:
        """One line about it."""
        whose = "the agent's store" if self.agent else "store"
        parts = [f"slot {self.slot} of {whose} {self.store} points at it"]
        parts += ["the agent's server answers with it now"] if self.loaded else []
        parts += [f"{self.previous[:16]} is kept to go back to"] if self.previous else []
        return printable("; ".join([*parts, *([self.remark] if self.remark else [])]))


def put(transport: Transport, planned: Plan, bundle: Path, store: str | None = None) -> Placed:
    """Put a bundle that was brought and tested into the board's store; the one before it is kept.

    Args:
        transport: The way to the board.
        planned: What was carried out.
        bundle: The bundle here; a signature beside it goes along.
        store: Folder of the agent's store there; None to look where agents have it.

    Raises:
        RemoteError: It could not be put there, or the agent's server refused it; the slot is what it was.
        SignatureError: What is beside the bundle is no signature.
    """
    signature = read_signature(bundle)
    order = {
        "places": [store] if store else [place.format(home=planned.board.home) for place in _AGENTS],
        "own": planned.board.folder,
        "bundle": planned.bundle.destination,
        "slot": planned.name,
        "digest": planned.digest,
        "signature": signature.to_json().decode() if signature else "",
    }
    done = transport.python(planned.python, "put", stdin=json.dumps(order).encode())
    if done.code:
        raise RemoteError(f"the bundle cannot be put into the store of {transport.name}", done.complaint)
    try:
        return decode(Placed, json.loads(done.out.strip().splitlines()[-1]))
    except (ValueError, IndexError, PlainDataError) as error:
        raise RemoteError(f"{transport.name} does not say where the bundle is ({error})") from error


def ask_runtime(transport: Transport, planned: Plan, verb: str, options: Sequence[str] = ()) -> dict[str, Any]:
    """Run a verb of ``edgekit-runtime`` on the bundle there.

    Returns:
        The JSON object that it prints.

    Raises:
        RemoteError: It failed, with its own sentence.
        MissingRequirement: Something must be installed on the board first.
    """
    command = [
        planned.python,
        "-I",
        "-m",
        "edgekit_runtime",
        verb,
        "--json",
        *options,
        "--",
        planned.bundle.destination,
    ]
    done = transport.run(command)
    try:
        answer = json.loads(done.out.strip().splitlines()[-1]) if done.out.strip() else None
    except ValueError:
        answer = None
    if done.code == 0 and isinstance(answer, dict):
        return answer
    sentence = done.complaint.removeprefix("edgekit-runtime: ")
    kind = MissingRequirement if done.code == MissingRequirement.exit_code else RemoteError
    raise kind(f"{verb} on {transport.name}: {sentence}")
