"""The online store: features of the test period's flights, so that a real flight of November can be asked for."""

import pandas as pd
import sqlalchemy as sa
from tqdm import tqdm

from ontime import database, schema, split
from ontime.params import load_params
from ontime.settings import Settings
from pipelines.layout import FEATURES, read_months

BATCH_ROWS = 5000


def materialise(engine: sa.Engine, features: pd.DataFrame) -> None:
    """Put the rows of `features` into the online store, exactly as training saw them."""
    vectors = features[list(schema.MATERIALISED)].to_numpy("float32")
    moments = features["moment"].dt.to_pydatetime().tolist()
    for start in tqdm(range(0, len(features), BATCH_ROWS), desc="materialise", disable=None):
        rows = slice(start, start + BATCH_ROWS)
        database.store_features(engine, features["flight_id"].tolist()[rows], moments[rows], vectors[rows])


def main() -> None:
    period = split.periods(load_params().split)["test"]
    features = split.within(read_months(FEATURES, split.months(period)), period)
    materialise(database.connect(Settings().database_url.get_secret_value()), features)
    print(f"materialise: {len(features):,} flights from {period.start} until {period.until}")


if __name__ == "__main__":
    main()
