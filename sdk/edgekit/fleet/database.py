"""The server's SQLite file: opened, brought to this version's tables, one transaction at a time."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session, sessionmaker

from edgekit.errors import SdkError

_MIGRATIONS = Path(__file__).with_name("migrations")
_BUSY_SECONDS = 30


class Database:
    """Sessions on one SQLite file (WAL, ``synchronous=FULL``: what was committed outlives a power cut).

    Args:
        path: The file; it is made, and migrated to this version.

    Raises:
        SdkError: It cannot be opened, is damaged, or was made by a newer edgekit.
    """

    def __init__(self, path: Path) -> None:
        self.engine = _engine(path)
        try:
            migrate(self.engine)
        except DatabaseError as error:
            raise SdkError(f"cannot open the fleet's database {path} ({error.orig})") from error
        self._sessions = sessionmaker(self.engine)
        self._turn = threading.Lock()
        self.read = sessionmaker(self.engine.execution_options(reads=True))
        """Begins a session that sees one moment and blocks nobody."""

    @contextlib.contextmanager
    def write(self) -> Iterator[Session]:
        """A session that is the only one to write; it is committed when the block ends, and undone if that fails."""
        # SQLite lets who waits for its lock sleep ever longer, and whoever comes by take it: threads take turns here
        with self._turn, self._sessions.begin() as session:
            yield session

    def close(self) -> None:
        """Let go of the file."""
        self.engine.dispose()


def _engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": _BUSY_SECONDS}, pool_size=16, max_overflow=64)

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # sqlite3 shall not begin transactions by itself
        for said in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "wal_autocheckpoint=1000"):
            connection.execute(f"PRAGMA {said}")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        # a transaction that began with reading cannot always go on to write: whoever writes says so at once
        reads = connection.get_execution_options().get("reads")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def migrate(engine: Engine) -> None:
    """Bring the tables to this version's.

    Raises:
        SdkError: A newer edgekit made them.
    """
    from alembic import command
    from alembic.util import CommandError

    config = alembic_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            raise SdkError(
                f"the fleet's database has tables of version {found}, which this edgekit does not know",
                "use the edgekit that made it, or a newer one",
            ) from error


def alembic_config() -> Any:
    """Alembic's settings for the migrations in this package."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


__all__ = ["Database", "Session", "alembic_config", "migrate"]
