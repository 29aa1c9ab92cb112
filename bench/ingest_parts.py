"""Stage `ingest` with a reader that yields months, which the folder `grown` has: for `make bench-scale`."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pandas as pd

from ontime.datasets import Tables
from ontime.params import load_params
from ontime.problem.data import DATA
from pipelines import ingest
from pipelines.layout import all_months, read_small

GROWN = Path("grown")


def read_grown(_: object) -> Iterator[Tables]:
    yield read_small(GROWN)
    for month in all_months(GROWN):
        paths = {table.name: GROWN / table.name / f"{month}.parquet" for table in DATA.long}
        yield {name: pd.read_parquet(path) for name, path in paths.items() if path.is_file()}


if __name__ == "__main__":
    name = load_params().dataset
    with mock.patch.dict(DATA.datasets, {name: replace(DATA.datasets[name], read=read_grown)}):
        ingest.main()
