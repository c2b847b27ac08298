"""What a model's requests took, as Triton's statistics extension tells it."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgekit_runtime.serve.process import Done


@dataclass
class Times:
    """How often, and how long together in nanoseconds."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        """Count one."""
        self.count += 1
        self.ns += ns


@dataclass
class Statistics:
    """What Triton's statistics extension asks for."""

    success: Times = field(default_factory=Times)
    fail: Times = field(default_factory=Times)
    queue: Times = field(default_factory=Times)
    decode: Times = field(default_factory=Times)
    infer: Times = field(default_factory=Times)
    encode: Times = field(default_factory=Times)
    samples: int = 0
    executions: int = 0
    batches: dict[int, tuple[Times, Times, Times]] = field(default_factory=dict)
    last: int = 0

    def ran(self, done: Done) -> None:
        """Count a job that a process answered."""
        if done.reply.status != 200:
            return
        self.queue.add(done.queue)
        self.decode.add(done.decode)
        self.infer.add(done.infer)
        self.encode.add(done.encode)
        self.samples += done.samples
        if done.batch:
            self.executions += 1
            seen = self.batches.setdefault(done.batch, (Times(), Times(), Times()))
            for times, ns in zip(seen, (done.decode, done.infer, done.encode)):
                times.add(ns)
