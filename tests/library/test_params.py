"""params.yaml refuses by name what cannot be."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from ontime.candidates import CANDIDATES
from ontime.params import Params, ParamsBroken, load_params
from tests import PARAMS_YAML, ROOT

TEXT = PARAMS_YAML.read_text()
LIMITS = {"maximum", "exclusiveMaximum"}


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
        (
            "halo_hours: 720",
            "halo_hours: 672",
            r"halo_hours 672 is less than the 718 that are needed: lookback",
        ),
        ("lookback_hours: 672", "lookback_hours: 48", r"lookback_hours 48 is less than 672, the longest window of a"),
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
        # Not a number, or one that switches a check off.
        ("lambda_l2: 5.0", "lambda_l2: .nan", r"train.lightgbm.lambda_l2: .*finite number \(got nan\)"),
        ("margin_auc: 0.05", "margin_auc: .inf", r"gate.margin_auc: .*finite number \(got inf\)"),
        ("margin_auc: 0.05", "margin_auc: 0.5", r"gate.margin_auc: .*less than 0.5 \(got 0.5\)"),
        (
            "margin_log_loss: 0.002",
            "margin_log_loss: 2",
            r"gate.margin_log_loss: .*less than or equal to 0.1 \(got 2\)",
        ),
        ("above: 0.1,", "above: .nan,", r"monitor.alerts.skewed_share.above: .*finite number \(got nan\)"),
        ("above: 0.1,", "above: 1,", r"monitor.alerts: .*skewed_share.above is 1, which no share exceeds: the alert"),
        ("above: 0.04,", "above: -1,", r"monitor.alerts.loss_excess.above: .*greater than or equal to 0 \(got -1\)"),
        ("seed: 2013", "seed: 4000000000", r"train.seed: .*less than 2147483648 \(got 4000000000\)"),
        ("refresh_days: 28", "refresh_days: 99999", r"policy.refresh_days: .*less than or equal to 3660 \(got 99999\)"),
        # Of another type.
        ("    c: 0.1", "    c: true", r"train.logistic.c: .*valid number \(got True\)"),
        ("tier: 1, above: 0,", "tier: true, above: 0,", r"quarantined_batches.tier: .*valid integer \(got True\)"),
        ("trials: 20", 'trials: "20"', r"tune.trials: .*valid integer \(got '20'\); a number has no quotes"),
        ("trials: 20", "trials: 20.0", r"tune.trials: .*valid integer \(got 20.0\)"),
        ("full_card: true", "full_card: 1", r"evaluate.full_card: .*valid boolean \(got 1\)"),
        ("dataset: flights-2013", "dataset: 2013", r"dataset: .*valid string \(got 2013\)"),
        ("1.0e-5", "1e-5", r"gate.parity_tolerance: .*got '1e-5'\); YAML reads 1e-5 as text, write 1.0e-5 instead of"),
        ('train_from: "2013-01-01"', "train_from: 20130101", r"split.train_from: .*valid date \(got 20130101\)"),
        ('train_from: "2013-01-01"', "train_from: soon", r"split.train_from: .*is not a date.*got 'soon'"),
        ("known_until: null", 'known_until: "1370044800"', r"known_until: .*is not a datetime.*got '1370044800'"),
        # Twice.
        ("tune:\n", "gate: {}\ntune:\n", r"\n  gate: occurs in line \d+ and again in line \d+; remove one of them$"),
        ("  missed: 3", "  missed: 3\n  'missed': 4", r"\n  cost.missed: occurs in line 23 and again in line 24;"),
        ("{tier: 1, above: 0.1,", "{tier: 1, tier: 2, above: 0.1,", r"\n  monitor.alerts.skewed_share.tier: occurs in"),
        ("seed: 2013", "seed: [2013", r"\n  is not valid YAML: .*line \d+"),
    ],
)
def test_what_cannot_be_is_refused_by_name(before: str, after: str, message: str, tmp_path: Path) -> None:
    assert before in TEXT
    wrong = tmp_path / "params.yaml"
    wrong.write_text(TEXT.replace(before, after))

    with pytest.raises(ParamsBroken, match=message):
        load_params(wrong)


def test_an_integer_and_an_unquoted_date_are_as_good_as_a_float_and_a_quoted_one(tmp_path: Path) -> None:
    other = tmp_path / "params.yaml"
    other.write_text(TEXT.replace("lambda_l2: 5.0", "lambda_l2: 5").replace('"2013-01-01"', "2013-01-01"))

    assert load_params(other) == load_params(PARAMS_YAML)


def test_parameters_that_a_retraining_or_a_test_writes_can_be_read(params: Params, tmp_path: Path) -> None:
    written = tmp_path / "params.yaml"
    written.write_text(yaml.safe_dump(params.model_dump(mode="json")))

    assert load_params(written) == params


def test_the_parameters_of_the_smallest_problem_are_valid() -> None:
    folder = ROOT / "tests/tiny"
    variables = {**os.environ, "ONTIME_PROBLEM": str(folder / "problem"), "PYTHONPATH": str(ROOT / "src")}
    code = "from ontime.params import load_params; print(load_params().dataset)"

    result = subprocess.run([sys.executable, "-c", code], cwd=folder, env=variables, capture_output=True, text=True)

    assert result.stdout == "tiny\n", result.stderr


def test_no_number_of_the_parameters_is_unlimited() -> None:
    """A new parameter without limits fails here."""
    sections: list[type[BaseModel]] = [Params, *(candidate.parameters for candidate in CANDIDATES.values())]

    unlimited = [
        f"{section.__name__}.{place}"
        for section in sections
        for place, schema in numbers(section.model_json_schema())
        if not LIMITS & schema.keys()
    ]

    # Its limits are the problem's, which a validator reads.
    assert unlimited == ["Params.LabelParams.at_least"] * 2


def numbers(schema: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """The schema of each number in a JSON schema, with its section and name."""
    if isinstance(schema, list):
        for each in schema:
            yield from numbers(each, place)
    elif isinstance(schema, dict):
        if schema.get("type") in ("number", "integer"):
            yield place, schema
        for name, inner in schema.items():
            named = name not in ("$defs", "properties", "anyOf", "items", "additionalProperties")
            yield from numbers(inner, f"{place}.{name}".strip(".") if named else place)


def test_parameters_cannot_be_changed_in_flight(params: Params) -> None:
    with pytest.raises(ValueError, match="frozen"):
        params.label.at_least = 30  # type: ignore[misc]  # that is the point


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"average": {"of": ["rate_table"], "seeds": 1}}, "average is made from rate_table, which is no candidate"),
        ({"average": {"of": ["gone"], "seeds": 1}}, "average is made from gone, which is no candidate"),
        ({"average": {"of": ["average"], "seeds": 1}}, "average is made from average, which is made from average"),
        ({"average": {"of": ["distilled"], "seeds": 1}}, "is made from (average|distilled), which is made from"),
    ],
)
def test_a_candidate_is_made_from_others_that_can_be_released(changes: dict[str, Any], message: str) -> None:
    plain = load_params(PARAMS_YAML).model_dump(mode="json")
    plain["train"].update(changes)

    with pytest.raises(ValidationError, match=message):
        Params.model_validate(plain)
