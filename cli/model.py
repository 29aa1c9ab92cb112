"""Commands that move, document and check releases of the model."""

from pathlib import Path

import click

from cli.project_commands import AS_JSON, ProjectCommand, ProjectPath

VERSION = click.IntRange(min=1)


@click.command(cls=ProjectCommand)
@click.argument("version", type=VERSION)
@click.option("--force", is_flag=True, help="Override the gate, on record.")
def promote(version: int, force: bool) -> None:
    """Make a published release live."""
    from pipelines.operations import release_commands

    release_commands.main(lambda settings: release_commands.promote(settings, str(version), force=force))


@click.command(cls=ProjectCommand)
def rollback() -> None:
    """Make the previous release live again."""
    from pipelines.operations import release_commands

    release_commands.main(release_commands.roll_back)


@click.command(cls=ProjectCommand)
@click.argument("version", type=VERSION)
def shadow(version: int) -> None:
    """Run a published release in shadow, beside the champion: it serves no traffic."""
    from pipelines.operations import release_commands

    release_commands.main(lambda settings: release_commands.challenge(settings, str(version), 0))


@click.command(cls=ProjectCommand)
@click.argument("version", type=VERSION)
@click.option("--share", type=click.FloatRange(0, 1), required=True, help="Of the traffic, such as 0.1.")
def canary(version: int, share: float) -> None:
    """Let a published release serve a share of the traffic."""
    from pipelines.operations import release_commands

    release_commands.main(lambda settings: release_commands.challenge(settings, str(version), share))


@click.command(cls=ProjectCommand)
def withdraw() -> None:
    """End shadow and canary."""
    from pipelines.operations import release_commands

    release_commands.main(release_commands.withdraw)


@click.command(cls=ProjectCommand)
@click.argument("version", type=VERSION)
@click.option("--reason", required=True, help="Recorded with your name.")
def approve(version: int, reason: str) -> None:
    """Approve a release by name and with a reason, for policy.approval_required."""
    from pipelines.operations import release_commands

    release_commands.main(lambda settings: release_commands.approve(settings, str(version), reason))


@click.command(cls=ProjectCommand)
@AS_JSON
def compare(as_json: bool) -> None:
    """Compare champion and challenger where both have scored and the outcome is known."""
    from pipelines.tools import compare_releases

    compare_releases.main(as_json=as_json)


@click.command(cls=ProjectCommand)
@click.argument("version", type=VERSION)
@click.option("--to", "folder", type=ProjectPath(), required=True, help="The folder to write.")
def pack(version: int, folder: Path) -> None:
    """Write the documentation of a version, as one page and as JSON."""
    from pipelines.tools import release_pack

    release_pack.main(str(version), folder)


@click.command(cls=ProjectCommand)
@click.argument("version", type=VERSION)
@AS_JSON
def reproduce(version: int, as_json: bool) -> None:
    """Rebuild a registered version from its recorded commit and parameters, and compare predictions.

    Exit status 1: they differ.
    """
    from pipelines.tools import reproduce as reproduction

    reproduction.main(str(version), as_json=as_json)


@click.command(cls=ProjectCommand)
def sign() -> None:
    """Check and sign the published releases that this folder's key has not signed."""
    from pipelines.operations import signing

    signing.main(signing.sign_unsigned)


@click.command(cls=ProjectCommand)
@click.option("--prepare", is_flag=True, help="Only create a new key, and trust it beside the old one.")
def rotate_key(prepare: bool) -> None:
    """Sign all releases with a new key, and no longer trust the old one."""
    from pipelines.operations import signing

    signing.main(signing.create_key if prepare else signing.rotate)


@click.command(cls=ProjectCommand)
def tune() -> None:
    """Search for hyperparameters inside the training period, and print them for params.yaml."""
    from pipelines.tools import tune as search

    search.main()


COMMANDS = (
    promote, rollback, shadow, canary, withdraw, approve, compare, pack, reproduce, sign, rotate_key, tune,
)  # fmt: skip
