"""Tables and migrations: one and the same, and honest about what they cannot do."""

from __future__ import annotations

import sqlite3

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from edgekit.errors import SdkError
from edgekit.fleet.database import Database
from edgekit.fleet.models import Base


def test_the_migrations_make_the_tables_that_the_models_describe(tmp_path):
    database = Database(tmp_path / "fleet.db")
    with database.engine.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        connection.execute(text("ALTER TABLE device DROP COLUMN health"))
        assert compare_metadata(context, Base.metadata) != [], "or the line above proves nothing"
    database.close()


def test_opening_again_keeps_what_is_there_and_what_is_promised(tmp_path):
    Database(tmp_path / "fleet.db").close()
    database = Database(tmp_path / "fleet.db")
    with database.read() as session:
        said = {
            n: session.execute(text(f"PRAGMA {n}")).scalar() for n in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert said == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    database.close()


def test_a_file_that_is_no_database_and_one_from_the_future(tmp_path):
    (tmp_path / "text.db").write_text("this is not a database, and long enough to be looked at as one" * 20)
    with pytest.raises(SdkError, match="cannot open the fleet's database"):
        Database(tmp_path / "text.db")
    Database(tmp_path / "new.db").close()
    with sqlite3.connect(tmp_path / "new.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SdkError, match="tables of version 9999"):
        Database(tmp_path / "new.db")
