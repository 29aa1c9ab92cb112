"""Commands to start with."""

import os
import sys

import click

from cli.project_commands import AS_JSON, ProjectCommand
from ontime import environment

AFTER_TRAINING = "train: next: `make serve`, then open {page}; all commands: `make help`"


@click.command(cls=ProjectCommand)
def train() -> None:
    """Run the pipeline: raw data, features, models, gate, published release."""
    from ontime.settings import load_settings
    from pipelines.operations import train_and_promote
    from serving.startup_message import page_url

    train_and_promote.main()
    if not os.environ.get("TQDM_DISABLE"):  # set by --quiet
        click.echo(AFTER_TRAINING.format(page=page_url(load_settings())))


@click.command()
@click.option("--host", help="The address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65535), help="The port to listen on.  [default: 8000]")
@click.option("--workers", type=click.IntRange(1, 64), help="The number of processes.  [default: 1]")
def serve(host: str | None, port: int | None, workers: int | None) -> None:
    """Serve the live release. The options override ONTIME_HOST, ONTIME_PORT and ONTIME_WORKERS."""
    options = {"ONTIME_HOST": host, "ONTIME_PORT": port, "ONTIME_WORKERS": workers}
    variables = {**os.environ, **{name: str(value) for name, value in options.items() if value is not None}}
    os.chdir(environment.ROOT)
    # A new process, as every change of the environment needs one: it loads the service and nothing else.
    command = [sys.executable, "-m", "serving"]
    os.execve(sys.executable, command, environment.project_variables(variables))  # noqa: S606  no shell is wanted


@click.command(cls=ProjectCommand)
def ui() -> None:
    """Serve the pages of MLflow, Prefect and Evidently on the loopback interface, until Ctrl-C."""
    from pipelines.tools import ui as pages

    pages.main()


@click.command(cls=ProjectCommand)
@AS_JSON
def doctor(as_json: bool) -> None:
    """Report what is installed, where things are written, which release is live, and what would stop a command."""
    from pipelines.tools import doctor as tool

    tool.main(as_json=as_json)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), metavar="SHELL", help="bash, zsh or fish.")
def completion(shell: str) -> None:
    """Print a script with which a shell completes commands and options: eval "$(ontime completion bash)"."""
    from click.shell_completion import get_completion_class

    group = click.get_current_context().find_root().command
    if completion_class := get_completion_class(shell):
        click.echo(completion_class(group, {}, "ontime", "_ONTIME_COMPLETE").source())


COMMANDS = (train, serve, ui, doctor, completion)
