"""Commands that move, document and check releases of the model."""

from pathlib import Path

import click

from cli.project_commands import AS_JSON, ProjectCommand, ProjectPath

RELEASE = click.argument("version", type=click.IntRange(min=1), help="The number of a release, such as 2.")


@click.command(cls=ProjectCommand)
@RELEASE
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
@RELEASE
def shadow(version: int) -> None:
    """Run a published release in shadow: it scores every request, and serves no traffic."""
    from pipelines.operations import release_commands

    release_commands.main(lambda settings: release_commands.challenge(settings, str(version), 0))


@click.command(cls=ProjectCommand)
@RELEASE
@click.option("--share", type=click.FloatRange(0, 1), required=True, help="The share of the traffic, such as 0.1.")
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
@RELEASE
@click.option("--reason", required=True, help="Why, recorded with your name.")
def approve(version: int, reason: str) -> None:
    """Approve the promotion of a release, where policy.approval_required is true."""
    from pipelines.operations import release_commands

    release_commands.main(lambda settings: release_commands.approve(settings, str(version), reason))


@click.command(cls=ProjectCommand)
@AS_JSON
def compare(as_json: bool) -> None:
    """Compare champion and challenger on what both have scored and whose outcome is known."""
    from pipelines.tools import compare_releases

    compare_releases.main(as_json=as_json)


@click.command(cls=ProjectCommand)
@RELEASE
@click.option("--to", "folder", type=ProjectPath(), required=True, help="The folder to write.")
def pack(version: int, folder: Path) -> None:
    """Write the documentation of a version, as one page and as JSON."""
    from pipelines.tools import release_pack

    release_pack.main(str(version), folder)


@click.command(cls=ProjectCommand)
@RELEASE
@AS_JSON
def reproduce(version: int, as_json: bool) -> None:
    """Rebuild a registered version from its recorded commit and parameters, and compare predictions.

    The exit status is 1 if they differ.
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
