"""`ontime profile`: writes the file of `Data.profile`, with which the contract compares months of measured columns."""

import sys

from ontime import column_profiles, contract, files, sources
from ontime.column_profiles import Extremes
from ontime.datasets import Tables
from ontime.params import load_params
from ontime.problem.data import DATA


def extremes_of_tables(tables: Tables) -> Extremes:
    """The extremes of all months; `tables` are repaired, but need not fulfil the contract."""
    profiles = (column_profiles.profiles_of(table, tables[table.name]) for table in DATA.tables)
    return column_profiles.extremes_of(each for group in profiles for each in group)


def main() -> None:
    if DATA.profile is None:
        sys.exit(
            "profile: problem/data.py declares no `profile`: name a file there, and the measured columns of a Table"
        )
    dataset = load_params().dataset
    extremes = extremes_of_tables(contract.repaired(sources.read(dataset)))
    files.write_text(DATA.profile, column_profiles.as_text(extremes))
    print(f"profile: wrote {DATA.profile.name} from {dataset}: {sum(map(len, extremes.values()))} columns")
