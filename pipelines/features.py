"""Stage 3: data/validated/ -> data/features/, one file a partition: features and label of every entity.

A partition is a month, or a week where a month does not fit into memory (`features.partition`). For a sample of moments
the features are rebuilt from the data known by then. A feature that differs stops the stage.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from ontime import features, files, partitions, point_in_time, refusal, rendering, schema
from ontime.datasets import Tables
from ontime.declaration import Question
from ontime.params import FeatureParams, Params, load_params
from ontime.partitions import Partition
from ontime.problem.data import DATA
from ontime.progress import progress_bar
from ontime.refusal import Refusal
from ontime.schema import WORDS
from pipelines import engines, storage
from pipelines.layout import FEATURES, VALIDATED, months_recorded, read_months, read_tables, replacing_folder
from pipelines.storage import Place

DOCUMENTATION = Path("docs/features.md")
TEMPLATE = Path(__file__).parent / "templates/features.md.jinja"


class KeyMissing(Refusal):
    """A row has no partition key."""


def documentation(question: Question) -> str:
    """docs/features.md: the declared features as a table."""
    return rendering.render(TEMPLATE, features=schema.FEATURES, question=question)


def partitions_of(folder: Path, params: FeatureParams) -> Iterator[Partition]:
    """The partitions of a folder of tables, in the order of their names. Raises KeyMissing."""
    for month in months_recorded(folder)[DATA.entities]:
        keys = partition_keys(folder, month)
        parts = [partitions.month(month, schema.ZONE)]
        if params.partition == "week":
            parts = list(partitions.weeks(month, schema.ZONE))
        for part in parts:
            yield from (part.with_key(key) for key in keys) if keys else [part]


def partition_keys(folder: Path, month: str) -> list[str]:
    """The values of `DATA.partition_key` in a month, in order; none if it is not declared. Raises KeyMissing."""
    if DATA.partition_key is None:
        return []
    keys = read_months(folder / DATA.entities, [month], columns=[DATA.partition_key])[DATA.partition_key]
    if keys.isna().any():
        raise KeyMissing(
            f"{DATA.entities}.{DATA.partition_key}, the partition key, is empty in {keys.isna().sum():,} rows of "
            f"{month}: they would be in no partition"
        )
    return sorted(keys.unique())


def build_partition(partition: Partition, tables: Tables, params: Params) -> tuple[pd.DataFrame, list[int]]:
    """The partition's features and labels, and the number of rows checked at each moment. Raises FutureLeak."""
    build = partial(
        features.build, start=partition.start, end=partition.end, params=params.features, question=params.question
    )
    built = build(tables)
    labelled = features.with_label(built, tables[DATA.entities], params.label.at_least)
    seed = int(partition.start.strftime("%Y%m"))
    moments = point_in_time.draw_moments(built["moment"][labelled["label"].notna()], seed)
    return labelled, [point_in_time.refuse_future(tables, built, build, [moment]) for moment in moments]


def write_partition(partition: Partition, params: Params, source: Place, folder: Place) -> tuple[int, list[int]]:
    """Write a partition's file. Returns its number of rows, and the number checked at each moment.

    Raises MonthsMissing if a month is lost that its window needs.
    """
    tables = read_tables(source, partition.window(params.features), partition.key)
    labelled, compared = build_partition(partition, tables, params)
    storage.write_parquet(labelled, folder, f"{partition.name}.parquet")
    return len(labelled), compared


def main() -> None:
    params = load_params()
    parts = list(partitions_of(VALIDATED, params.features))
    rows, compared = 0, []
    with replacing_folder(FEATURES) as folder, storage.shared({"tables": VALIDATED}, folder) as places:
        work = partial(write_partition, params=params, source=places["tables"], folder=places["outputs"])
        written = engines.map_parts(work, parts)
        for count, at_moments in progress_bar(written, desc="features", unit="partitions", total=len(parts)):
            rows += count
            compared += at_moments
    files.write_text(DOCUMENTATION, documentation(params.question))
    print(
        f"features: {rows:,} {WORDS.entities} x {len(schema.FEATURES)} features, {len(parts)} partitions; "
        f"point-in-time check passed ({sum(compared):,} rows at {len(compared)} moments)"
    )


if __name__ == "__main__":
    with refusal.exit_on_refusal("features"):
        main()
