"""The online store: timetable, features and, where they are known by now, outcomes of the test period's flights.

So a real flight of November can be asked for, and how it ended can be looked up.
"""

import pandas as pd
import sqlalchemy as sa
from tqdm import tqdm

from ontime import database, schema, split
from ontime.params import load_params
from ontime.settings import load_settings
from pipelines.layout import FEATURES, VALIDATED, read_months

BATCH_ROWS = 5000
TIMETABLE = [column.name for column in database.flights.columns]


def materialise(engine: sa.Engine, features: pd.DataFrame, timetable: pd.DataFrame) -> None:
    """Put the rows of `features` into the online store, exactly as training saw them, with their timetable.

    `timetable` has the flights' own columns, `features` the label as well: an arrived flight's outcome is kept.
    """
    for start in tqdm(range(0, len(features), BATCH_ROWS), desc="materialise", disable=None):
        rows = features.iloc[start : start + BATCH_ROWS]
        flights = timetable.loc[rows["flight_id"]]
        database.store_features(
            engine,
            rows["flight_id"].tolist(),
            rows["moment"].dt.to_pydatetime().tolist(),
            rows[list(schema.MATERIALISED)].to_numpy("float32"),
        )
        database.store_flights(engine, _records(flights[TIMETABLE]))
        database.store_outcomes(engine, outcomes_of(rows, flights))


def outcomes_of(features: pd.DataFrame, flights: pd.DataFrame) -> list[dict[str, object]]:
    """Labels, known when the flight has arrived; cancelled and diverted flights have none."""
    told = pd.DataFrame(
        {
            "flight_id": features["flight_id"].to_numpy(),
            "late": features["late"].to_numpy(),
            "known_at": flights["arrived_at"].to_numpy(),
        }
    )
    told["known_at"] = pd.to_datetime(told["known_at"], utc=True)
    known = told[told["late"].notna() & told["known_at"].notna()]
    return _records(known.assign(late=known["late"].astype(bool)))


def _records(table: pd.DataFrame) -> list[dict[str, object]]:
    """Rows as the database takes them: Python's own datetimes and numbers."""
    columns = {
        name: values.dt.to_pydatetime().tolist() if isinstance(values.dtype, pd.DatetimeTZDtype) else values.tolist()
        for name, values in table.items()
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]  # type: ignore[arg-type]  # column names are text


def main() -> None:
    period = split.periods(load_params().split)["test"]
    months = split.months(period)
    features = split.within(read_months(FEATURES, months), period)
    timetable = read_months(VALIDATED / "flights", months).set_index("flight_id", drop=False)
    materialise(database.connect(load_settings().database_url.get_secret_value()), features, timetable)
    print(f"materialise: {len(features):,} flights from {period.start} until {period.until}")


if __name__ == "__main__":
    main()
