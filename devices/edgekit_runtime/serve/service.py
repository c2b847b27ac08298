"""What the service manager is told about the server."""

from __future__ import annotations

from edgekit_runtime import notify
from edgekit_runtime.serve.model import LOADING, READY
from edgekit_runtime.serve.models import Repository

_SECONDS = 5.0


def pause() -> float:
    """Seconds between two calls of `Service`: a third of what the manager's watchdog waits, and 5 at most."""
    watched = notify.watchdog_seconds()
    return _SECONDS if watched is None else min(_SECONDS, watched / 3)


class Service:
    """To be called again and again on the event loop: a loop that is stuck says nothing, and the manager sees that.

    The service is up when no model is loading any more. One that is not fit is in the status, and `/v2/health/ready`
    says it too; it is no reason to take the others down.
    """

    def __init__(self) -> None:
        self._up = False
        self._said = ""

    def __call__(self, repository: Repository) -> None:
        """Tell what is new."""
        notify.watchdog()
        models = list(repository)
        if not self._up and all(m.state != LOADING for m in models):
            self._up = True
            notify.ready()
        parts = [f"{m.name} is {'ready' if m.state == READY else m.reason}" for m in models]
        parts += [f"{name}: {why}" for name, why in repository.degraded.items()]
        if (said := "; ".join(parts) or "an empty store") != self._said:
            self._said = said
            notify.status(said)
