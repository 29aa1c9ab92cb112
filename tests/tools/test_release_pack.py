"""`make pack`: the documentation of a version has every section, and only reports of its own training."""

import json
from hashlib import md5
from pathlib import Path

import pytest

from ontime import database, registry, release
from ontime.registry import Run
from ontime.release import Lineage
from ontime.settings import Settings
from pipelines.operations import release_commands as by_hand
from pipelines.tools import pack_sections, release_pack
from pipelines.tools.pack_sections import ANNEX_IV, BUILDERS, PackSection, Recorded
from pipelines.tools.release_pack import PackIncomplete
from tests import PARAMS_YAML
from tests.small_world import Small, published

pytestmark = pytest.mark.slow

SCORES = {"auc": 0.76, "log_loss": 0.47, "brier": 0.15, "ece": 0.01, "cost_per_1000": 470.0}
REPORTS = {
    "metrics.json": json.dumps({"best": "lightgbm", "candidates": {"lightgbm": {"valid": SCORES, "test": SCORES}}}),
    "evaluation.json": json.dumps(
        {
            "entities": {"train": 200, "valid": 100, "test": 100},
            "positive_share": 0.25,
            "days": 61,
            "intervals": {"lightgbm": {"auc": [0.7388, 0.7841]}},
            "slices": [
                {
                    "dimension": "origin", "slice": "EWR", "entities": 60, "positives": 15, "auc": 0.7, "log_loss": 0.5,
                    "auc_interval": [0.6, 0.8], "mean_probability": 0.3, "missed": [0.4, 0.3, 0.5], "gated": True,
                },
                {
                    "dimension": "origin", "slice": "JFK", "entities": 5, "positives": 1, "auc": None, "log_loss": 0.5,
                    "auc_interval": None, "mean_probability": 0.3, "missed": None, "gated": False,
                },
            ],
        }
    ),
    "data_quality.json": json.dumps(
        {
            "rows": {"flights": 400},
            "rules": [{"rule": "cancelled", "table": "flights", "action": "noted", "hits": 3, "reason": "never left"}],
        }
    ),
    "model_card.md": "# Model card\n\nA <script> and ![a curve](plots/roc.png).\n\n| a |\n| --- |\n| 1 |\n",
    "eda.md": "# Exploration\n",
}  # fmt: skip
LOCK = "schema: '2.0'\nstages:\n  train:\n    cmd: python\n    deps:\n    - {path: requirements/train.txt, md5: x}\n"
SYSTEM_FILES = {"params.yaml": PARAMS_YAML.read_text(), "dvc.lock": LOCK}


@pytest.fixture(scope="module")
def packed(small: Small, other: Small, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Release 3, whose run has its reports, and was approved and promoted by a person."""
    place = tmp_path_factory.mktemp("pack")
    settings = published(place, small, other)
    folder = place / "reports"
    (folder / "plots").mkdir(parents=True)
    (folder / "plots/roc.png").write_bytes(b"an image")
    for name, text in (REPORTS | SYSTEM_FILES).items():
        (folder / name).write_text(text)
    client = registry.tracking_client(settings.tracking_url, settings.artifacts)
    run = Run("lightgbm", {}, {}, {"git_commit": "abc"}, "for a test")
    ids = registry.record_runs(
        client, "x", [run], [*(folder / name for name in REPORTS | SYSTEM_FILES), folder / "plots"]
    )
    hashes = {
        f"reports/{name}": md5(text.encode(), usedforsecurity=False).hexdigest() for name, text in REPORTS.items()
    }
    lineage = Lineage(git_commit="abc", mlflow_run=ids["lightgbm"], dvc_lock=hashes)
    release.publish(settings.releases, small.contents, small.manifest("3").model_copy(update={"lineage": lineage}))
    settings = settings.model_copy(update={"actor": "ada@desk"})
    engine = database.connect(settings.database_url)
    evidence = {"version": "3", "against": "release 1", "reason": "below zero"}
    database.record_decision(engine, "gate", "promote", evidence)
    by_hand.approve(settings, "3", "reviewed the pack")
    by_hand.promote(settings, "3")
    engine.dispose()
    return settings


@pytest.fixture(scope="module")
def record(packed: Settings) -> Recorded:
    return release_pack.recorded_about(packed, "3")


def test_every_section_is_there_and_not_empty(record: Recorded, tmp_path: Path) -> None:
    page = release_pack.write_pack(record, tmp_path / "pack").read_text()
    content = json.loads((tmp_path / "pack/pack.json").read_text())

    assert list(content["sections"]) == list(BUILDERS)
    for section in pack_sections.sections_of(record):
        assert f'<section id="{section.key}"><h2>{section.title}</h2>' in page
    assert content["bill_of_materials"]["bomFormat"] == "CycloneDX"
    assert content["manifest"]["version"] == "3"


@pytest.mark.parametrize("point", ANNEX_IV)
def test_every_point_of_annex_iv_is_covered(record: Recorded, point: str) -> None:
    annexes = [section.annex for section in pack_sections.sections_of(record)]
    number, letter = f"{point} ".split(" ", 1)

    assert any(_covers(annex, number, letter.strip()) for annex in annexes)


def _covers(annex: str, number: str, letter: str) -> bool:
    """Whether a list such as `1 (a), (b), 3` has a point, where a letter belongs to the number before it."""
    current = ""
    for part in annex.split(", "):
        current = part.split(" ")[0] if part[0].isdigit() else current
        if current == number and (not letter or letter in part):
            return True
    return False


@pytest.mark.parametrize("key", BUILDERS)
def test_a_pack_with_an_empty_section_is_not_written(
    record: Recorded, tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        pack_sections, "BUILDERS", {**BUILDERS, key: lambda _: PackSection(key, "without content", "1", [], [])}
    )

    with pytest.raises(PackIncomplete, match=rf"nothing is recorded for: {key} \(without content\)"):
        release_pack.write_pack(record, tmp_path / "pack")

    assert not (tmp_path / "pack").exists()


def test_the_page_is_self_contained_and_says_who_approved(record: Recorded, tmp_path: Path) -> None:
    page = release_pack.write_pack(record, tmp_path / "pack").read_text()

    assert "Approved by ada@desk" in page
    assert "reviewed the pack" in page
    assert "data:image/png;base64," in page
    assert "A &lt;script&gt; and" in page
    assert "0.7600 (0.7388 to 0.7841)" in page
    assert 'src="plots' not in page
    assert "<link" not in page


def test_a_release_without_a_verdict_of_the_gate_has_no_pack(record: Recorded, tmp_path: Path) -> None:
    with pytest.raises(PackIncomplete, match="gate"):
        release_pack.write_pack(record._replace(decisions=[]), tmp_path / "pack")


def test_a_report_of_another_training_is_not_used(packed: Settings) -> None:
    manifest = release.verify(packed.releases / "3")
    other_card = {**manifest.lineage.dvc_lock, "reports/model_card.md": "the hash of another one"}
    lineage = manifest.lineage.model_copy(update={"dvc_lock": other_card})
    run = registry.run_files(manifest.lineage.mlflow_run)

    with pytest.raises(
        PackIncomplete, match=r"model_card\.md of release 3 is neither in its MLflow run nor in reports/"
    ):
        release_pack.recorded_report("model_card.md", manifest.model_copy(update={"lineage": lineage}), run)
