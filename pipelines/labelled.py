"""Reads the labelled entities of a period from data/features/, for the stages and tools that fit or score."""

import pandas as pd

from ontime import split
from pipelines.layout import FEATURES, read_months


def read_period(period: split.Period) -> pd.DataFrame:
    """The labelled entities of a period, with their features. Raises SplitBroken if there are none."""
    entities = split.labelled(split.within(read_months(FEATURES, split.months(period)), period))
    split.refuse_empty(entities, period)
    return entities
