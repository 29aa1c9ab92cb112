"""PostgreSQL connections with a deadline on the client's side."""

from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.abc import RV, PQGen
from psycopg.pq import TransactionStatus

PATIENCE_FACTOR = 1.5  # the server's own limits apply first, because their messages are clearer


class DeadlineConnection(psycopg.Connection[Any]):
    """Closes itself if the server does not respond in time.

    `statement_timeout` is enforced by the server, so it does not help if the server is stopped, or if the network
    drops every packet.
    """

    deadline_s: float

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        try:
            return super().wait(gen, interval, self.deadline_s if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:  # the statement has not ended
                self.pgconn.finish()  # a rollback would wait for the same server
                raise psycopg.OperationalError(f"the server did not respond within {self.deadline_s:g} s") from None
            raise


def set_deadline(engine: sa.Engine, patience_s: float) -> None:
    """Let statements fail with OperationalError if the server does not respond within 1.5 times `patience_s`."""
    connection_class = type("Connection", (DeadlineConnection,), {"deadline_s": PATIENCE_FACTOR * patience_s})

    def connect(_dialect: object, _record: object, positional: list[Any], named: dict[str, Any]) -> Any:
        return connection_class.connect(*positional, **named)  # type: ignore[attr-defined]  # made by `type`

    sa.event.listen(engine, "do_connect", connect)
