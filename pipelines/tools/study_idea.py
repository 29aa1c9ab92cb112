"""`ontime study features --idea NAME`: what one idea for a feature is worth; prints its rows of the page, writes none.

Two sets of columns are fitted, all features without the idea and with it; four if the idea is computed from the
request.
"""

import sys
import time

from ontime import ideas, locks
from ontime.params import Params, ParamsBroken, load_params
from ontime.refusal import Refusal
from pipelines.operations import train_and_promote
from pipelines.tools import study_pages
from pipelines.tools.study_features import feature_report


def only(name: str) -> ideas.Ideas:
    """The idea with this name. Raises Refusal if the problem declares none."""
    declared = ideas.declared_ideas()
    if name not in declared:
        listed = f"which has {', '.join(declared)}" if declared else "which has none"
        raise Refusal(f"there is no idea {name} in problem/ideas.py, {listed}")
    return {name: declared[name]}


def print_worth(idea: ideas.Ideas, params: Params) -> None:
    began = time.monotonic()
    report = feature_report(idea, [], params)
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    print(f"\n{study_pages.FEATURES.printed(report)}\n\nstudy features: measured in {minutes} min {seconds} s")
    print(f"study features: {study_pages.FEATURES.path} and {study_pages.FEATURES.json} were not changed")


def main(name: str) -> None:
    try:
        params, idea = load_params(), only(name)
        with locks.hold(locks.WORKSPACE, "make study-features"):
            train_and_promote.run_stages("train")  # so that features and algorithm are those of params.yaml
            print_worth(idea, params)
    except (locks.Busy, train_and_promote.NotTrained, ParamsBroken, Refusal) as refused:
        sys.exit(f"study features: {refused}")
