"""Committed pages of long runs match their numbers."""

from pipelines.layout import read_json
from pipelines.tools import imbalance, imbalance_page
from tests import ROOT


def test_the_page_is_what_the_numbers_say() -> None:
    report = read_json(ROOT / imbalance.JSON)

    assert (ROOT / imbalance_page.PAGE).read_text() == imbalance_page.class_imbalance_document(report)


def test_the_density_alarm_sees_as_little_as_the_pages_say() -> None:
    report = read_json(ROOT / "reports/bench_density.json")
    faults = {(row["family"], row["fault"]): row for row in report["faults"]}
    forest, normal = ({fault: row["flagged"][name] for fault, row in faults.items()} for name in report["honest"])
    costliest = sorted(faults, key=lambda fault: -faults[fault]["log_loss"])[:2]
    summary = (
        f"at most {100 * max(forest.values()):.1f} % of the days with any of {len(faults)} planted faults, "
        f"and on {100 * report['honest']['isolation forest']:.1f} % of the days without one. "
        f"A normal distribution sees {sum(share > 0.4 for share in normal.values())} of the {len(faults)}"
    )

    assert summary in " ".join((ROOT / "docs/monitoring.md").read_text().split())
    assert costliest == [("all families", "a day old"), ("all families", "from another entity")]
    assert max(normal[fault] for fault in costliest) < 0.05
    assert {faults[fault]["alert_after_days"] for fault in costliest} == {7}
