"""A look at the data before any model: data/validated/ -> reports/eda.md and reports/eda/*.png."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ontime import exploration, files, plots
from ontime.datasets import Tables
from ontime.declaration import Question
from ontime.params import load_params
from ontime.problem.data import DATA
from ontime.schema import WORDS
from ontime.sources import month_of
from pipelines.layout import EDA, REPORTS, VALIDATED, read_tables, replacing_folder


def by_month(entities: pd.DataFrame) -> pd.DataFrame:
    """Rows, rows without a label, and the share positive of each month."""
    counted = entities.assign(unlabelled=entities["label"].isna())
    return counted.groupby("month").agg(
        rows=("entity_id", "size"), unlabelled=("unlabelled", "sum"), positive=("label", "mean")
    )


def report(months: pd.DataFrame, says: Mapping[str, str], question: Question) -> str:
    """The page around the pictures; `says` is what each of them says."""
    lines = [
        f"| {row.Index} | {row.rows:,} | {row.unlabelled:,} | {_share(row.positive)} |" for row in months.itertuples()
    ]
    head = [f"| month | {WORDS.entities} | without a label | {WORDS.positive} |", "| --- | --- | --- | --- |"]
    table = "\n".join([*head, *lines])
    return f"""# The data before any model

Made by the `explore` stage. {WORDS.definition.format(**question.terms)}
What is without a label ({WORDS.without_label}) is counted here, by reason in [data_quality.json](data_quality.json).

{table}

## The season

{says["rate_by_month"]}. A model is validated and tested on months after those it learned from,
and its loss is never compared across months.

![{says["rate_by_month"]}](eda/rate_by_month.png)

## The day

{says["rate_by_hour"]}. {WORDS.of_the_day}

![{says["rate_by_hour"]}](eda/rate_by_hour.png)
![{says["rate_by_hour_and_weekday"]}](eda/rate_by_hour_and_weekday.png)

## What is missing

{says["missing"]}. {WORDS.of_the_missing}

![{says["missing"]}](eda/missing.png)

## What drifts

{says["drift"]}. What has seasons drifts with them, so an alarm on every feature would ring for months: seasonal drift
is reported and never acted upon by itself.

![{says["drift"]}](eda/drift.png)
"""


def _share(share: Any) -> str:
    return "not known" if pd.isna(share) else f"{share:.1%}"


def draw(entities: pd.DataFrame, missing: pd.Series, drift: pd.DataFrame, folder: Path) -> dict[str, str]:
    """The pictures into the folder; what each of them says, by name."""
    labelled = entities.groupby("hour")["label"]
    hours = labelled.mean()[labelled.count() >= 100]
    months, overall = entities.groupby("month")["label"].mean(), float(entities["label"].mean())
    heat = exploration.rate_by_hour_and_weekday(entities)
    pictures = {
        "rate_by_month": plots.rate_by_month(months, overall),
        "rate_by_hour": plots.rate_by_hour(hours, overall),
        "rate_by_hour_and_weekday": plots.rate_by_hour_and_weekday(heat),
        "missing": plots.missingness(missing),
        "drift": plots.drift(drift, exploration.REFERENCE_MONTHS),
    }
    for name, picture in pictures.items():
        plots.save(picture, folder / f"{name}.png")
    return {name: picture.finding for name, picture in pictures.items()}


def drift_of(tables: Tables) -> pd.DataFrame:
    """The index of each declared column by month, in the order of the declaration."""
    found = []
    for name, columns in DATA.drift_of.items():
        table = DATA.table(name)
        rows = tables[name].assign(month=month_of(tables[name][table.moment]))
        found.append(exploration.drift_by_month(rows, columns))
    return pd.concat(found) if found else pd.DataFrame()


def main() -> None:
    tables, question = read_tables(VALIDATED), load_params().question
    entities = exploration.with_clock(tables[DATA.entities], question.label_at_least)
    with replacing_folder(EDA) as folder:
        says = draw(entities, exploration.missing_shares(tables), drift_of(tables), folder)
        text = report(by_month(entities), says, question)  # before anything is replaced, as all that may fail
    files.write_text(REPORTS / "eda.md", text)
    months = entities["month"].nunique()
    print(f"explore: {len(entities):,} {WORDS.entities}, {months} months: {REPORTS / 'eda.md'}")


if __name__ == "__main__":
    main()
