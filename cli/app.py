"""The group of all commands, by section."""

import os
from importlib import import_module
from importlib.util import find_spec

import click

from cli.project_commands import SectionedGroup
from ontime import environment

EPILOG = """\b
Examples:
  ontime train                          raw data to a released model
  ontime serve --port 9000              the live release behind an API
  ontime canary 2 --share 0.1           let release 2 serve a tenth of the traffic
  ontime replay --months 2              two months in production, in minutes

Exit status: 0 done, 1 refused or failed (the reason is on stderr), 2 wrong usage, 130 interrupted. Settings are
environment variables, ONTIME_...: listed in docs/settings.md."""


def project_version() -> str:
    """The version in pyproject.toml: the project runs from its folder, and is not installed as a package."""
    import tomllib  # here, because hardly any call needs it

    text = (environment.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return str(tomllib.loads(text)["project"]["version"])


def print_version(ctx: click.Context, _: click.Parameter, requested: bool) -> None:
    if requested:
        click.echo(f"ontime {project_version()}")
        ctx.exit()


@click.group(
    cls=SectionedGroup,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=print_version, help="Print the version."
)
@click.option("--quiet", "-q", is_flag=True, help="Show no progress, only results and errors.")
def ontime(quiet: bool) -> None:
    """Train, serve, monitor and retrain a model, from any folder; `make` has most of these commands too."""
    if quiet:
        os.environ["TQDM_DISABLE"] = "1"


# The modules of each section. One that was removed with its part of the project is left out.
SECTIONS = {
    "Start": ("start", "demo"),
    "Your own problem": ("problem",),
    "Model": ("model", "study", "imbalance"),
    "Production": ("monitoring", "orchestrate", "replay", "production"),
    "Streaming": ("streaming",),
}
ontime.add_sections(
    {
        title: [
            command for name in names if find_spec(f"cli.{name}") for command in import_module(f"cli.{name}").COMMANDS
        ]
        for title, names in SECTIONS.items()
    }
)
