"""The commands of `ontime study`: measurements that no training waits for."""

import click

from cli.project_commands import ProjectCommand


@click.group()
def study() -> None:
    """Measure what no training waits for: the model card, features, models, compression, searches, alerts."""


@study.command(cls=ProjectCommand)
def card() -> None:
    """Measure ablations, permutation importance and conformal sets, for the model card."""
    from pipelines.tools import study as card_study

    card_study.main()


@study.command(cls=ProjectCommand)
@click.option("--idea", metavar="NAME", help="Measure this idea only, and print its rows instead of writing the page.")
def features(idea: str | None) -> None:
    """Measure what each family of features and each idea is worth, on the validation period."""
    if idea is None:
        from pipelines.tools import study_features

        study_features.main()
    else:
        from pipelines.tools import study_idea

        study_idea.main(idea)


@study.command(cls=ProjectCommand)
def value() -> None:
    """Measure what alerts cost and what each part of the model saves, on the test period."""
    from pipelines.tools import study_value

    study_value.main()


@study.command(cls=ProjectCommand)
@click.option("--candidate", metavar="NAME", help="Compare this candidate only, and print the gate's verdict on it.")
def models(candidate: str | None) -> None:
    """Measure what each candidate is worth and costs: scores, latency, size, time to fit."""
    if candidate is None:
        from pipelines.tools import study_models

        study_models.main()
    else:
        from pipelines.tools import study_candidate

        study_candidate.main(candidate)


@study.command(cls=ProjectCommand)
def compression() -> None:
    """Measure what distilled, pruned and quantised models lose, and what they save."""
    from pipelines.tools import study_compression

    study_compression.main()


@study.command(cls=ProjectCommand)
def search() -> None:
    """Measure what a grid, a random and a Bayesian search for parameters find on equal budgets."""
    from pipelines.tools import study_search

    study_search.main()


COMMANDS = (study,)
