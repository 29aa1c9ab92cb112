"""`make promote`, `rollback`, `shadow`, `canary`, `withdraw`: which release answers, moved by hand and written down.

    python -m pipelines.release promote 2
    python -m pipelines.release rollback
    python -m pipelines.release challenge 2 0.1
    python -m pipelines.release withdraw

The pointer moves first, because that is what production follows; the log of decisions and MLflow's alias after it.
"""

import sys
from collections.abc import Sequence

from ontime import database, environment, online, release
from ontime.settings import Settings, load_settings

USAGE = "try: make promote VERSION=2, make rollback, make shadow VERSION=2, make canary VERSION=2 SHARE=0.1"


def promote(settings: Settings, version: str) -> str:
    """Let a published release answer. Raises ReleaseRefused for one that would not be taken."""
    _refuse_unproven(settings, version)
    release.point(settings.releases, version)
    _write_down(settings, version, "promotion", "by hand")
    return f"release {version} answers from now on"


def roll_back(settings: Settings) -> str:
    left = release.current(settings.releases)
    version = release.roll_back(settings.releases)
    _write_down(settings, version, "rollback", f"from {left.version if left else 'nothing'}")
    return f"release {version} answers again"


def challenge(settings: Settings, version: str, share: float) -> str:
    """Let a published release score every flight in the shadow, and answer a share of them."""
    if not 0 <= share <= 1:
        raise ValueError(f"share {share:g} is not between 0 and 1")
    _refuse_unproven(settings, version)
    release.challenge(settings.releases, version, share)
    _decide(settings, "challenge", f"share {share:g}", version)
    answered = f"{share:.1%} of them" if share else "none"
    return f"release {version} scores every flight in the shadow, and answers {answered}"


def _refuse_unproven(settings: Settings, version: str) -> None:
    published = release.published(settings.releases)
    if version not in published:
        raise ValueError(f"release {version} is not published; published are {', '.join(published) or 'none'}")
    online.prove(release.load(settings.releases, version))


def withdraw(settings: Settings) -> str:
    release.challenge(settings.releases, None)
    _decide(settings, "challenge", "withdrawn", "")
    return "nobody challenges the current release"


def _write_down(settings: Settings, version: str, kind: str, verdict: str) -> None:
    _decide(settings, kind, verdict, version)
    from ontime import registry  # here, so that a mistyped version is refused at once

    try:
        registry.crown(registry.connect(settings.tracking_url, settings.artifacts), {registry.CHAMPION: version})
    except registry.NotRecorded as error:
        # Production has moved, and must be able to without MLflow: history is told, not obeyed.
        print(f"release: {error}", file=sys.stderr)


def _decide(settings: Settings, kind: str, verdict: str, version: str) -> None:
    engine = database.connect(settings.database_url.get_secret_value())
    database.record_decision(engine, kind, verdict, {"version": version, "reason": "asked for by hand"})


def run(settings: Settings, words: Sequence[str]) -> str:
    """What was done. Raises ValueError for what cannot be."""
    match words:
        case ["promote", version] if version:
            return promote(settings, version)
        case ["rollback"]:
            return roll_back(settings)
        case ["withdraw"]:
            return withdraw(settings)
        case ["challenge", version, share] if version:
            return challenge(settings, version, float(share))
    raise ValueError(USAGE)


def main() -> None:
    try:
        print(f"release: {run(load_settings(), sys.argv[1:])}")
    except ValueError as refused:
        sys.exit(f"release: {refused}")


if __name__ == "__main__":
    environment.settle()
    main()
