"""`ontime study models --candidate NAME`: one candidate against the best of the last training, and the gate's verdict.

Prints its rows of the page, and writes neither the page nor a run in MLflow. Nothing is released.
"""

import sys
from functools import partial

from ontime import candidates, locks, model
from ontime.params import Params, ParamsBroken, load_params
from ontime.refusal import Refusal
from pipelines.operations import train_and_promote
from pipelines.tools import study_pages
from pipelines.tools.study_fits import StudyModel, forget_fits
from pipelines.tools.study_models import best_candidate, fit_and_export, model_report, reference


def challenger(name: str, params: Params) -> StudyModel:
    """The candidate with this name. Raises Refusal if params.yaml has no section for it, or it cannot be released."""
    names = candidates.exportable(params.train.parameters)
    if name not in names:
        raise Refusal(f"{name} has no section in params.yaml, or no `export`; those with both are {', '.join(names)}")
    model.refuse_missing_packages(name)
    return StudyModel(name, "", partial(fit_and_export, name))


def print_verdict(measured: StudyModel, params: Params) -> None:
    """Raises Refusal if the candidate is the best of the last training, so that nothing is left to compare it with."""
    best, study = best_candidate(), f"models-{measured.name}"
    if measured.name == best:
        raise Refusal(f"{best} is the best of the last training, on which `make train` has printed the gate's verdict")
    forget_fits(study)  # of a run that was interrupted: the candidate's code may have changed since
    report, _ = model_report(study, [reference(best), measured], params)
    forget_fits(study)
    (row,) = (each for each in report["rows"] if each["name"] == measured.name)
    print(f"\n{study_pages.MODELS.printed(report)}\n")
    print(f"study models: the gate {'passes' if row['promote'] else 'rejects'} {measured.name}: {row['gate']}")
    print(f"study models: {study_pages.MODELS.path} and {study_pages.MODELS.json} were not changed")


def main(name: str) -> None:
    try:
        params = load_params()
        measured = challenger(name, params)
        with locks.hold(locks.WORKSPACE, "make study-models"):
            train_and_promote.run_stages("train")  # so that features and algorithm are those of params.yaml
            print_verdict(measured, params)
    except (locks.Busy, train_and_promote.NotTrained, ParamsBroken, Refusal) as refused:
        sys.exit(f"study models: {refused}")
