"""A leak of the classic kind, planted: the actual departure delay among the features."""

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ontime import evaluation, model, schema, split
from ontime.datasets import Tables
from ontime.params import Params


def auc(labelled: pd.DataFrame, params: Params) -> float:
    """Fitted on two weeks, scored on the third."""
    past, future = labelled[labelled["day"] < "2013-02-18"], labelled[labelled["day"] >= "2013-02-18"]
    categories = model.categories_of(past)
    few = params.train.changed("lightgbm", n_estimators=40)
    fitted = model.fit("lightgbm", model.matrix_of(past, categories), past["label"].to_numpy(), few)
    return float(roc_auc_score(future["label"], model.predict(fitted, model.matrix_of(future, categories))))


@pytest.mark.slow
def test_the_actual_departure_delay_stops_the_evaluation(weeks: pd.DataFrame, tables: Tables, params: Params) -> None:
    labelled = split.labelled(weeks)
    delay = tables["flights"].set_index("entity_id")["dep_delay_minutes"].loc[labelled["entity_id"]]
    planted = labelled.assign(aircraft_departure_delay=delay.to_numpy())
    assert "aircraft_departure_delay" in schema.FEATURE_NAMES

    honest, leaking = auc(labelled, params), auc(planted, params)

    evaluation.refuse_leak("honest", honest, params.evaluate.leak_auc)
    with pytest.raises(evaluation.LeakSuspected):
        evaluation.refuse_leak("leaking", leaking, params.evaluate.leak_auc)
