"""Stage 3: data/validated/ -> data/features/, one file a month: features and label of every flight.

For a sample of moments the features are built again without the future; a feature that changes stops the stage.
"""

from functools import partial
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from ontime import features, files, point_in_time, refusal, schema
from ontime.params import Params, load_params
from ontime.schema import Question
from ontime.sources import Tables
from pipelines.layout import FEATURES, VALIDATED, months_in, read_months, replacing_folder, write_table

DOCUMENTATION = Path("docs/features.md")


def month_with_halo(month: str, months: list[str]) -> Tables:
    """The tables of a month with its neighbours: all that its features may look at."""
    place = months.index(month)
    near = months[max(place - 1, 0) : place + 2]
    observed = [
        each for each in near if each in months_in(VALIDATED / "weather")
    ]  # a timetable is ahead of the weather
    return Tables(
        flights=read_months(VALIDATED / "flights", near),
        weather=read_months(VALIDATED / "weather", observed),
        **{name: pd.read_parquet(VALIDATED / f"{name}.parquet") for name in ("planes", "airports", "airlines")},
    )


def documentation(question: Question) -> str:
    """docs/features.md: what schema.py declares, as a table."""
    rows = [f"| `{each.name}` | {each.unit} | {each.meaning(question)} | {each.known} |" for each in schema.FEATURES]
    return "\n".join(
        [
            f"# The {len(schema.FEATURES)} features",
            "",
            "Made by the `features` stage from `src/ontime/schema.py`. The prediction moment is the scheduled",
            f"departure less `features.lead_minutes`, here {question.lead}; a feature known at the moment is made of",
            f"events known by then. Late is {question.late_minutes} minutes or more (`label.late_minutes`), for a",
            "departure as for an arrival.",
            "",
            "| name | unit | meaning | known at |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def build_month(month: str, tables: Tables, params: Params) -> tuple[pd.DataFrame, list[int]]:
    """The month's features and labels, and how many rows were compared at each moment. Raises FutureLeak."""
    start = pd.Timestamp(f"{month}-01", tz=schema.CLOCK)
    end = start + pd.DateOffset(months=1)
    build = partial(features.build, start=start, end=end, params=params.features, label=params.label)
    built = build(tables)
    labelled = features.with_label(built, tables.flights, params.label.late_minutes)
    moments = point_in_time.draw_moments(built["moment"][labelled["late"].notna()], seed=int(month.replace("-", "")))
    return labelled, [point_in_time.refuse_future(tables, built, build, [moment]) for moment in moments]


def main() -> None:
    params = load_params()
    months = months_in(VALIDATED / "flights")
    rows, compared = 0, []
    with replacing_folder(FEATURES) as folder:
        for month in tqdm(months, desc="features", unit="month", disable=None):
            labelled, at_moments = build_month(month, month_with_halo(month, months), params)
            write_table(labelled, folder / f"{month}.parquet")
            rows += len(labelled)
            compared += at_moments
    files.write_text(DOCUMENTATION, documentation(params.question))
    print(
        f"features: {rows:,} flights x {len(schema.FEATURES)} features, {len(months)} months; point in time: "
        f"{sum(compared):,} rows are the same without what came after {len(compared)} moments"
    )


if __name__ == "__main__":
    with refusal.told("features"):
        main()
