"""Links to this project's data in the running pages of MLflow, Prefect and Evidently."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

PROJECT = "ontime"  # the name of MLflow's experiment and model, and of Evidently's project
TRAINING = "workflowType=machine_learning"  # else MLflow opens on its pages for language models
TIMEOUT_SECONDS = 30


class PageLinks(NamedTuple):
    """Links into a page by name; if it shows no data yet, also which command writes some."""

    links: Mapping[str, str]
    empty: str | None = None


def mlflow_links(page: str) -> PageLinks:
    try:
        experiment = _fetch(f"{page}/api/2.0/mlflow/experiments/get-by-name?{urlencode({'experiment_name': PROJECT})}")
    except HTTPError as error:
        if error.code != HTTPStatus.NOT_FOUND:
            raise
        return PageLinks({"runs": f"{page}/#/experiments?{TRAINING}"}, "no runs yet; `make train` records them")
    experiment_id = experiment["experiment"]["experiment_id"]
    links = {"runs": f"{page}/#/experiments/{experiment_id}/runs?{TRAINING}"}
    try:
        _fetch(f"{page}/api/2.0/mlflow/registered-models/get?{urlencode({'name': PROJECT})}")
    except HTTPError as error:
        if error.code != HTTPStatus.NOT_FOUND:
            raise
        return PageLinks(links, "no registered model yet; `make train` registers one")
    return PageLinks({**links, "registered model": f"{page}/#/models/{PROJECT}?{TRAINING}"})


def prefect_links(page: str) -> PageLinks:
    settings = _fetch(f"{page}/ui-settings")
    runs = f"{page}{settings[settings['default_ui'] + '_base_url'].rstrip('/')}/runs"
    if _fetch(f"{page}/api/flow_runs/count", {}):
        return PageLinks({"flow runs": runs})
    return PageLinks({"flow runs": runs}, "no flow runs yet; `make orchestrate` runs them on a schedule")


def evidently_links(page: str, workspace: Path) -> PageLinks:
    """Reads the workspace folder: a page that was opened before the first report lists none until it is restarted."""
    for metadata in sorted(workspace.glob("*/metadata.json")):
        project = json.loads(metadata.read_text(encoding="utf-8"))
        if project["name"] == PROJECT and any(metadata.parent.glob("snapshots/*.json")):
            return PageLinks({"reports": f"{page}/projects/{project['id']}/reports"})
    hint = (
        "no reports yet; `make monitor` writes one every few days (params.yaml: monitor.drift_every_days), "
        "`make replay` writes its own; then start `make ui` again"
    )
    return PageLinks({"reports": page}, hint)


def report_links(page: str, folder: Path) -> PageLinks:
    """The HTML pages in the folder, by name."""
    return PageLinks({path.stem: f"{page}/{path.name}" for path in sorted(folder.glob("*.html"))})


def _fetch(address: str, body: Mapping[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = Request(address, data, {"Content-Type": "application/json"})  # noqa: S310  our own pages
    with urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310  see above
        return json.load(response)
