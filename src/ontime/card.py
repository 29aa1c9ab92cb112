"""The model card, written from the evaluation's own numbers: none is typed by hand."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

from ontime import card_errors, schema
from ontime.evaluation import FEWEST_DAYS, Interval
from ontime.explain import Method
from ontime.markdown import table
from ontime.params import Params
from ontime.problem import PROBLEM
from ontime.schema import WORDS

Importance = Sequence[tuple[str, float, float]]
PICTURES = re.compile(r"\n+!\[[^]]*]\(plots/\w+\.png\)")


@dataclass(frozen=True)
class Report:
    """All that one evaluation found out."""

    params: Params
    champion: str
    candidates: dict[str, dict[str, dict[str, float]]]  # name -> "valid" and "test" -> figure -> value
    intervals: dict[str, Mapping[str, Interval]]  # of the test figures, by days
    variants: dict[str, dict[str, float]]  # the champion with less to know
    slices: list[dict[str, Any]]
    equalised: list[dict[str, Any]]  # by fairness.equalised; empty where `evaluate.full_card` is false
    coverage: list[dict[str, Any]]  # of conformal sets; empty there too
    entities: dict[str, int]  # labelled, by period
    positive_share: float  # of the test period
    days: int
    reasons: Method  # of the champion's answers

    def as_json(self, importance: Importance) -> dict[str, Any]:
        """reports/evaluation.json: what the card shows beyond reports/metrics.json."""
        return {
            "entities": self.entities,
            "positive_share": self.positive_share,
            "days": self.days,
            "intervals": {
                name: {figure: list(interval) for figure, interval in figures.items()}
                for name, figures in self.intervals.items()
            },
            "variants": self.variants,
            "slices": self.slices,
            "equalised": self.equalised,
            "coverage": self.coverage,
            "importance": {name: round(mean, 5) for name, mean, _ in importance},
        }


def model_card(report: Report, importance: Importance) -> str:
    """The card, in markdown; without pictures and importance where `evaluate.full_card` is false."""
    parts = [_problem(report), _data(report), _scores(report), _alerts(report), _slices(report)]
    whole = (
        "\n\n".join(
            [
                *parts,
                card_errors.errors_by_slice(report.slices, report.equalised, report.params.cost),
                card_errors.uncertainty(report.coverage),
                _class_imbalance(report),
                _what_matters(report, importance),
                _reasons(report),
                _limits(report),
                _did_not_work(report),
                _use(report),
            ]
        )
        + "\n"
    )
    return whole if report.params.evaluate.full_card else PICTURES.sub("", whole)


def _with_interval(value: float, interval: Interval) -> str:
    return f"{value:.4g} ({interval.low:.4g} to {interval.high:.4g})"


def _problem(report: Report) -> str:
    p = report.params
    return f"""# Model card: {report.champion}

Made by the `evaluate` stage; every number below is computed there. Intervals are 95 %, by days, because
the {WORDS.entities} of one day are alike.

## Problem

For {WORDS.population}: how likely is it that one {WORDS.is_positive}? Exactly: {schema.in_words(p.question)}. {WORDS.definition.format(**p.question.terms)}
Missing one that {WORDS.is_positive} costs {p.cost.missed:g}, a false alarm {p.cost.false_alarm:g}; so it alerts at a probability of {p.cost.alert_threshold:g}."""


def _data(report: Report) -> str:
    s, n = report.params.split, report.entities
    rows = [
        ("training", s.train_from, s.valid_from, f"{n['train']:,}"),
        ("validation, chooses the champion", s.valid_from, s.test_from, f"{n['valid']:,}"),
        ("test, read by the evaluate stage", s.test_from, s.test_until, f"{n['test']:,}"),
    ]
    return f"""## Data

All {WORDS.entities} of dataset {report.params.dataset} that have a label, so without {WORDS.without_label}; what was repaired, noted or left without a
label is counted in [data_quality.json](data_quality.json), how it looks is in [eda.md](eda.md). {len(schema.FEATURES)} features,
each known at the prediction moment: [features.md](../docs/features.md).

{table(("period", "from", "until (exclusive)", f"labelled {WORDS.entities}"), rows)}"""


def _scores(report: Report) -> str:
    rows = []
    for name, both in report.candidates.items():
        test, known = both["test"], report.intervals[name]
        bold = "**" if name == report.champion else ""
        rows.append(
            (
                f"{bold}{name}{bold}",
                _with_interval(test["auc"], known["auc"]),
                f"{test['average_precision']:g}",
                f"{test['brier']:g}",
                _with_interval(test["log_loss"], known["log_loss"]),
                f"{test['ece']:g}",
                _with_interval(test["cost_per_1000"], known["cost_per_1000"]),
            )
        )
    header = ("candidate", "AUC", "AP", "Brier", "log-loss", "ECE", f"cost per 1000 {WORDS.entities}")
    return f"""## Scores on the test period

{report.entities["test"]:,} {WORDS.entities} of {report.days} days, {report.positive_share:.1%} of them {WORDS.positive}.

{table(header, rows)}

![ROC curves](plots/roc.png)
![Precision and recall](plots/precision_recall.png)
![Reliability: what is said and what happens](plots/reliability.png)"""


def _alerts(report: Report) -> str:
    cost, best = report.params.cost, report.candidates[report.champion]["test"]["cost_per_1000"]
    silent = 1000 * cost.missed * report.positive_share
    return f"""## What alerting costs

Without alerts {WORDS.who_alerts} pays {silent:.0f} for 1000 {WORDS.entities}; one that follows {report.champion} pays {best:.0f}.

![Cost by threshold](plots/cost_by_threshold.png)"""


def _slices(report: Report) -> str:
    rows = [
        (
            row["cut"],
            row["slice"],
            f"{row['entities']:,}",
            f"{row['positives'] / row['entities']:.1%}",
            _auc(row),
            f"{row['log_loss']:.3f}",
            "yes" if row["gated"] else "too small",
        )
        for row in report.slices
    ]
    header = ("cut by", "slice", WORDS.entities, WORDS.positive, "AUC (95 % by days)", "log-loss", "gates")
    return f"""## Slices

A slice that is large enough can keep a retrained model out (*gates*).{_without_interval(report)}

{table(header, rows)}

![AUC by slice](plots/slices.png)"""


def _auc(row: Mapping[str, Any]) -> str:
    if row["auc"] is None:
        return ""
    if row["auc_interval"] is None:
        return f"{row['auc']:.3f} (no interval)"
    low, high = row["auc_interval"]
    return f"{row['auc']:.3f} ({low:.3f} to {high:.3f})"


def _without_interval(report: Report) -> str:
    if all(row["auc"] is None or row["auc_interval"] for row in report.slices):
        return ""
    return f"""
A slice has no interval if it has {WORDS.entities} on fewer than {FEWEST_DAYS} days."""


def _class_imbalance(report: Report) -> str:
    cost, test = report.params.cost, report.candidates[report.champion]["test"]
    return f"""## Class imbalance

{report.positive_share:.1%} of the test period's {WORDS.entities} are {WORDS.positive}. In training none is weighted or left out by its label, because the probability itself is shown: it is off by
{test["ece"]:g} on average (ECE). That a missed one costs {cost.missed:g} and a false alarm {cost.false_alarm:g} enters where the alert is decided, as its threshold {cost.alert_threshold:g}.
What weights and undersampling do to ranking, probability and cost is measured by `make imbalance`: [class_imbalance.md](../docs/class_imbalance.md)."""


def _what_matters(report: Report, importance: Importance) -> str:
    if not importance:
        return "## What it looks at\n\nNot measured for this model, and nothing was drawn (`evaluate.full_card`)."
    meanings = {feature.name: feature.meaning(report.params.question) for feature in schema.FEATURES}
    rows = [(name, meanings[name], f"{mean:.4f}") for name, mean, _ in importance[:8]]
    return f"""## What it looks at

The log-loss that is lost when one column is shuffled. Correlated columns share theirs.

{table(("feature", "meaning", "log-loss lost"), rows)}

![Permutation importance](plots/importance.png)"""


def _reasons(report: Report) -> str:
    if report.reasons.method == "none":
        return f"## Reasons\n\n`?explain=true` gives none: {report.reasons.about}."
    return f"""## Reasons

`?explain=true` gives {report.reasons.about}. They are checked to add up to the probability of each probe before the model answers."""


def _limits(report: Report) -> str:
    alone, terms = report.variants["request_only"], report.params.question.terms
    lines = [*(_ablation(name, report) for name in PROBLEM.ablations)]
    if schema.ONLINE:
        alone_told = f"AUC {alone['auc']:g}, log-loss {alone['log_loss']:g}"
        lines.append(
            f"Of a {WORDS.entity} of which nothing but the request is known the answer is worse: {alone_told}."
        )
    return "\n".join(["## Limits", "", *(f"- {line.format(**terms)}" for line in (*lines, *WORDS.limits))])


def _ablation(name: str, report: Report) -> str:
    full, declared = report.candidates[report.champion]["test"], PROBLEM.ablations[name]
    count = sum(len(schema.FAMILIES[family]) for family in declared.families)
    told = "How much hangs on it was not measured in this training."
    if blind := report.variants.get(name):
        told = (
            f"Without all that hangs on it ({count} features) the same model has AUC {blind['auc']:g} instead of "
            f"{full['auc']:g} and log-loss {blind['log_loss']:g} instead of {full['log_loss']:g}. "
            "The truth in service lies between."
        )
    return f"{declared.words} {told}"


def _did_not_work(report: Report) -> str:
    judged = [row for row in report.slices if row["gated"] and row["auc"] is not None]
    worst = min(judged, key=lambda row: row["auc"])
    deaf = max(judged, key=lambda row: row["missed"][0])
    valid, test = (report.candidates[report.champion][period] for period in ("valid", "test"))
    alone, constant = report.variants["request_only"]["log_loss"], _entropy(report.positive_share)
    return f"""## What did not work

- The weakest slice that is large enough to judge is {worst["cut"]} {worst["slice"]}: AUC {worst["auc"]:.3f}.
- Of those that were {WORDS.positive} in {deaf["cut"]} {deaf["slice"]} it misses {deaf["missed"][0]:.0%}.
- Validation and test differ: log-loss {valid["log_loss"]:g} there and {test["log_loss"]:g} on the test period. The loss moves with the
  season, so models are compared on the same {WORDS.entities} and never across periods.
- A request alone tells little: log-loss {alone:g}, where knowing nothing but the share {WORDS.positive} gives {constant:.4f}."""


def _entropy(rate: float) -> float:
    """The log-loss of always saying the rate itself."""
    return -(rate * log(rate) + (1 - rate) * log(1 - rate))


def _use(report: Report) -> str:
    return f"""## Use

**Intended**: {WORDS.intended}

**Not intended**: {WORDS.not_intended}, or any use of the probability as a promise about a single {WORDS.entity}: of a hundred
that are told {report.params.cost.alert_threshold:.0%}, about that many are {WORDS.positive}."""
