"""Shows the messages that `ontime stream` could not use, and sends them again.

ontime dead-letters                 each with its place in the topic, the place of the error, and the reason
ontime dead-letters --resend 3 7    publish these messages again, for example early ones, or after a fix
ontime dead-letters --resend-all    all that were not sent again yet
"""

import json
import sys
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from ontime import database
from ontime.counts import counted
from ontime.database_tables import dead_letters
from ontime.settings import load_settings
from pipelines.brokers import Broker, BrokerUnavailable, Message
from pipelines.operations import embedded_broker

SHOWN = 20
SHOWN_CHARACTERS = 200


def letters(engine: sa.Engine, ids: Collection[int] | None = None) -> Sequence[sa.Row[Any]]:
    """The dead letters with these ids, or all that were not sent again, oldest first."""
    table = dead_letters.c
    chosen = table.resent_at.is_(None) if ids is None else table.letter_id.in_(list(ids))
    with engine.connect() as connection:
        return connection.execute(sa.select(dead_letters).where(chosen).order_by(table.letter_id)).all()


def resend(engine: sa.Engine, broker: Broker, ids: Collection[int] | None = None) -> int:
    """Publish messages again, and return their number. Raises KeyError for an unknown id, and BrokerUnavailable."""
    chosen = letters(engine, ids)
    if ids is not None and (unknown := sorted({*ids} - {row.letter_id for row in chosen})):
        raise KeyError(f"there is no dead letter {unknown[0]}")
    for row in chosen:
        # Twice rather than never, if this process dies in between: a repeated event has no effect.
        broker.publish(row.topic, [Message(row.entity_id or "", f"dead-letter-{row.letter_id}", row.body)])
        same = dead_letters.c.letter_id == row.letter_id
        with engine.begin() as connection:
            connection.execute(sa.update(dead_letters).where(same), {"resent_at": datetime.now(UTC)})
    return len(chosen)


def main(resent: Sequence[int] = (), *, resend_all: bool = False, as_json: bool = False) -> None:
    settings = load_settings()
    engine = database.connect(settings.database_url)
    if resent or resend_all:
        try:
            with embedded_broker.connected(settings) as broker:
                count = resend(engine, broker, None if resend_all else resent)
        except (KeyError, BrokerUnavailable) as error:
            sys.exit(f"dead-letters: {error.args[0]}")
        sent = counted(count, "message was", "messages were")
        print(json.dumps({"resent": count}) if as_json else f"dead-letters: {sent} sent again")
        return
    rows = letters(engine)
    if as_json:
        fields = ("letter_id", "topic", "partition", "offset", "place", "reason", "kept_at")
        listing = [{name: getattr(row, name) for name in fields} | {"body": _text(row.body)} for row in rows]
        print(json.dumps(listing, default=str))
        return
    print(f"dead-letters: {counted(len(rows), 'unusable message')}, not sent again yet")
    for row in rows[:SHOWN]:
        place = f"{row.place}: " if row.place else ""
        print(f"{row.letter_id:6} {row.topic} {row.partition}/{row.offset}  {place}{row.reason}")
        print(f"       {_text(row.body)[:SHOWN_CHARACTERS]}")
    if len(rows) > SHOWN:
        print(f"       and {len(rows) - SHOWN:,} more: --json shows all")


def _text(body: bytes) -> str:
    return body.decode(errors="replace")
