"""Retrainings that were requested or begun and have not finished, from the decisions in the database."""

from typing import Any

import sqlalchemy as sa

from ontime import database


def unfinished_retrainings(engine: sa.Engine) -> list[sa.Row[Any]]:
    """The policy's last request and the last retraining that began, if not finished; that of the latest day is last.

    A retraining by hand begins without a request. Both are over when one of a later day has finished: its data contain
    theirs.
    """
    begun = database.last_decision(engine, "retraining")
    requested = [*database.decisions_of(engine, "policy", verdict="retrain")[-1:], *([begun] if begun else [])]
    by_day = sorted(requested, key=lambda row: str(row.evidence["day"]))
    unfinished = [row for row in by_day if database.last_decision(engine, "retrained", day=row.evidence["day"]) is None]
    return unfinished if unfinished[-1:] == by_day[-1:] else []
