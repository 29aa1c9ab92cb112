"""Pointer, MLflow's aliases and `decisions` agree after every move of a release, whoever made it, even if killed."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from functools import wraps
from itertools import count
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from mlflow.tracking import MlflowClient

from monitoring.policy import Action
from ontime import database, registry, release, release_pointer
from ontime.release_pointer import Pointer
from ontime.settings import Settings
from pipelines.operations import apply_policy, transitions
from pipelines.operations import release_commands as by_hand
from pipelines.operations.transition_log import BY_TRAINING, CHALLENGE, PROMOTION, ROLLBACK, MoveCause, Roles
from tests.small_world import Small

pytestmark = pytest.mark.slow

VERSIONS = ("1", "2", "3", "4")  # the gate has rejected the last one
TRAINED = MoveCause(BY_TRAINING, "better than the champion", {"pipeline": "x"})
MONDAY = date(2013, 2, 18)


class Killed(BaseException):
    """The end of a process: no `except` of the code under test catches it."""


class Kill:
    """Raises Killed before the write that `writes_left` counts down to; never while it is None."""

    writes_left: int | None = None

    def before(self, write: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(write)
        def counted(*args: Any, **kwargs: Any) -> Any:
            if self.writes_left is not None:
                self.writes_left -= 1
                if self.writes_left < 0:
                    raise Killed
            return write(*args, **kwargs)

        return counted


class World(NamedTuple):
    settings: Settings
    engine: sa.Engine
    day: date

    @property
    def pointer(self) -> Pointer | None:
        return release_pointer.read_pointer(self.settings.releases)

    @property
    def rows(self) -> list[tuple[str, str, Any]]:
        """The decisions about moves, in order."""
        every = reversed(database.latest_decisions(self.engine, 1000))
        return [(row.kind, row.verdict, row.evidence) for row in every if row.kind in (PROMOTION, ROLLBACK, CHALLENGE)]

    @property
    def aliases(self) -> dict[str, str]:
        client = registry.tracking_client(self.settings.tracking_url, self.settings.artifacts)
        named = client.get_registered_model(registry.NAME).aliases
        return {alias: str(version) for alias, version in named.items()}


Command = Callable[[World], object]


def by_hand_command(function: Callable[..., str], *arguments: Any, **options: Any) -> Command:
    """A command given by hand."""
    return lambda world: function(world.settings, *arguments, **options)


def policy(action: Action, world: World) -> Command:
    """An action of the policy on the releases that the pointer names now."""
    pointer, now = world.pointer, datetime.combine(world.day, datetime.min.time(), UTC)
    before = pointer.history[-1] if pointer and pointer.history else None
    challenger = pointer.challenger.version if pointer and pointer.challenger else None
    version = before if action is Action.ROLL_BACK else challenger
    return lambda world: apply_policy.carry_out(world.settings, world.engine, action, version, world.day, now)


COMMANDS: dict[str, Callable[[str, World], Command]] = {
    "promote": lambda version, _: by_hand_command(by_hand.promote, version),
    "promote by force": lambda version, _: by_hand_command(by_hand.promote, version, force=True),
    "shadow": lambda version, _: by_hand_command(by_hand.challenge, version, 0),
    "canary": lambda version, _: by_hand_command(by_hand.challenge, version, 0.25),
    "withdraw": lambda _, __: by_hand_command(by_hand.withdraw),
    "rollback": lambda _, __: by_hand_command(by_hand.roll_back),
    "policy promotes": lambda _, world: policy(Action.PROMOTE, world),
    "policy rolls back": lambda _, world: policy(Action.ROLL_BACK, world),
    "policy withdraws": lambda _, world: policy(Action.WITHDRAW, world),
    "training": lambda version, _: lambda world: transitions.promote(world.settings, world.engine, version, TRAINED),
    "retraining": lambda version, _: (
        lambda world: transitions.challenge(world.settings, world.engine, version, 0, TRAINED)
    ),
}
# A move writes five times: the pointer, two aliases, a tag, the row.
STEP = st.tuples(st.sampled_from(list(COMMANDS)), st.sampled_from(VERSIONS), st.integers(0, 5))
STEPS = st.lists(STEP, min_size=2, max_size=5)
BEGINNING = [("training", "1", 1), ("promote", "2", 3), ("promote by force", "3", 5), ("rollback", "", 4)]


@pytest.fixture(scope="module")
def kill() -> Iterator[Kill]:
    """Counts every write of a move."""
    armed = Kill()
    with pytest.MonkeyPatch.context() as patched:
        for owner, name in (
            (release_pointer, "_write"),
            (MlflowClient, "set_registered_model_alias"),
            (MlflowClient, "delete_registered_model_alias"),
            (MlflowClient, "set_model_version_tag"),
            (database, "record_decision"),
        ):
            patched.setattr(owner, name, armed.before(getattr(owner, name)))
        yield armed


@pytest.fixture(scope="module")
def new_world(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], World]:
    """Four published releases, none of them live; the registry is shared, because creating it takes seconds."""
    folder, number = tmp_path_factory.mktemp("transitions"), count()
    tracking_url, artifacts = f"sqlite:///{folder}/mlflow.db", folder / "artifacts"
    client = registry.tracking_client(tracking_url, artifacts)
    client.create_registered_model(registry.NAME)
    for version in VERSIONS:
        client.create_model_version(registry.NAME, "file:///nowhere", run_id=None)
        release.publish(folder / "releases", small.contents, small.manifest(version))

    def made() -> World:
        place = folder / str(next(number))
        (place / "releases").mkdir(parents=True)
        for version in VERSIONS:
            (place / "releases" / version).symlink_to(folder / "releases" / version)
        settings = Settings(
            releases=place / "releases",
            database_url=f"sqlite:///{place}/ontime.db",
            tracking_url=tracking_url,
            artifacts=artifacts,
        )
        engine = database.connect(settings.database_url.get_secret_value())
        for version in VERSIONS:
            word = "reject" if version == VERSIONS[-1] else "promote"
            evidence = {"version": version, "against": "release 1", "reason": "for a test"}
            database.record_decision(engine, "gate", word, evidence)
        return World(settings, engine, MONDAY)

    return made


def run(command: Command, world: World) -> None:
    """Run a command, which may be refused."""
    with suppress(ValueError):
        command(world)


def run_and_die(command: Command, world: World, kill: Kill, writes: int) -> None:
    """Run a command, and kill it after so many writes if it has not ended before."""
    kill.writes_left = writes
    with suppress(Killed):
        run(command, world)
    kill.writes_left = None


def assert_all_agree(world: World) -> None:
    pointer = world.pointer
    if pointer is None:
        assert world.rows == []
        return
    roles = Roles.of(pointer)
    kind, verdict, evidence = world.rows[-1]
    assert Roles(*(evidence[name] for name in Roles._fields)) == roles, (kind, verdict)
    named = {registry.CHAMPION: roles.champion, registry.CHALLENGER: roles.challenger}
    assert world.aliases == {alias: version for alias, version in named.items() if version}
    assert champions_of(world.rows) == [*pointer.history, pointer.version]


def champions_of(rows: list[tuple[str, str, Any]]) -> list[str]:
    """The champions in order, without those that were rolled back, according to `decisions`."""
    champions: list[str] = []
    for kind, _, evidence in rows:
        if kind == PROMOTION:
            champions.append(evidence["version"])
        elif kind == ROLLBACK:
            champions.pop()
            assert champions[-1] == evidence["version"]
    return champions


@given(steps=STEPS)
@tries(max_examples=8, deadline=None, derandomize=True)
def test_a_killed_command_that_runs_again_leaves_the_same_as_an_uninterrupted_one(
    steps: list[tuple[str, str, int]], new_world: Callable[[], World], kill: Kill
) -> None:
    killed, uninterrupted = new_world(), new_world()

    for number, (name, version, writes) in enumerate([*BEGINNING, *steps]):
        day = MONDAY + timedelta(days=number)
        killed, uninterrupted = killed._replace(day=day), uninterrupted._replace(day=day)
        run(COMMANDS[name](version, uninterrupted), uninterrupted)
        command = COMMANDS[name](version, killed)
        run_and_die(command, killed, kill, writes)
        run(command, killed)

        assert killed.pointer == uninterrupted.pointer
        assert killed.rows == uninterrupted.rows
        assert_all_agree(killed)


@given(steps=STEPS)
@tries(max_examples=8, deadline=None, derandomize=True)
def test_any_other_command_records_a_killed_move(
    steps: list[tuple[str, str, int]], new_world: Callable[[], World], kill: Kill
) -> None:
    world = new_world()
    run(COMMANDS["training"]("1", world), world)

    for number, (name, version, writes) in enumerate(steps):
        world = world._replace(day=MONDAY + timedelta(days=number))
        run_and_die(COMMANDS[name](version, world), world, kill, writes)
    run(COMMANDS["withdraw"]("", world), world)

    assert_all_agree(world)
