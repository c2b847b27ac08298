"""Where a study is kept: a SQLite file, or PostgreSQL for many machines; passwords are never shown."""

from __future__ import annotations

import contextlib
import fcntl
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import SdkError
from edgekit.requires import require
from edgekit_runtime.errors import UsageError

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

HEARTBEAT = 10
"""Seconds between two signs of life of a trial."""
GRACE = 60
"""Seconds without one after which its worker is held dead."""
_LOCK = 0x65646765  # "edge": one lock for all studies of a database
_TRIES = 5


class StorageError(SdkError):
    """A study's storage cannot be opened."""


def shown(url: str) -> str:
    """The address without its password.

    Raises:
        UsageError: It is no address.
    """
    return str(_url(url).render_as_string(hide_password=True))


def _url(url: str) -> Any:
    require("optuna", "tune")
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        found = make_url(url)
    except (ArgumentError, ValueError):
        raise UsageError("--storage is no address", "give postgresql://USER@HOST/DATABASE or sqlite:///FILE") from None
    if found.drivername in ("postgresql", "postgres"):
        found = found.set(drivername="postgresql+psycopg")
    if found.drivername not in ("postgresql+psycopg", "sqlite"):
        raise UsageError(f"--storage cannot be {found.drivername!r:.40}",
                         "give postgresql://USER@HOST/DATABASE or sqlite:///FILE")  # fmt: skip
    return found


def open_storage(url: str, *, heartbeat: int = HEARTBEAT, grace: int = GRACE) -> RDBStorage:
    """Open it, and make its tables where there are none.

    Args:
        url: ``sqlite:///FILE`` or ``postgresql://…``; its password may be in ``PGPASSWORD`` or ``~/.pgpass`` too.
        heartbeat: Seconds between signs of life.
        grace: Seconds without one after which a worker is dead.

    Raises:
        UsageError: It is neither.
        StorageError: It cannot be reached or used.
    """
    address = _url(url)
    import optuna
    from optuna.storages import RDBStorage
    from sqlalchemy import event
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    local = address.drivername == "sqlite"
    engine = {"connect_args": {"timeout": 60}} if local else {"pool_pre_ping": True}
    for turn in range(_TRIES):
        try:
            storage = RDBStorage(
                address.render_as_string(hide_password=False), engine, heartbeat_interval=heartbeat, grace_period=grace
            )
            break
        except (SQLAlchemyError, ImportError, optuna.exceptions.OptunaError) as error:
            # workers that start at once on an empty database make its tables at once
            raced = (
                "Operational" not in type(error).__name__ or "already exists" in str(error) or "locked" in str(error)
            )
            if turn == _TRIES - 1 or not raced:
                why = " ".join(str(error).split())
                if address.password:
                    why = why.replace(str(address.password), "***")
                raise StorageError(f"the study's storage {shown(url)} cannot be used ({why[:200]})",
                                   "look at the address and whether the server runs") from None  # fmt: skip
            time.sleep(0.2 * (turn + 1))
    if local:
        # a reader that turns into a writer would be refused where another has written: writers queue from the start
        @event.listens_for(storage.engine, "connect")
        def _manual(connection: Any, _record: Any) -> None:
            connection.isolation_level = None

        @event.listens_for(storage.engine, "begin")
        def _begin(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        storage.engine.dispose()
    return storage


@contextlib.contextmanager
def alone(storage: RDBStorage) -> Iterator[None]:
    """One process at a time, over all machines; a process that dies lets go."""
    from sqlalchemy import text

    if storage.engine.dialect.name == "sqlite":
        file = Path(f"{storage.engine.url.database}.lock")
        with file.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield
        return
    with storage.engine.connect() as connection, connection.begin():
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        yield
