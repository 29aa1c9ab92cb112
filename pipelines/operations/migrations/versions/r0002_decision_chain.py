"""Who decided, and the hash chain of decisions, which also chains the rows that exist.

A database of an earlier version may have the columns already: until there were migrations, each start added them.
"""

import sqlalchemy as sa
from alembic import op

from ontime import decision_chain

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    existing = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("decisions")}
    missing = [name for name in ("actor", "chain") if name not in existing]
    for name in missing:
        op.add_column("decisions", sa.Column(name, sa.String))
    if "chain" in missing:
        if op.get_bind().dialect.name == "postgresql":  # no decision is added meanwhile
            op.execute(sa.select(sa.func.pg_advisory_xact_lock(decision_chain.LOCK_KEY)))
        decision_chain.chain_existing_rows(op.get_bind())
