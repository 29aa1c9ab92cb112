"""The rows that `bench.feast_comparison` stores, looks up and joins, and the values that it expects."""

from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ontime import features, local_time, partitions, schema, split
from ontime.datasets import KEY
from ontime.declaration import Question
from ontime.params import Params
from ontime.split import Period
from pipelines.layout import FEATURES, VALIDATED, read_months, read_tables

EARLIER = timedelta(hours=1)
COLUMNS = [KEY, "moment", *schema.ONLINE]
UNKNOWN = "UNKNOWN"  # an entity that no table has
# The time that is asked for, relative to the prediction moment, and the row to return: 0 is the earlier one.
CASES = {
    "before the first row": (-1.5 * EARLIER, None),
    "at the moment of the first row": (-EARLIER, 0),
    "between both rows": (-0.5 * EARLIER, 0),
    "at the prediction moment": (timedelta(0), 1),
    "after the last row": (0.5 * EARLIER, 1),
}


class JoinQuestion(NamedTuple):
    """Entities with a time, and the features that are known of them at that time: NaN if there is no row yet."""

    entity_times: pd.DataFrame  # entity_id, event_timestamp, place, case
    expected: pd.DataFrame  # the columns of schema.ONLINE, one row for each row of `entity_times`

    def facts(self, joined: pd.DataFrame) -> dict[str, Any]:
        """How many rows were asked for, returned, dropped in which case, and returned with other values."""
        requested = self.entity_times["case"].value_counts(sort=False)
        returned = joined["case"].value_counts().reindex(requested.index, fill_value=0)
        return {
            "asked": len(self.entity_times),
            "returned": len(joined),
            "dropped": {str(case): int(count) for case, count in (requested - returned).items()},
            "differing": differing_rows(self.expected.iloc[joined["place"]], joined),
        }


def last_days(params: Params, days: int) -> tuple[pd.DataFrame, Period]:
    """The feature table of the last days of the test period, as the stage `features` has written it."""
    until = split.periods(params.split)["test"].until
    period = Period(until - timedelta(days=days), until)
    return split.within(read_months(FEATURES, split.months(period)), period)[COLUMNS].reset_index(drop=True), period


def an_hour_earlier(rows: pd.DataFrame, period: Period, params: Params) -> pd.DataFrame:
    """The features of the same entities as of an hour before their prediction moment, in the same order."""
    minutes = params.features.lead_minutes + int(EARLIER.total_seconds() // 60)
    longer = params.features.model_copy(update={"lead_minutes": minutes})
    question = Question(params.label.at_least, minutes)
    start, end = (local_time.midnight(day) for day in period)
    tables = read_tables(VALIDATED, partitions.window(start - EARLIER, end, longer))
    built = features.build(tables, start, end, longer, question)
    return built.set_index(KEY).loc[rows[KEY]].reset_index()[COLUMNS]


def join_question(earlier: pd.DataFrame, rows: pd.DataFrame, entities: int) -> JoinQuestion:
    """Each of so many entities in each of the CASES, and an entity that is unknown."""
    places = np.unique(np.linspace(0, len(rows) - 1, entities).astype(int))
    versions = [each[[*schema.ONLINE]].iloc[places] for each in (earlier, rows)]
    times, expected = [], []
    for case, (after, version) in CASES.items():
        selected = rows.iloc[places]
        times.append(pd.DataFrame({KEY: selected[KEY], "event_timestamp": selected["moment"] + after, "case": case}))
        expected.append(versions[1 if version is None else version])
        if version is None:
            expected[-1] = expected[-1].iloc[:0].reindex(range(len(places)))
    last = rows["moment"].iloc[[-1]]
    times.append(pd.DataFrame({KEY: UNKNOWN, "event_timestamp": last, "case": "unknown entity"}))
    expected.append(expected[0].iloc[:1])
    whole = pd.concat(times, ignore_index=True)
    return JoinQuestion(whole.assign(place=range(len(whole))), pd.concat(expected, ignore_index=True))


def merged_as_of(history: pd.DataFrame, entity_times: pd.DataFrame) -> pd.DataFrame:
    """The same join by pandas alone."""
    joined = pd.merge_asof(
        entity_times.sort_values("event_timestamp"), history.sort_values("moment"), by=KEY,
        left_on="event_timestamp", right_on="moment",
    )  # fmt: skip
    return joined.sort_values("place", ignore_index=True)


def differing_rows(expected: pd.DataFrame, returned: pd.DataFrame) -> int:
    """The number of rows with another value in any bit. Numbers are compared as float32, as the model reads them."""
    numbers = [name for name in schema.ONLINE if name not in schema.ONLINE_TEXTS]
    bits = [each[numbers].to_numpy("<f4").view("<u4") for each in (expected, returned)]
    differs = (bits[0] != bits[1]).any(axis=1)
    for name in schema.ONLINE_TEXTS:
        texts = [each[name].astype(object).where(each[name].notna(), None).to_numpy() for each in (expected, returned)]
        differs |= texts[0] != texts[1]
    return int(differs.sum())
