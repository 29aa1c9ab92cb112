"""`make compare`: champion and challenger on the entities that both scored and whose outcome is known.

Both models scored the same requests, one for the response and one in the shadow. The difference is therefore paired,
with an interval clustered by day as in the gate. Outcomes count as in `make performance` and on the page /ops.
"""

import sys

import numpy as np
import pandas as pd

from monitoring import performance
from ontime import database, evaluation, locks, release, release_pointer
from ontime.release_pointer import NoRelease, Pointer
from ontime.schema import WORDS
from ontime.settings import load_settings
from pipelines.operations.promotion_checks import Comparison


def paired_log_loss(entities: pd.DataFrame) -> str:
    """The paired difference in log-loss with its 95 % interval by days. Raises ValueError for too few days."""
    difference = performance.loss_difference(entities)
    if difference is None:
        raise ValueError(
            f"{len(entities)} {WORDS.entities} of {entities['day'].nunique()} days were scored by both and have an "
            f"outcome; an interval by days needs at least {performance.FEWEST_DAYS} days"
        )
    mean, low, high, _ = comparison = Comparison.of(difference, len(entities))
    return (
        f"challenger minus champion {mean:+.4f}, 95 % interval by days {low:+.4f} to {high:+.4f}: {comparison.verdict}"
    )


def comparison_report(entities: pd.DataFrame, pointer: Pointer) -> str:
    """The lines to print. Raises ValueError if there is too little to compare; the message says what is missing."""
    assert pointer.challenger is not None  # noqa: S101  main has checked it
    difference = paired_log_loss(entities)
    label = entities["label"].to_numpy()
    losses = {
        name: evaluation.losses(label, entities[name].to_numpy(np.float64)).mean()
        for name in ("champion", "challenger")
    }
    return "\n".join(
        [
            f"compare: {len(entities):,} {WORDS.entities} of {entities['day'].nunique()} days, "
            f"{label.mean():.1%} {WORDS.positive}, "
            f"{entities['canary'].mean():.1%} answered by the challenger",
            f"log-loss: champion {pointer.version} {losses['champion']:.4f}, "
            f"challenger {pointer.challenger.version} {losses['challenger']:.4f}",
            difference,
        ]
    )


def main() -> None:
    try:
        settings = load_settings()
        pointer = release_pointer.read_pointer(settings.releases)
        if pointer is None or pointer.challenger is None:
            raise NoRelease("there is no challenger; for example: make shadow VERSION=2")
        engine = database.connect(settings.database_url)
        champion, challenger = (
            release.verify(settings.releases / each.version, each.manifest_sha256)
            for each in (pointer, pointer.challenger)
        )
        entities = performance.paired_predictions(engine, champion, challenger)
        print(comparison_report(entities, pointer))
    except (ValueError, locks.Busy) as error:
        sys.exit(f"compare: {error}")
