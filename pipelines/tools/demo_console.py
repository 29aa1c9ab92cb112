"""What `ontime demo` prints: numbered steps, sentences, figures, and what to look at."""

import sys
import textwrap
import time
from collections.abc import Sequence

import click

WIDTH, INDENT = 96, "    "


class Console:
    """Prints on stdout, in colours on a terminal. With `pause`, each step waits for Enter."""

    def __init__(self, *, pause: bool) -> None:
        self._pause, self._started, self._steps = pause, time.monotonic(), 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def title(self, text: str) -> None:
        click.echo(click.style(text, bold=True))

    def step(self, name: str) -> None:
        """Begin a step: its name, before its work."""
        self._steps += 1
        minutes, seconds = divmod(round(self.seconds), 60)
        text = f" {self._steps}  {name}"
        click.echo(f"\n{click.style(text, fg='cyan', bold=True)}{f'{minutes}:{seconds:02d}':>{WIDTH - len(text)}}")

    def say(self, sentence: str, colour: str | None = None) -> None:
        for line in textwrap.wrap(sentence, WIDTH - len(INDENT), break_on_hyphens=False):
            click.echo(INDENT + (click.style(line, fg=colour) if colour else line))

    def figure(self, caption: str, lines: Sequence[str]) -> None:
        click.echo(f"{INDENT}{click.style(caption, dim=True)}")
        for line in lines:
            click.echo(f"{INDENT}  {click.style(line, fg='yellow')}")

    def look(self, *places: str) -> None:
        """End a step: the page or report to look at."""
        click.echo(INDENT + click.style(f"look at  {'   '.join(places)}", dim=True))
        if self._pause and sys.stdin.isatty() and sys.stdout.isatty():
            click.echo(f"{INDENT}Press a key to continue", nl=False)
            click.getchar()  # and not click.pause, which takes Ctrl-C for a key
            click.echo()
