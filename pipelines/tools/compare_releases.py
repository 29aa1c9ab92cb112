"""`make compare`: champion and challenger on the entities that both scored and whose outcome is known.

Both said their word on the very same requests: one as the answer, the other in the shadow. So the difference is
paired, and its interval is by days, as the gate's is. What is known is what `make performance`
and the page know.
"""

import sys

import numpy as np
import pandas as pd

from monitoring import performance
from ontime import database, environment, evaluation, locks, release, release_pointer
from ontime.release_pointer import NoRelease, Pointer
from ontime.schema import WORDS
from ontime.settings import load_settings
from pipelines.operations.promotion_checks import Comparison


def verdict(entities: pd.DataFrame) -> str:
    """The paired difference in log-loss with its 95 % interval by days. Raises ValueError where that needs more."""
    found = performance.loss_difference(entities)
    if found is None:
        raise ValueError(
            f"{len(entities)} {WORDS.entities} of {entities['day'].nunique()} days were scored by both and have an "
            "outcome; "
            f"an interval by days needs at least {performance.FEWEST_DAYS}"
        )
    mean, low, high, _ = comparison = Comparison.of(found, len(entities))
    return (
        f"challenger less champion {mean:+.4f}, 95 % interval by days {low:+.4f} to {high:+.4f}: {comparison.verdict}"
    )


def report(entities: pd.DataFrame, pointer: Pointer) -> str:
    """All lines that are printed. Raises ValueError where there is nothing to compare, saying what is missing."""
    assert pointer.challenger is not None  # noqa: S101  main has asked
    difference = verdict(entities)
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
            raise NoRelease("nobody challenges the current release; try `make shadow VERSION=2`")
        engine = database.connect(settings.database_url)
        champion, challenger = (
            release.verify(settings.releases / each.version, each.manifest_sha256)
            for each in (pointer, pointer.challenger)
        )
        entities = performance.paired_predictions(engine, champion, challenger)
        print(report(entities, pointer))
    except (ValueError, locks.Busy) as nothing:
        sys.exit(f"compare: {nothing}")


if __name__ == "__main__":
    environment.enforce()
    main()
