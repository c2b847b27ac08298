"""Alembic runs this file; the connection comes from `edgekit.fleet.database.migrate`."""

from __future__ import annotations

from alembic import context

from edgekit.fleet.models import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
