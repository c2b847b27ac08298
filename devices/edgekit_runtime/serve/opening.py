"""How models are opened and run; the settings that every process of a server shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Opening:
    """How bundles are opened.

    Attributes:
        trust: Whether native code in them may run.
        keys: Files of public keys; native code that one of them signed may run, too.
        threads: Threads for one inference; None for the interpreter's own choice.
        choose: Whether the fastest variant, back end and number of threads run, measured where that is not known yet.
        queue: Requests that may wait for each model.
        max_body: Largest body in bytes, packed and unpacked; also the room for the requests of one batch.
        max_batch: Requests that are run as one where the model takes batches; 1 for no batching.
        batch_delay: Seconds that a request may wait for others to come.
        stuck_after: Seconds after which an inference counts as stuck.
        restarts: Restarts of a process within `restart_window` before the previous bundle comes back.
        restart_window: Seconds.
        backoff: Seconds before the second restart; the first comes at once, each later one after twice as long.
        monitor: Seconds of a monitoring window; None for no monitoring.
    """

    trust: bool = False
    keys: tuple[str, ...] = ()
    threads: Optional[int] = None
    choose: bool = False
    queue: int = 64
    max_body: int = 64 * 2**20
    max_batch: int = 1
    batch_delay: float = 0.0
    stuck_after: float = 10.0
    restarts: int = 3
    restart_window: float = 600.0
    backoff: float = 0.5
    monitor: Optional[float] = 300.0
