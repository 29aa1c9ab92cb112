"""params.yaml refuses by name what cannot be."""

from pathlib import Path

import pytest

from ontime.params import Params, ParamsBroken, load_params
from tests import PARAMS_YAML

TEXT = PARAMS_YAML.read_text()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("at_least:", "at_laest:", r"label.at_laest: Extra inputs are not permitted \(got 15\)"),
        (
            "at_least: 15",
            "at_least: 5000",
            r"label.at_least: .*must be in \(-180, 2880\], the problem.s values: .*got 5000",
        ),
        ("lead_minutes: 120", "lead_minutes: soon", r"features.lead_minutes: .*valid integer.*got 'soon'"),
        ("alert_threshold: 0.25", "alert_threshold: 25", r"cost.alert_threshold: .*less than 1 \(got 25\)"),
        ('valid_from: "2013-09-01"', 'valid_from: "2014-09-01"', "split: .*periods must follow each other"),
        ("halo_hours: 96", "halo_hours: 48", r"halo_hours 48 is less than the 94 that lookback_hours needs"),
        (
            "[constant, rate_table,",
            "[coin,",
            r"train.candidates.0: .*the candidates are constant, rate_table, logistic, .*got 'coin'",
        ),
        (
            "candidates: [constant, rate_table, logistic, hist_gradient_boosting, lightgbm]",
            "candidates: [constant]",
            r"train.candidates: .*none of these can be released",
        ),
        (
            "  rate_table:\n",
            "  rate_tables:\n",
            r"train.rate_tables: is neither a parameter of train nor a candidate; the",
        ),
        ("  rate_table:\n", "  rate_tables:\n", r"train.rate_table: is listed in train.candidates but has no section"),
        (
            "candidates: [rate_table, lightgbm]",
            "candidates: [rate_table, lightgbn]",
            r"retrain.candidates.1: .*is not a candidate; the candidates are .*got 'lightgbn'",
        ),
        ("accepted: []", "accepted: [plane_seat]", r"leaks.accepted.0: .*is not a feature; .*got 'plane_seat'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(before: str, after: str, message: str, tmp_path: Path) -> None:
    assert before in TEXT
    wrong = tmp_path / "params.yaml"
    wrong.write_text(TEXT.replace(before, after))

    with pytest.raises(ParamsBroken, match=message):
        load_params(wrong)


def test_parameters_cannot_be_changed_in_flight(params: Params) -> None:
    with pytest.raises(ValueError, match="frozen"):
        params.label.at_least = 30  # type: ignore[misc]  # that is the point
