"""The study of features: it finds what decides, refuses an idea that looks ahead, and keeps a page's text."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ontime import feature_worth, ideas, model, partitions, schema
from ontime.batches import Batches
from ontime.datasets import Tables
from ontime.feature_worth import WorthVerdict
from ontime.ideas import Idea, RequestIdea
from ontime.params import Params
from ontime.point_in_time import FutureLeak
from ontime.problem import PROBLEM
from ontime.problem.data import DATA
from ontime.refusal import Refusal
from pipelines.labelled import LabelledRows
from pipelines.layout import VALIDATED, write_tables
from pipelines.tools import marked_pages, study_features, study_idea, study_pages, study_rows
from pipelines.tools.study_features import ALL, REQUEST
from pipelines.tools.study_rows import StudyRows

FAMILY = next(family for family, names in schema.FAMILIES.items() if not REQUEST.issuperset(names))
IDEAS = {"useful": Idea("decides", lambda *_: {}), "useless": Idea("noise", lambda *_: {})}
INFORMATIVE = next(name for name in schema.FAMILIES[FAMILY] if name in schema.ONLINE and name not in schema.CATEGORICAL)


def synthetic(seed: int) -> StudyRows:
    """Four weeks whose label depends on one feature, and on the first of two ideas."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2800, len(schema.FEATURE_NAMES))).astype(np.float32)
    features[:, [schema.FEATURE_NAMES.index(name) for name in schema.CATEGORICAL]] = 0
    idea_columns = rng.normal(size=(len(features), 2)).astype(np.float32)
    odds = np.exp(2 * features[:, schema.FEATURE_NAMES.index(INFORMATIVE)] + 2 * idea_columns[:, 0])
    label = rng.random(len(features)) < odds / (1 + odds)
    days = np.datetime64("2013-09-01") + np.arange(len(features)) // 100
    entities = LabelledRows(Batches.of(features), label, days.astype("datetime64[us]"), np.empty(0, np.uint64))
    return StudyRows(entities, features, idea_columns, ["useful.column", "useless.column"])


@pytest.fixture(scope="module")
def measured(params: Params) -> Mapping[tuple[str, str], Mapping[str, Any]]:
    """The rows of the study by kind and name, of the informative family, another one, and both ideas."""
    train, valid = synthetic(1), synthetic(2)
    small = params.model_copy(update={"train": params.train.changed("lightgbm", n_estimators=80)})
    other = next(each for each in schema.FAMILIES if each != FAMILY and not REQUEST.issuperset(schema.FAMILIES[each]))
    compared = [
        each
        for each in (
            *study_features.family_comparisons(),
            *study_features.idea_comparisons(IDEAS, train.idea_names),
        )
        if each.name in (FAMILY, other, "useful", "useless")
    ]
    sets = list(dict.fromkeys([ALL, REQUEST, *(each.changed for each in compared)]))
    probabilities = study_features.fit_sets(sets, train, valid, "lightgbm", small)
    scores = {each: feature_worth.mean_scores(valid.entities.label, probabilities[each], params.cost) for each in sets}
    rows = [study_features._row(each, valid.entities, probabilities, scores) for each in compared]
    return {(row["kind"], "decides" if row["name"] in (FAMILY, "useful") else "noise"): row for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["out", "in", "idea"])
def test_what_decides_is_worth_it_and_noise_is_not(
    kind: str, measured: Mapping[tuple[str, str], Mapping[str, Any]]
) -> None:
    decides, noise = measured[kind, "decides"], measured[kind, "noise"]

    assert decides["verdict"] == WorthVerdict.WORTH
    assert decides["worth"]["value"] > 0.05
    assert decides["fewer"]["false_alarms_per_1000"] + decides["fewer"]["missed_per_1000"] > 0
    assert abs(noise["worth"]["value"]) < 0.02
    # Beside noise alone, more noise helps: the trees overfit each column less.
    assert kind == "in" or noise["verdict"] != WorthVerdict.WORTH


def test_families_with_features_of_the_moment_are_left_out_and_added() -> None:
    compared = study_features.family_comparisons()

    families = {name: online for name, names in schema.FAMILIES.items() if (online := frozenset(names) - REQUEST)}
    left_out = {each.name: each.having - each.lacking for each in compared if each.kind == "out"}
    added = {each.name: (each.having - each.lacking, each.lacking) for each in compared if each.kind == "in"}
    assert left_out == families
    assert added == {name: (names, REQUEST) for name, names in families.items()}


def test_an_idea_is_added_to_all_features() -> None:
    declared = {"near": Idea("what is near", lambda *_: {}), "nearer": Idea("what is nearer", lambda *_: {})}

    idea, _ = study_features.idea_comparisons(declared, ["near.count", "near.share", "nearer.count"])

    assert (idea.kind, idea.name, idea.words) == ("idea", "near", "what is near")
    assert idea.lacking == ALL
    assert idea.having - ALL == {"near.count", "near.share"}


def test_an_idea_of_the_request_is_also_added_to_the_requests_features_alone() -> None:
    declared = {"clock": RequestIdea("the hour", lambda fields: fields)}

    to_all, to_request = study_features.idea_comparisons(declared, ["clock.sine"])

    assert (to_all.kind, to_all.lacking, to_all.having) == ("idea", ALL, ALL | {"clock.sine"})
    assert (to_request.kind, to_request.lacking, to_request.having) == ("idea_in", REQUEST, REQUEST | {"clock.sine"})


def test_a_model_sees_the_chosen_columns_only() -> None:
    rows = synthetic(3)

    matrix = study_rows.matrix_with(rows, REQUEST | {"useful.column"})

    assert matrix.shape == (2800, len(schema.FEATURE_NAMES) + 1)
    assert np.isnan(matrix[:, model.ONLINE_POSITIONS]).all()
    assert (matrix[:, -1] == rows.ideas[:, 0]).all()
    assert not np.isnan(rows.features).any()


def test_the_request_only_copies_have_the_ideas_of_the_request_only(params: Params) -> None:
    rows = synthetic(3)
    numbered = np.arange(2800, dtype=np.float32)
    rows.features[:, model.REQUEST_POSITIONS[0]] = rows.ideas[:, 1] = numbered
    rows = rows._replace(request_ideas=frozenset(["useless.column"]))

    copied, label = study_rows.with_copies(rows, params.train)

    count = int(params.train.request_only_share * 2800)
    assert len(copied.features) == len(copied.ideas) == len(label) == 2800 + count
    assert (copied.ideas[:2800] == rows.ideas).all()
    assert np.isnan(copied.ideas[2800:, 0]).all()
    assert (copied.ideas[2800:, 1] == copied.features[2800:, model.REQUEST_POSITIONS[0]]).all()
    assert (label == rows.entities.label[copied.ideas[:, 1].astype(int)]).all()


@pytest.mark.slow
def test_an_idea_that_looks_ahead_is_refused(
    tables: Tables, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    february = partitions.month("2013-02", schema.ZONE)
    entities = tables[DATA.entities]
    near = entities[DATA.event_at].between(february.start - ideas.HALO, february.end + partitions.AHEAD)
    monkeypatch.chdir(tmp_path)
    write_tables({**tables, DATA.entities: entities[near]}, VALIDATED)

    def outcome(given: Tables, start: Any, end: Any, *_: object) -> dict[str, Any]:
        rows = given[DATA.entities]
        period = rows[rows[DATA.event_at].between(start, end, inclusive="left")]
        return {"value": period[PROBLEM.label.column].to_numpy(np.float64)}

    with pytest.raises(FutureLeak, match=r"^leak\.value of "):
        study_rows.build_ideas(february, {"leak": Idea("the outcome", outcome)}, params)


REPORT: dict[str, Any] = {
    "dataset": "some", "algorithm": "lightgbm", "seeds": 3, "least_difference": 0.00087, "trained_on": 2800,
    "judged_on": 1200, "positive_share": 0.25, "alert_threshold": 0.25,
    **{name: {"features": 3, "log_loss": 0.4, "auc": 0.7, "cost_per_1000": 300.0, "false_alarms_per_1000": 90.0,
              "missed_per_1000": 70.0, "mean_probability": 0.2} for name in ("all", "request")},
    "rows": [
        {"kind": kind, "name": name, "words": "some words", "features": 2, "log_loss": 0.4, "auc": 0.7,
         "cost_per_1000": 300.0, "false_alarms_per_1000": 90.0, "missed_per_1000": 70.0, "mean_probability": 0.2,
         "worth": {"value": value, "low": value - 0.001, "high": value + 0.001, "seed_deviation": 0.0007},
         "fewer": {"false_alarms_per_1000": 1.5, "missed_per_1000": -0.5}, "verdict": "worth it"}
        for kind, name, value in [("out", "small", 0.002), ("out", "large", 0.01), ("idea", "mine", 0.003)]
    ],
}  # fmt: skip


def test_the_text_around_the_tables_stays_and_the_largest_worth_is_first() -> None:
    marks = study_pages.FEATURES.begin, marked_pages.END
    text = f"# Mine\n\n{marks[0]}old tables\n{marks[1]}\nThe story.\n"

    page = study_pages.FEATURES.with_results(text, REPORT)

    assert page.startswith(f"# Mine\n\n{marks[0]}")
    assert page.endswith(f"{marks[1]}\nThe story.\n")
    assert "old tables" not in page
    assert page.index("**large**") < page.index("**small**")
    assert "| +0.0100 (+0.0090 to +0.0110) | 0.0007 | +1.5 | -0.5 |" in page
    assert "added to the request's" not in page  # no row of this kind
    assert study_pages.FEATURES.with_results(page, REPORT) == page


def test_of_one_idea_the_rows_of_the_page_are_printed_without_its_figure() -> None:
    rows = [{**REPORT["rows"][2], "kind": kind} for kind in ("idea", "idea_in")]
    one = {name: value for name, value in REPORT.items() if name != "request"} | {"rows": rows}

    words = study_pages.FEATURES.printed(one)

    row = "| **mine**: some words | 2 | +0.0030 (+0.0020 to +0.0040) | 0.0007 | +1.5 | -0.5 | 0.7000 | 300.0 | 0.2000 |"
    assert words.count(row) == 2
    assert "### Ideas, added to the request's features alone" in words
    assert "![" not in words
    assert "families" not in words.lower()


def test_an_unknown_idea_is_refused_with_those_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ideas, "declared_ideas", lambda: IDEAS)

    with pytest.raises(Refusal, match=r"no idea usefull in problem/ideas.py, which has useful, useless$"):
        study_idea.only("usefull")


def test_a_first_page_has_a_title_and_one_without_marks_is_refused() -> None:
    assert study_pages.FEATURES.with_results("", REPORT).startswith("# What features are worth\n\n## Results\n")
    with pytest.raises(Refusal, match="add both where the tables belong"):
        study_pages.FEATURES.with_results("# Mine\n", REPORT)
