"""Kinds of days: days that are alike in the declared columns, found by k-means, for reports.

What happened on a day is known only afterwards, so its kind is neither a feature nor a slice of the gate.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score

from ontime.datasets import DayColumn
from ontime.findings import listed

COUNTS = range(2, 7)  # of clusters, to choose from
SEEDS = 10
STABLE = 0.9  # mean adjusted Rand index between the clusterings of the first seed and of the others
NEAR_BEST = 0.02  # silhouettes that differ by less count as equal: fewer clusters are then easier to read
FEWEST_DAYS = 60  # different ones of the training period; fewer are not grouped
TYPICAL_DAYS = 3  # of each kind: those nearest to its centre
DISTINCT = 1.0  # standard deviations from the mean: a kind is named after the columns that are this far off
USUAL = "nothing unusual"


class Clustering(NamedTuple):
    """How well a number of clusters fits the training period."""

    clusters: int
    silhouette: float  # Rousseeuw 1987: from -1, wrong, to 1, separate
    stability: float


@dataclass(frozen=True)
class DayKinds:
    """The kinds of days of the training period; later days get the kind whose centre is nearest."""

    columns: Sequence[DayColumn]
    period: tuple[date, date]  # that they were found in, its end excluded
    means: pd.Series
    deviations: pd.Series
    centres: NDArray[np.float64]  # in standard deviations, shape (kinds, columns)
    names: Sequence[str]
    clusterings: Sequence[Clustering]  # of every number of clusters that was tried

    @property
    def chosen(self) -> Clustering:
        return next(each for each in self.clusterings if each.clusters == len(self.names))

    def distances(self, days: pd.DataFrame) -> pd.DataFrame:
        """The distance of each day without a missing value from the centre of each kind."""
        complete = days[list(self.means.index)].dropna()
        standard = ((complete - self.means) / self.deviations).to_numpy()
        between = np.linalg.norm(standard[:, None, :] - self.centres, axis=2)
        return pd.DataFrame(between, index=complete.index, columns=list(self.names))

    def of_days(self, days: pd.DataFrame) -> pd.Series:
        """The kind of each day without a missing value."""
        return self.distances(days).idxmin(axis=1)


def fit_kinds(days: pd.DataFrame, columns: Sequence[DayColumn], period: tuple[date, date]) -> DayKinds | None:
    """The kinds of the days of a period, its end excluded; None if too few of them differ."""
    start, end = map(pd.Timestamp, period)
    within = days.loc[(days.index >= start) & (days.index < end), [each.name for each in columns]].dropna()
    if len(within.drop_duplicates()) < FEWEST_DAYS:
        return None
    means, deviations = within.mean(), within.std(ddof=0).replace(0.0, 1.0)
    standard = ((within - means) / deviations).to_numpy()
    clusterings = [_judge(standard, count) for count in COUNTS]
    centres = _cluster(standard, choose(clusterings).clusters, seed=0).cluster_centers_
    return DayKinds(columns, period, means, deviations, centres, _names(centres, columns), clusterings)


def choose(clusterings: Sequence[Clustering]) -> Clustering:
    """The fewest clusters whose silhouette is near the best, of those that other seeds reproduce, if there are any.

    >>> choose([Clustering(2, 0.34, 1.0), Clustering(3, 0.37, 1.0), Clustering(4, 0.38, 1.0), Clustering(5, 0.5, 0.7)])
    Clustering(clusters=3, silhouette=0.37, stability=1.0)
    """
    stable = [each for each in clusterings if each.stability >= STABLE] or clusterings
    best = max(each.silhouette for each in stable)
    return next(each for each in stable if each.silhouette >= best - NEAR_BEST)


def strength(silhouette: float) -> str:
    """The words of Kaufman and Rousseeuw, Finding Groups in Data (1990), for a silhouette."""
    words = {0.7: "strong", 0.5: "reasonable", 0.25: "weak"}
    return next((word for above, word in words.items() if silhouette > above), "no substantial")


def summarise_kinds(kinds: DayKinds, days: pd.DataFrame) -> pd.DataFrame:
    """One row a kind, the most frequent first: `days`, `share` of positive entities, columns' means, `typical` days.

    `days`: with the columns `labelled` and `positive` as well. `share` is NaN for a kind without labels.
    """
    distances = kinds.distances(days)
    grouped = days.loc[distances.index].groupby(distances.idxmin(axis=1))
    counts = grouped[["labelled", "positive"]].sum()
    table = pd.DataFrame({"days": grouped.size(), "share": counts["positive"] / counts["labelled"]})
    table = table.join(grouped[[each.name for each in kinds.columns]].mean())
    table["typical"] = [list(distances[name].nsmallest(TYPICAL_DAYS).index) for name in table.index]
    return table.sort_values("days", ascending=False)


def _cluster(standard: NDArray[np.float64], count: int, seed: int) -> KMeans:
    return KMeans(count, n_init=10, random_state=seed).fit(standard)


def _judge(standard: NDArray[np.float64], count: int) -> Clustering:
    first, *others = (_cluster(standard, count, seed).labels_ for seed in range(SEEDS))
    stability = np.mean([adjusted_rand_score(first, each) for each in others])
    return Clustering(count, round(float(silhouette_score(standard, first)), 3), round(float(stability), 3))


def _names(centres: NDArray[np.float64], columns: Sequence[DayColumn]) -> list[str]:
    """A name for each kind: its distinct columns, the farthest from the mean first; a number if it occurs twice."""
    names = []
    for centre in centres:
        distinct = [place for place in np.argsort(-np.abs(centre)) if abs(centre[place]) >= DISTINCT]
        words = [columns[place].high if centre[place] > 0 else columns[place].low for place in distinct]
        names.append(listed(words) if words else USUAL)
    repeated, numbers = Counter(names), Counter[str]()
    for place, name in enumerate(names):
        numbers[name] += 1
        names[place] = f"{name} {numbers[name]}" if repeated[name] > 1 else name
    return names
