"""The life of a model in minutes: trained, served, broken, repaired, replaced and rolled back, with the real code.

    ontime demo            in a copy of the project, in a temporary folder, which is deleted afterwards
    ontime demo --pause    waits after each step, so that the pages can be looked at
    ontime demo --keep     keeps the folder

The data, the stages, the service, the monitor and the policy are those of this project. Only the policy's waiting times
are shorter than in params.yaml, and the clock is simulated. If a step does not happen, the demo says what happened
instead, and exits with status 1. docs/demo.md explains each step.
"""

import shlex
import signal
import sys
from pathlib import Path

from ontime import sources
from ontime.datasets import SourceBroken
from ontime.params import Params, Policy, load_params
from ontime.settings import load_settings
from pipelines.operations import processes, retrain
from pipelines.tools import demo_steps, local_service
from pipelines.tools.demo_console import Console
from pipelines.tools.demo_days import first_day_of_service
from pipelines.tools.demo_fault import NoFault, choose_fault
from pipelines.tools.demo_project import GitMissing, temporary_project
from pipelines.tools.demo_story import StepFailed, Story
from pipelines.tools.simulated_production import SimulatedProduction

REFRESH_DAYS, SHADOW_DAYS = 9, 3
TITLE = "ontime demo: the life of a model, with the real data and code, in a folder of its own"


class DemoRefused(ValueError):
    """The demo cannot run with this problem; the message says why, and what to do."""


def main(*, pause: bool = False, keep: bool = False) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background job inherits it as ignored
        signal.signal(number, signal.default_int_handler)
    try:
        console = Console(pause=pause)
        with temporary_project(keep=keep) as folder:
            run(console, folder)
        console.say(_how_to_go_on(folder) if keep else "The folder is deleted. Next: make train, then make serve.")
    except (DemoRefused, NoFault, GitMissing, SourceBroken) as refused:
        sys.exit(f"demo: {refused}")
    except StepFailed as failed:
        sys.exit(f"demo: not every step happened: {failed}")
    except (retrain.NotRetrained, processes.ProcessFailed, local_service.ServiceFailed) as failed:
        sys.exit(f"demo: {failed}")


def run(console: Console, folder: Path) -> None:
    """All steps, in the working folder. Raises DemoRefused, NoFault and, if a step did not happen, StepFailed."""
    console.title(TITLE)
    story = begin(console)
    policy = story.params.policy
    console.say(
        f"In {folder}. The policy waits less than in params.yaml: it retrains after {policy.refresh_days} days, and "
        f"promotes after {policy.shadow_days} days in shadow."
    )
    demo_steps.train_first_release(story)
    with local_service.running_service(story.settings) as service:
        production = SimulatedProduction(story.settings, story.params, story.tables, service)
        for step in demo_steps.STEPS:
            step(story, production)
        demo_steps.end_demo(story)


def begin(console: Console) -> Story:
    """The story before its first step. Raises DemoRefused, NoFault, SourceBroken."""
    params = load_params()
    if params.policy.approval_required:
        raise DemoRefused("policy.approval_required in params.yaml is true, and nobody approves a release here")
    tables = sources.read(params.dataset)
    start = first_day_of_service(params, tables)
    if start is None:
        raise DemoRefused(f"{params.dataset} has too few days for a training and three weeks in production")
    fault = choose_fault(tables, start + demo_steps.HEALTHY_DAYS * demo_steps.DAY)
    return Story(load_settings(), impatient(params), tables, start, fault, console)


def impatient(params: Params) -> Params:
    """The same parameters, with a policy that waits for fewer days, and for fewer outcomes in the same ratio."""
    policy: Policy = params.policy
    refresh_days, shadow_days = min(policy.refresh_days, REFRESH_DAYS), min(policy.shadow_days, SHADOW_DAYS)
    changed = {
        "refresh_days": refresh_days,
        "cooldown_days": min(policy.cooldown_days, refresh_days),
        "min_labels": policy.min_labels * refresh_days // policy.refresh_days,
        "shadow_days": shadow_days,
        "shadow_labels": policy.shadow_labels * shadow_days // policy.shadow_days,
    }
    return params.model_copy(update={"policy": policy.model_copy(update=changed)})


def _how_to_go_on(folder: Path) -> str:
    command = f"cd {shlex.quote(str(folder))} && PYTHONPATH=.:src {shlex.quote(sys.executable)} -m cli serve"
    return f"Kept, with its releases, database and reports. To serve it: {command}"
