"""What all tests share: one thread (three times faster on two cores), and the real data, read once."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything loads OpenMP

from datetime import timedelta

import pandas as pd
import pytest

from ontime import contract, features, schema, sources
from ontime.params import Params, load_params
from ontime.sources import Tables


@pytest.fixture(scope="session")
def params() -> Params:
    return load_params()


@pytest.fixture(scope="session")
def raw() -> Tables:
    """The tables of 2013 as they come."""
    return sources.read("2013")


@pytest.fixture(scope="session")
def tables(raw: Tables) -> Tables:
    """The tables of 2013 after the contract."""
    return contract.clean(raw)[0]


@pytest.fixture(scope="session")
def weeks(tables: Tables, params: Params) -> pd.DataFrame:
    """Three weeks of February 2013 with features and label: enough to fit a small model on."""
    start = pd.Timestamp("2013-02-04", tz=schema.CLOCK)
    built = features.build(tables, start, start + timedelta(weeks=3), params.features)
    return features.with_label(built, tables.flights, params.label.late_minutes)
