"""Stage 3: data/validated/ -> data/features/, one file a month: features, label and split of every flight."""

from pathlib import Path

import pandas as pd
from tqdm import tqdm

from ontime import features, files, schema
from ontime.params import load_params
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


def main() -> None:
    params = load_params()
    months = months_in(VALIDATED / "flights")
    rows = 0
    with replacing_folder(FEATURES) as folder:
        for month in tqdm(months, desc="features", unit="month", disable=None):
            tables = month_with_halo(month, months)
            start = pd.Timestamp(f"{month}-01", tz=schema.CLOCK)
            built = features.build(tables, start, start + pd.DateOffset(months=1), params.features, params.label)
            labelled = features.with_label(built, tables.flights, params.label.late_minutes)
            write_table(labelled, folder / f"{month}.parquet")
            rows += len(labelled)
    files.write_text(DOCUMENTATION, documentation(params.question))
    print(f"features: {rows:,} flights x {len(schema.FEATURES)} features, {len(months)} months")


if __name__ == "__main__":
    main()
