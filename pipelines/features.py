"""Stage 3: data/validated/ -> data/features/, one file a month: features and label of every entity.

For a sample of moments the features are rebuilt from the data known by then. A feature that differs stops the stage.
"""

from datetime import date, timedelta
from functools import partial
from math import ceil
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd

from ontime import features, files, local_time, point_in_time, refusal, rendering, schema
from ontime.datasets import Tables
from ontime.declaration import Question
from ontime.params import Params, load_params
from ontime.problem.data import DATA
from ontime.progress import progress_bar
from ontime.schema import WORDS
from pipelines import workers
from pipelines.layout import FEATURES, VALIDATED, months_in, read_tables, replacing_folder, write_table

DOCUMENTATION = Path("docs/features.md")
TEMPLATE = Path(__file__).parent / "templates/features.md.jinja"
SHORTEST_MONTH_HOURS = 28 * 24


def months_needed(month: str, months: list[str], params: Params) -> list[str]:
    """The months that a month's features are computed from: those before it that the halo reaches, and the next."""
    position, before = months.index(month), ceil(params.features.halo_hours / SHORTEST_MONTH_HOURS)
    return months[max(position - before, 0) : position + 2]


def documentation(question: Question) -> str:
    """docs/features.md: the declared features as a table."""
    return rendering.render(TEMPLATE, features=schema.FEATURES, question=question)


def month_bounds(month: str, zone: ZoneInfo) -> tuple[pd.Timestamp, pd.Timestamp]:
    """The first moments of a month and of the next one in a time zone.

    >>> start, end = month_bounds("2013-03", ZoneInfo("America/New_York"))
    >>> start.isoformat(), end.isoformat()
    ('2013-03-01T00:00:00-05:00', '2013-04-01T00:00:00-04:00')
    """
    first = date.fromisoformat(f"{month}-01")
    following = (first + timedelta(days=31)).replace(day=1)
    start, end = (pd.Timestamp(local_time.midnight(day, zone)) for day in (first, following))
    return start.tz_convert(zone), end.tz_convert(zone)


def build_month(month: str, tables: Tables, params: Params) -> tuple[pd.DataFrame, list[int]]:
    """The month's features and labels, and the number of rows checked at each moment. Raises FutureLeak."""
    start, end = month_bounds(month, schema.ZONE)
    build = partial(features.build, start=start, end=end, params=params.features, question=params.question)
    built = build(tables)
    labelled = features.with_label(built, tables[DATA.entities], params.label.at_least)
    moments = point_in_time.draw_moments(built["moment"][labelled["label"].notna()], seed=int(month.replace("-", "")))
    return labelled, [point_in_time.refuse_future(tables, built, build, [moment]) for moment in moments]


def write_month(month: str, months: list[str], params: Params, folder: Path) -> tuple[int, list[int]]:
    """Write the month's file. Returns its number of rows, and the number checked at each moment."""
    labelled, compared = build_month(month, read_tables(VALIDATED, months_needed(month, months, params)), params)
    write_table(labelled, folder / f"{month}.parquet")
    return len(labelled), compared


def main() -> None:
    params = load_params()
    months = months_in(VALIDATED / DATA.entities)
    rows, compared = 0, []
    with replacing_folder(FEATURES) as folder:
        work = partial(write_month, months=months, params=params, folder=folder)
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
