"""Stage 3: data/validated/ -> data/features/, one file a month: features and label of every entity.

For a sample of moments the features are rebuilt from the data known by then. A feature that differs stops the stage.
"""

from functools import partial
from pathlib import Path

import pandas as pd

from ontime import features, files, partitions, point_in_time, refusal, rendering, schema
from ontime.datasets import Tables
from ontime.declaration import Question
from ontime.params import Params, load_params
from ontime.partitions import Partition
from ontime.problem.data import DATA
from ontime.progress import progress_bar
from ontime.schema import WORDS
from pipelines import workers
from pipelines.layout import FEATURES, VALIDATED, months_in, read_tables, replacing_folder, write_table

DOCUMENTATION = Path("docs/features.md")
TEMPLATE = Path(__file__).parent / "templates/features.md.jinja"


def documentation(question: Question) -> str:
    """docs/features.md: the declared features as a table."""
    return rendering.render(TEMPLATE, features=schema.FEATURES, question=question)


def build_partition(partition: Partition, tables: Tables, params: Params) -> tuple[pd.DataFrame, list[int]]:
    """The partition's features and labels, and the number of rows checked at each moment. Raises FutureLeak."""
    build = partial(
        features.build, start=partition.start, end=partition.end, params=params.features, question=params.question
    )
    built = build(tables)
    labelled = features.with_label(built, tables[DATA.entities], params.label.at_least)
    seed = int(partition.name.replace("-", ""))
    moments = point_in_time.draw_moments(built["moment"][labelled["label"].notna()], seed)
    return labelled, [point_in_time.refuse_future(tables, built, build, [moment]) for moment in moments]


def write_partition(name: str, params: Params, folder: Path) -> tuple[int, list[int]]:
    """Write a month's file. Returns its number of rows, and the number checked at each moment."""
    partition = partitions.month(name, schema.ZONE)
    tables = read_tables(VALIDATED, partition.window(params.features))
    labelled, compared = build_partition(partition, tables, params)
    write_table(labelled, folder / f"{name}.parquet")
    return len(labelled), compared


def main() -> None:
    params = load_params()
    months = months_in(VALIDATED / DATA.entities)
    rows, compared = 0, []
    with replacing_folder(FEATURES) as folder:
        work = partial(write_partition, params=params, folder=folder)
        written = workers.map_parts(work, months)
        for count, at_moments in progress_bar(written, desc="features", unit="months", total=len(months)):
            rows += count
            compared += at_moments
    files.write_text(DOCUMENTATION, documentation(params.question))
    print(
        f"features: {rows:,} {WORDS.entities} x {len(schema.FEATURES)} features, {len(months)} months; "
        f"point-in-time check passed ({sum(compared):,} rows at {len(compared)} moments)"
    )


if __name__ == "__main__":
    with refusal.exit_on_refusal("features"):
        main()
