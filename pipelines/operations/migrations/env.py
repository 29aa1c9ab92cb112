"""What Alembic runs around the revisions in versions/, on the connection and in the transaction of migrate.py."""

from typing import Any, Literal

from alembic import context

from ontime import database_tables


def _render(kind: str, each: Any, _: object) -> str | Literal[False]:
    """In a new revision, our type as the one that the database has: a later version may not have ours."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(each, database_tables.UTCTime) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=database_tables.metadata,
    render_item=_render,
    render_as_batch=True,
    version_table=database_tables.revision_table.name,
)
with context.begin_transaction():
    context.run_migrations()
