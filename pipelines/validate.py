"""Stage 2: data/ingested/ -> data/validated/, data/quarantined/, reports/data_quality.json. Raises ContractBroken.

Months are cleaned and written one by one, in several processes, so memory does not grow with their number.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from ontime import contract, partitions, refusal, schema
from ontime.contract_parts import Part
from ontime.problem.data import DATA
from ontime.progress import progress_bar
from ontime.schema import WORDS
from pipelines.engines import local
from pipelines.layout import (
    INGESTED,
    QUARANTINED,
    REPORTS,
    VALIDATED,
    all_months,
    first_rows,
    read_around,
    replacing_folder,
    write_json,
    write_record,
    write_table,
)

Month = tuple[str, Mapping[str, int]]  # its name, and the number of its first row in each table


def clean_month(month: Month) -> Part:
    """The rows of a month after the contract."""
    name, numbers = month
    partition = partitions.month(name, schema.ZONE)
    period = partition.start, partition.end
    return contract.clean_part(read_around(INGESTED, period, DATA.halo, numbers), period)


def write_month(month: Month, folder: Path) -> Part:
    """Write the rows of a month after the contract. Returns the part without them."""
    part = clean_month(month)
    for table in DATA.long if part.tables else ():
        if len(rows := part.tables[table.name]):
            write_table(rows, folder / table.name / f"{month[0]}.parquet")
    return part._replace(tables={name: rows for name, rows in part.tables.items() if DATA.table(name).moment is None})


def main() -> None:
    names = all_months(INGESTED)
    months: list[Month] = list(zip(names, first_rows(INGESTED, names), strict=True))
    with replacing_folder(VALIDATED) as folder:
        parts = local.map_parts(partial(write_month, folder=folder), months)
        bar = progress_bar(parts, desc="validate", unit="months", total=len(months))
        whole = contract.join_parts(bar, again=lambda: map(clean_month, months))
        for name, rows in whole.tables.items():
            write_table(rows, folder / f"{name}.parquet")
        write_record(folder)
    with replacing_folder(QUARANTINED) as folder:
        for name, rows in whole.quarantined.items():
            write_table(rows, folder / f"{name}.parquet")
    write_json(REPORTS / "data_quality.json", whole.report)
    hits = sum(rule["hits"] for rule in whole.report["rules"] if rule["action"] != "noted")
    print(
        f"validate: the contract holds; {hits:,} rows repaired or quarantined, "
        f"{whole.report['labelled']:,} {WORDS.entities} labelled"
    )


if __name__ == "__main__":
    with refusal.exit_on_refusal("validate"):
        main()
