"""`ontime pack`: the documentation of one version, as a self-contained page and as JSON.

    ontime pack 3 --to folder      writes folder/pack.html and folder/pack.json

Everything is generated from what is recorded: the manifest, the files of the MLflow run, the decisions, the lock of the
packages. A report is used only if it has the hash that the release's manifest records. pack_sections.py has the text.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import md5
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml

from ontime import database, decision_chain, files, locks, registry, release
from ontime.params import PARAMS_FILE
from ontime.progress import steps
from ontime.release import Manifest
from ontime.settings import BadSettings, Settings, load_settings
from pipelines.layout import REPORTS, write_json
from pipelines.operations import lineage
from pipelines.tools import markdown_pages, pages
from pipelines.tools.pack_sections import MOVES, PackSection, Recorded, sections_of

TEMPLATE = pages.TEMPLATES / "release_pack.html.jinja"
PACKAGES, TRAINING_PACKAGES = Path("requirements/serve.txt"), Path("requirements/train.txt")
PYPROJECT = Path("pyproject.toml")


class PackIncomplete(ValueError):
    """Something that the pack needs is not recorded; the message names it, and what to do."""


def recorded_about(settings: Settings, version: str) -> Recorded:
    """What is recorded about a version. Raises ReleaseRefused, NotRecorded, PackIncomplete."""
    manifest = release.verify(settings.releases / version)
    registry.tracking_client(settings.tracking_url, settings.artifacts)
    run = registry.run_files(manifest.lineage.mlflow_run)
    report = {
        name: recorded_report(name, manifest, run)
        for name in ("metrics.json", "evaluation.json", "data_quality.json", "model_card.md", "eda.md")
    }
    lock = (run / lineage.LOCK.name).read_text(encoding="utf-8")
    locked = {md5 for (_, path), md5 in lineage.inputs(lock).items() if path == str(TRAINING_PACKAGES)}
    rows = decision_chain.all_rows(database.connect(settings.database_url))
    return Recorded(
        manifest,
        yaml.safe_load((run / PARAMS_FILE.name).read_text(encoding="utf-8")),
        json.loads(report["metrics.json"].read_text(encoding="utf-8")),
        json.loads(report["evaluation.json"].read_text(encoding="utf-8")),
        json.loads(report["data_quality.json"].read_text(encoding="utf-8")),
        _html(report["model_card.md"]),
        _html(report["eda.md"]),
        [row for row in rows if row.kind in MOVES and row.evidence.get("version") == version],
        bill_of_materials(),
        same_libraries=locked == {_md5(TRAINING_PACKAGES)},
    )


def recorded_report(name: str, manifest: Manifest, run: Path) -> Path:
    """A report of the version's training: of its run, or of this workspace if that is of the same training."""
    recorded = manifest.lineage.dvc_lock.get(f"{REPORTS}/{name}")
    for path in (run / name, REPORTS / name):
        if path.is_file() and _md5(path) == recorded:
            return path
    commit = manifest.lineage.git_commit
    raise PackIncomplete(
        f"{name} of release {manifest.version} is neither in its MLflow run nor in {REPORTS}/: check out its commit "
        f"{commit}, run make train there, and pack it there"
    )


def _html(path: Path) -> str:
    return markdown_pages.to_html(path.read_text(encoding="utf-8"), path.parent)


def _md5(path: Path) -> str:
    return md5(path.read_bytes(), usedforsecurity=False).hexdigest()  # DVC's hash


def bill_of_materials() -> dict[str, Any]:
    """The packages of the service as CycloneDX, as `make sbom` writes it. Raises PackIncomplete."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "serve.cdx.json"
        command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", str(PACKAGES)]
        command += ["--pyproject", str(PYPROJECT), "--output-reproducible", "--sv", "1.6", "--of", "JSON"]
        command += ["--output-file", str(path)]
        completed = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our arguments
        if completed.returncode:
            raise PackIncomplete(f"no bill of materials of {PACKAGES}: {completed.stderr.strip()[-300:]}")
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content


def refuse_empty_sections(sections: Sequence[PackSection]) -> None:
    """Raise PackIncomplete for a section without content."""
    empty = [f"{each.key} ({each.title})" for each in sections if each.is_empty]
    if empty:
        raise PackIncomplete(f"nothing is recorded for: {', '.join(empty)}")


def write_pack(record: Recorded, folder: Path) -> Path:
    """Write pack.html and pack.json; returns the path of the page. Raises PackIncomplete."""
    sections = sections_of(record)
    refuse_empty_sections(sections)
    title = f"Release {record.manifest.version} of {record.manifest.name}"
    page = pages.render_page(
        TEMPLATE, {}, title=title, sections=sections, packed_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M}"
    )
    files.write_text(folder / "pack.html", page)
    write_json(folder / "pack.json", _as_json(record, sections))
    return folder / "pack.html"


def _as_json(record: Recorded, sections: Sequence[PackSection]) -> Mapping[str, Any]:
    parts = {
        each.key: {
            "title": each.title,
            "annex_iv": each.annex,
            "paragraphs": list(each.paragraphs),
            "tables": [
                {
                    "title": table.title,
                    "rows": [dict(zip(table.head, map(str, row), strict=True)) for row in table.rows],
                }
                for table in each.tables
            ],
        }
        for each in sections
    }
    recorded = {
        "manifest": record.manifest.model_dump(mode="json"),
        "params": json.loads(json.dumps(record.params, default=str)),
        "metrics": record.metrics,
        "evaluation": record.evaluation,
        "data_quality": record.data_quality,
        "bill_of_materials": record.materials,
    }
    return {"version": record.manifest.version, "sections": parts, **recorded}


def main(version: str, folder: Path) -> None:
    try:
        with steps("pack", 2) as begin:
            begin("collects what is recorded")
            record = recorded_about(load_settings(), version)
            begin("writes the page")
            page = write_pack(record, folder)
        print(f"pack: {page}")
    except (BadSettings, release.ReleaseRefused, registry.NotRecorded, PackIncomplete, locks.Busy) as error:
        sys.exit(f"pack: {error}")
    except sa.exc.SQLAlchemyError as error:
        sys.exit(f"pack: the decisions cannot be read: {str(error).partition(chr(10))[0]}")
