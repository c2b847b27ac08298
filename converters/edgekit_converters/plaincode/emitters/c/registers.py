"""Where each register of a method is kept: in the caller's row, in the caller's answer, or in a few shared buffers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.emitters.c.literals import BYTES


@dataclass(frozen=True)
class Place:
    """A C expression that points to a register's first number, and the type of its numbers."""

    expression: str
    ctype: str


@dataclass(frozen=True)
class Call:
    """A step to run.

    Attributes:
        index: Of the step.
        sources: What it reads.
        target: What it writes.
        key: Buffer that its source is converted into first (trees that compare in another type), or None.
    """

    index: int
    sources: tuple[Place, ...]
    target: Place
    key: Place | None = None


@dataclass
class Buffer:
    """A local array that registers take turns in."""

    name: str
    ctype: str
    width: int
    free: bool = False


@dataclass(frozen=True)
class Layout:
    """What is known of a step's result before it has a place.

    Attributes:
        ctype: Type of its numbers.
        in_place: Whether it may be written over what the step reads.
        alias: (register, offset) that it is a part of, for steps that need no code.
        scratch: Bytes of stack that its function takes for itself.
        key: Type that its source must be converted to, or empty.
        reads: Registers that it reads when it runs; what was fused into it is left out.
    """

    ctype: str
    in_place: bool = False
    alias: tuple[int, int] | None = None
    scratch: int = 0
    key: str = ""
    reads: tuple[ir.Register, ...] = ()


@dataclass
class Plan:
    """A method's calls and buffers."""

    calls: list[Call] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    places: dict[int, Place] = field(default_factory=dict)
    scratch: int = 0

    @property
    def stack(self) -> int:
        """Bytes of stack that the method's numbers take."""
        return self.scratch + sum(b.width * BYTES[b.ctype] for b in self.buffers)


def plan(
    program: ir.Program,
    order: Sequence[int],
    layouts: Mapping[int, Layout],
    row: Place,
    answers: Sequence[ir.Register],
    given: Mapping[int, Place],
    placed: Mapping[int, Place],
) -> Plan:
    """Give every register of a method a place.

    Args:
        program: The program.
        order: Steps to run.
        layouts: Step to its layout.
        row: Where the row is.
        answers: Registers that must last to the end.
        given: Registers that are written to a place of their own: the answer's memory, a table.
        placed: Registers that were computed before.

    Returns:
        Calls in order. Buffers are shared by registers that are not needed at the same time.
    """
    made = Plan(places={0: row, **placed})
    last: dict[int, int] = {}
    for index in order:
        for read in layouts[index].reads:
            last[_root(read.index, layouts)[0]] = index
    for answer in answers:
        last[_root(answer.index, layouts)[0]] = len(program.steps)
    holds: dict[int, Buffer] = {}

    def release(index: int) -> None:
        for root, end in last.items():
            if end == index and root in holds:
                holds.pop(root).free = True

    for index in order:
        register, layout = index + 1, layouts[index]
        sources = tuple(made.places[r.index] for r in layout.reads)
        if layout.alias is not None:
            held, offset = made.places[layout.alias[0]], layout.alias[1]
            made.places[register] = Place(f"{held.expression} + {offset}" if offset else held.expression, held.ctype)
            continue
        if layout.in_place:
            release(index)
        key = None
        if layout.key and sources[0].ctype != layout.key:
            key = _taken(made.buffers, layout.key, layout.reads[0].width)
        if register in given:
            made.places[register] = given[register]
        else:
            holds[register] = _taken(made.buffers, layout.ctype, program.steps[index].width)
            made.places[register] = Place(holds[register].name, layout.ctype)
        made.calls.append(
            Call(index, sources, made.places[register], Place(key.name, key.ctype) if key is not None else None)
        )
        made.scratch = max(made.scratch, layout.scratch)
        if key is not None:
            key.free = True
        release(index)
    return made


def _root(register: int, layouts: Mapping[int, Layout]) -> tuple[int, int]:
    """The register that another is a part of, and where in it."""
    offset = 0
    while register and (alias := layouts[register - 1].alias) is not None:
        register, offset = alias[0], offset + alias[1]
    return register, offset


def _taken(buffers: list[Buffer], ctype: str, width: int) -> Buffer:
    """A free buffer of a type, the smallest that is wide enough, else the widest made wider, else a new one."""
    free = [b for b in buffers if b.free and b.ctype == ctype]
    enough = [b for b in free if b.width >= width]
    if enough:
        found = min(enough, key=lambda b: b.width)
    elif free:
        found = max(free, key=lambda b: b.width)
    else:
        found = Buffer(f"{ctype[0]}{sum(b.ctype == ctype for b in buffers)}", ctype, 0)
        buffers.append(found)
    found.width, found.free = max(found.width, width), False
    return found
