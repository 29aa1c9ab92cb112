"""The example of docs/models.md, pasted; and every kind of model: fitted, exported, released, served, explained."""

import re
from hashlib import sha256
from math import exp
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from fastapi.testclient import TestClient
from playwright.sync_api import expect

from ontime import candidates, explain, export, model, online, release, release_pointer, split
from ontime.candidates import CANDIDATES
from ontime.datasets import Tables
from ontime.params import Params
from ontime.settings import Settings
from pipelines import smoke_test
from pipelines.operations import packaging
from serving.app import create_app
from serving.responses import Prediction
from tests import ROOT, browser
from tests.service import running
from tests.serving.test_serving import request_of
from tests.short_fits import short
from tests.small_world import STORED_FROM, Small

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "models.md").read_text()
KINDS = {  # kind of model -> how its reasons are computed, on which scale
    "extra_trees": ("tree_shap", "probability"),
    "hist_gradient_boosting": ("tree_shap", "log_odds"),
    "logistic": ("linear_shap", "log_odds"),
    "without a method": ("none", None),
}
OPTIONAL = {
    "random_forest": ("tree_shap", "probability"),
    "xgboost": ("tree_shap", "log_odds"),
    "catboost": ("none", None),
    "neural_network": ("none", None),
    "average": ("none", None),
    "distilled": ("tree_shap", "log_odds"),
    "quantised": ("none", None),
}


def block(language: str, name: str) -> str:
    """The page's example of that candidate."""
    (block,) = (text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if name in text)
    return str(block)


@pytest.fixture
def pasted(params: Params, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The parameters, and the registry, of a reader who has followed the page."""
    before = dict(CANDIDATES)
    exec(block("python", 'CANDIDATES["extra_trees"]'), dict(vars(candidates)))  # noqa: S102  our own page
    added = {name: CANDIDATES.pop(name) for name in CANDIDATES.keys() - before.keys()}
    assert list(added) == ["extra_trees"]
    for name, entry in added.items():
        monkeypatch.setitem(CANDIDATES, name, entry)
    plain = params.model_dump(mode="json")
    plain["train"].update(yaml.safe_load(block("yaml", "  extra_trees:"))["train"])
    return Params.model_validate(plain)


def test_the_pages_example_passes_the_smoke_test(pasted: Params) -> None:
    assert pasted.train.candidates[-1] == "extra_trees"

    _, method = smoke_test.check_candidate("extra_trees", smoke_test.draw_sample(0), pasted)

    assert (method.method, method.scale) == ("tree_shap", "probability")


@pytest.mark.parametrize("name", [name for name in CANDIDATES if CANDIDATES[name].export])
def test_the_page_lists_how_each_candidate_is_explained(name: str) -> None:
    explained = PAGE[PAGE.index("## Explanations") :].splitlines()
    (row,) = (line for line in explained if re.match(rf"\| [^|]*`{name}`[^|]* \|", line))

    method = (KINDS | OPTIONAL)[name][0] if name != "lightgbm" else "tree_shap"
    assert {"linear_shap": "linear", "tree_shap": "TreeSHAP", "none": "| none"}[method] in row


@pytest.fixture
def served(
    request: pytest.FixtureRequest, pasted: Params, small: Small, weeks: pd.DataFrame, tables: Tables,
    settings: Settings, monkeypatch: pytest.MonkeyPatch,
) -> str:  # fmt: skip
    """A kind of model, fitted on two weeks, that answers as release 3."""
    kind = str(request.param)
    name = kind if kind in CANDIDATES else "logistic"
    if kind == "without a method":
        entry = candidates.Candidate(CANDIDATES[name].build, export=candidates.sklearn_onnx, explain="a secret recipe")
        monkeypatch.setitem(CANDIDATES, name, entry)
    labelled = split.labelled(weeks)
    before, after = labelled[labelled["day"] < STORED_FROM], labelled[labelled["day"] >= STORED_FROM]
    few = short(pasted.train).changed("extra_trees", n_estimators=20)
    categories = model.categories_of(before)
    fitted = model.fit(name, model.matrix_of(before, categories), before["label"].to_numpy(), few)
    explainer, onnx = packaging.explainer_of(name, fitted, categories, after), export.to_onnx(name, fitted)
    matrix = model.matrix_of(after, categories)
    rows = np.vstack([matrix, model.request_only(matrix)])
    assert np.abs(release.Model(onnx).predict(rows) - model.predict(fitted, rows)).max() <= pasted.gate.parity_tolerance
    contents = packaging.files_of(
        explainer, onnx, categories, after, tables["flights"].set_index("entity_id", drop=False)
    )
    digests = {each: sha256(content).hexdigest() for each, content in contents.items()}
    about = {"algorithm": name, "categories": categories, "reasons": explain.method_of(explainer), "sha256": digests}
    release.publish(settings.releases, contents, small.manifest("3").model_copy(update=about))
    online.check_probes(release.load(settings.releases, "3"))
    release_pointer.set_live(settings.releases, "3")
    return kind


@pytest.fixture
def flight(stored: pd.DataFrame, tables: Tables) -> dict[str, Any]:
    return request_of(tables["flights"].set_index("entity_id", drop=False).loc[stored["entity_id"].iloc[100]])


@pytest.mark.parametrize("served", [*KINDS, *OPTIONAL], indirect=True)
def test_reasons_name_their_scale_and_add_up_to_the_probability(
    served: str, flight: dict[str, Any], settings: Settings
) -> None:
    with TestClient(create_app(settings)) as client:
        answer = client.post("/v1/predictions?explain=true", json=flight).json()
        stated = client.get("/v1/model").json()["reasons"]

    Prediction.model_validate(answer)
    method, scale = (KINDS | OPTIONAL)[served]
    assert (stated["method"], stated["scale"]) == (method, scale)
    reasons = answer["reasons"]
    assert reasons["method"] == method
    if scale is None:
        why = "a secret recipe" if served in KINDS else CANDIDATES[served].explain
        assert reasons == {"method": "none", "why": why}
        return
    parts = [each[scale] for each in reasons["features"]]
    total = reasons[f"base_{scale}"] + sum(parts) + reasons[f"others_{scale}"]
    assert total == pytest.approx(reasons[scale])
    assert (1 / (1 + exp(-total)) if scale == "log_odds" else total) == pytest.approx(answer["probability"], abs=1e-6)


def text_of_the_page(settings: Settings, entity_id: str) -> str:
    with running(settings) as service, browser.running() as chromium:
        page = chromium.new_page(base_url=f"http://127.0.0.1:{service.port}")
        page.goto(f"/?entity={entity_id}")
        expect(page.locator("#answer")).to_contain_text("Reasons for this probability")
        text = page.locator("#answer").inner_text()
        service.stop()
    return text


@pytest.mark.parametrize("served", KINDS, indirect=True)
def test_the_page_shows_reasons_on_their_own_scale(served: str, stored: pd.DataFrame, settings: Settings) -> None:
    shown = {
        "probability": r"(raises|lowers) it( much| a little)?\s*by \d+\.\d in 100",
        "log_odds": r"(raises|lowers) it( much| a little)?\s*odds",
        None: r"No reasons: a secret recipe\.",
    }

    text = text_of_the_page(settings, stored["entity_id"].iloc[100])

    for scale, words in shown.items():
        assert bool(re.search(words, text)) == (scale == KINDS[served][1])
    assert "NaN" not in text
    assert "undefined" not in text
