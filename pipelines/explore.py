"""Exploration of the data, before any model: data/validated/ -> reports/eda.md and reports/eda/*.png.

Counts are added month by month, so memory does not grow with the number of months.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ontime import day_kinds, exploration, files, plots, progress, rendering
from ontime.day_kinds import DayKinds
from ontime.declaration import Question
from ontime.params import Params, load_params
from ontime.problem.data import DATA
from ontime.schema import WORDS
from pipelines.day_table import read_kinds
from pipelines.layout import EDA, REPORTS, VALIDATED, all_months, months_in, read_months, read_small, replacing_folder

TEMPLATE = Path(__file__).parent / "templates/eda.md.jinja"


def count_month(month: str, question: Question) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The labels of a month by weekday and hour, and the nulls of its columns."""
    tables = {table.name: read_months(VALIDATED / table.name, [month]) for table in DATA.long}
    entities = exploration.with_clock(tables[DATA.entities], question.label_at_least)
    return exploration.count_labels(entities), exploration.count_nulls(tables)


def monthly_counts(labels: pd.DataFrame) -> pd.DataFrame:
    """Rows, rows without a label, and the share of positives of each month."""
    sums = labels.groupby("month").sum()
    return pd.DataFrame(
        {
            "rows": sums["rows"],
            "unlabelled": sums["rows"] - sums["labelled"],
            "positive": sums["positive"] / sums["labelled"],
        }
    )


class Kinds(NamedTuple):
    """The kinds of days, their summary, and the kind of each day."""

    definition: DayKinds
    table: pd.DataFrame
    of_days: pd.Series


def find_kinds(params: Params) -> Kinds | None:
    """None if days are not grouped: see `read_kinds`."""
    if (both := read_kinds(params)) is None:
        return None
    kinds, days = both
    return Kinds(kinds, day_kinds.summarise_kinds(kinds, days), kinds.of_days(days))


def eda_page(months: pd.DataFrame, findings: Mapping[str, str], question: Question, kinds: Kinds | None = None) -> str:
    """reports/eda.md; `findings` has the title of each plot."""
    return rendering.render(
        TEMPLATE, months=months.itertuples(), findings=findings, question=question, kinds=kinds, rules=day_kinds
    )


def draw_plots(
    labels: pd.DataFrame, missing: pd.Series, drift: pd.DataFrame, kinds: Kinds | None, folder: Path
) -> dict[str, str]:
    """Save the plots in the folder. Returns their titles by name."""
    hours = labels.groupby("hour").sum()
    hours = hours[hours["labelled"] >= exploration.ENOUGH]
    overall = float(labels["positive"].sum() / labels["labelled"].sum())
    heat = exploration.rate_by_hour_and_weekday(labels)
    figures = {
        "rate_by_month": plots.rate_by_month(monthly_counts(labels)["positive"], overall),
        "rate_by_hour": plots.rate_by_hour(hours["positive"] / hours["labelled"], overall),
        "rate_by_hour_and_weekday": plots.rate_by_hour_and_weekday(heat),
        "missing": plots.missingness(missing),
        "drift": plots.drift(drift, exploration.REFERENCE_MONTHS),
        **({"kinds_of_days": plots.kinds_of_days(kinds.table, kinds.of_days)} if kinds else {}),
    }
    for name, figure in figures.items():
        plots.save(figure, folder / f"{name}.png")
    return {name: figure.finding for name, figure in figures.items()}


def read_drift() -> pd.DataFrame:
    """The drift index of each declared column by month against the first ones, in the order of the declaration."""
    drifts = []
    for name, columns in DATA.drift_of.items():
        read = partial(read_months, VALIDATED / name, columns=[*columns])
        months = months_in(VALIDATED / name)
        reference = read(months[: exploration.REFERENCE_MONTHS])
        drifts.append(exploration.drift_by_month(reference, ((month, read([month])) for month in months)))
    return pd.concat(drifts) if drifts else pd.DataFrame()


def main() -> None:
    params = load_params()
    question = params.question
    with progress.steps("explore", 4) as begin, replacing_folder(EDA) as folder:
        begin("counts labels and missing values by month")
        counts = [count_month(month, question) for month in all_months(VALIDATED)]
        labels = pd.concat([of_month for of_month, _ in counts])
        nulls = [of_month for _, of_month in counts] + [exploration.count_nulls(read_small(VALIDATED))]
        begin("measures drift by month")
        drift = read_drift()
        begin("groups days")
        kinds = find_kinds(params)
        begin("draws")
        findings = draw_plots(labels, exploration.missing_shares(pd.concat(nulls)), drift, kinds, folder)
        months = monthly_counts(labels)
        # Inside the block, so that an error leaves the previous plots unchanged.
        text = eda_page(months, findings, question, kinds)
    files.write_text(REPORTS / "eda.md", text)
    print(f"explore: {months['rows'].sum():,} {WORDS.entities}, {len(months)} months: {REPORTS / 'eda.md'}")


if __name__ == "__main__":
    main()
