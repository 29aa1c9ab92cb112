"""Exploration of the data, before any model: data/validated/ -> reports/eda.md and reports/eda/*.png."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ontime import exploration, files, plots, progress, rendering
from ontime.datasets import Tables
from ontime.declaration import Question
from ontime.params import load_params
from ontime.problem.data import DATA
from ontime.schema import WORDS
from ontime.sources import months_of
from pipelines.layout import EDA, REPORTS, VALIDATED, read_tables, replacing_folder

TEMPLATE = Path(__file__).parent / "templates/eda.md.jinja"


def monthly_counts(entities: pd.DataFrame) -> pd.DataFrame:
    """Rows, rows without a label, and the share of positives of each month."""
    counted = entities.assign(unlabelled=entities["label"].isna())
    return counted.groupby("month").agg(
        rows=("entity_id", "size"), unlabelled=("unlabelled", "sum"), positive=("label", "mean")
    )


def eda_page(months: pd.DataFrame, findings: Mapping[str, str], question: Question) -> str:
    """reports/eda.md; `findings` has the title of each plot."""
    return rendering.render(TEMPLATE, months=months.itertuples(), findings=findings, question=question)


def draw_plots(entities: pd.DataFrame, missing: pd.Series, drift: pd.DataFrame, folder: Path) -> dict[str, str]:
    """Save the plots in the folder. Returns their titles by name."""
    labelled = entities.groupby("hour")["label"]
    hours = labelled.mean()[labelled.count() >= 100]
    months, overall = entities.groupby("month")["label"].mean(), float(entities["label"].mean())
    heat = exploration.rate_by_hour_and_weekday(entities)
    figures = {
        "rate_by_month": plots.rate_by_month(months, overall),
        "rate_by_hour": plots.rate_by_hour(hours, overall),
        "rate_by_hour_and_weekday": plots.rate_by_hour_and_weekday(heat),
        "missing": plots.missingness(missing),
        "drift": plots.drift(drift, exploration.REFERENCE_MONTHS),
    }
    for name, figure in figures.items():
        plots.save(figure, folder / f"{name}.png")
    return {name: figure.finding for name, figure in figures.items()}


def drift_of(tables: Tables) -> pd.DataFrame:
    """The drift index of each declared column by month, in the order of the declaration."""
    drifts = []
    for name, columns in DATA.drift_of.items():
        table = DATA.table(name)
        rows = tables[name].assign(month=months_of(tables[name][table.moment]))
        drifts.append(exploration.drift_by_month(rows, columns))
    return pd.concat(drifts) if drifts else pd.DataFrame()


def main() -> None:
    question = load_params().question
    with progress.steps("explore", 3) as begin, replacing_folder(EDA) as folder:
        begin("reads the tables")
        tables = read_tables(VALIDATED)
        entities = exploration.with_clock(tables[DATA.entities], question.label_at_least)
        begin("measures drift by month")
        drift = drift_of(tables)
        begin("draws")
        findings = draw_plots(entities, exploration.missing_shares(tables), drift, folder)
        # Inside the block, so that an error leaves the previous plots unchanged.
        text = eda_page(monthly_counts(entities), findings, question)
    files.write_text(REPORTS / "eda.md", text)
    months = entities["month"].nunique()
    print(f"explore: {len(entities):,} {WORDS.entities}, {months} months: {REPORTS / 'eda.md'}")


if __name__ == "__main__":
    main()
