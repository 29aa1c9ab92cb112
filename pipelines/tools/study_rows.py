"""The rows that the studies of features fit and judge: the features, and beside them the columns of all ideas."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from ontime import ideas, model, partitions, point_in_time, schema, split
from ontime.batches import Batches, Matrix
from ontime.datasets import KEY
from ontime.params import Params, Train
from ontime.partitions import Partition
from ontime.problem.data import DATA
from ontime.progress import progress_bar
from pipelines.labelled import LabelledRows, read_rows, survey
from pipelines.layout import VALIDATED, read_tables

ColumnSet = frozenset[str]  # names of features, and of columns of ideas


class StudyRows(NamedTuple):
    entities: LabelledRows
    features: Matrix
    ideas: Matrix
    idea_names: Sequence[str]  # of the columns of `ideas`
    request_ideas: ColumnSet = frozenset()  # those of them that are computed from the request alone


def read_study_rows(
    period: split.Period, categories: Mapping[str, Sequence[str]], declared: ideas.Ideas, params: Params
) -> StudyRows:
    """The labelled rows of a period, in memory. Raises FutureLeak for an idea that uses later data."""
    entities = read_rows(period, survey(period).rows, categories)
    features = entities.rows.in_memory()
    if not declared:
        return StudyRows(entities, features, np.empty((len(features), 0), np.float32), [])
    parts = progress_bar(list(month_parts(period)), desc="study features: builds ideas", unit="partitions")
    built = pd.concat([build_ideas(part, declared, params) for part in parts])
    columns = built.set_index(pd.Index(split.row_keys(built[KEY]))).drop(columns=[KEY, "moment"])
    from_request = {name for name, idea in declared.items() if isinstance(idea, ideas.RequestIdea)}
    names = [str(column) for column in columns]
    of_request = frozenset(column for column in names if column.partition(".")[0] in from_request)
    return StudyRows(entities, features, columns.loc[entities.keys].to_numpy(np.float32), names, of_request)


def month_parts(period: split.Period) -> Iterator[Partition]:
    """The months of a period; with a partition key, each once for every key."""
    for name in split.months(period):
        month = partitions.month(name, schema.ZONE)
        if DATA.partition_key is None:
            yield month
        else:
            entities = read_tables(VALIDATED, (month.start, month.end))[DATA.entities]
            yield from map(month.with_key, sorted(entities[DATA.partition_key].unique()))


def build_ideas(part: Partition, declared: ideas.Ideas, params: Params) -> pd.DataFrame:
    """The columns of all ideas for the entities of a partition, checked like features. Raises FutureLeak."""
    since, until = part.window(params.features)
    tables = read_tables(VALIDATED, (min(since, part.start - ideas.HALO), until), part.key)
    build = partial(
        ideas.idea_features, declared, start=part.start, end=part.end, params=params.features, question=params.question
    )
    built = build(tables)
    moments = point_in_time.draw_moments(built["moment"], seed=int(part.start.strftime("%Y%m")))
    point_in_time.refuse_future(tables, built, build, moments)
    return built


def with_copies(rows: StudyRows, train: Train) -> tuple[StudyRows, model.Labels]:
    """The rows that the stage `train` fits with this seed, whose last ones are copies with the request's features.

    Of the ideas, the copies have those that are computed from the request.
    """
    share, seed = train.request_only_share, train.seed
    batches, label = model.with_request_only(Batches.of(rows.features), rows.entities.label, share, seed)
    copies = rows.ideas[model.copied_rows(len(rows.ideas), share, seed)]
    copies[:, [name not in rows.request_ideas for name in rows.idea_names]] = np.nan
    return rows._replace(features=batches.in_memory(), ideas=np.vstack([rows.ideas, copies])), label


def matrix_with(rows: StudyRows, columns: ColumnSet) -> Matrix:
    """The features, those that are not among `columns` missing, and after them the columns of ideas among them."""
    features = rows.features.copy()
    features[:, [position for position, name in enumerate(schema.FEATURE_NAMES) if name not in columns]] = np.nan
    return np.hstack([features, rows.ideas[:, [name in columns for name in rows.idea_names]]])
