"""What the batcher scores, and for whom: nothing for a client that has left, and small requests between the parts."""

import asyncio
from time import perf_counter
from typing import Any

import sqlalchemy as sa

from ontime import database, database_tables
from ontime.problem import PROBLEM
from ontime.settings import Settings
from serving import batcher
from serving.batcher import Batcher
from serving.model_store import ModelStore
from serving.parsing import RequestRejected
from serving.prediction_log import PredictionLog
from serving.spool import Spool
from tests.service import MORNING


def entities(count: int) -> list[Any]:
    return [PROBLEM.request.model_validate({**MORNING, "flight_number": number + 1}) for number in range(count)]


class Scored:
    """A batcher on the small world, with its database."""

    def __init__(self, settings: Settings) -> None:
        self.engine = database.connect(settings.database_url)
        self.log = PredictionLog(self.engine, Spool(settings.spool))
        self.batcher = Batcher(ModelStore(settings.releases), self.log)

    def stored(self) -> int:
        with self.engine.connect() as connection:
            return int(
                connection.execute(sa.select(sa.func.count()).select_from(database_tables.predictions)).scalar_one()
            )


def test_nothing_is_stored_for_a_client_that_has_left(settings: Settings) -> None:
    world = Scored(settings)

    async def test() -> None:
        world.batcher.start()
        left = asyncio.create_task(world.batcher.predict(entities(300), False, perf_counter(), lambda: True))
        answered = await world.batcher.predict(entities(3), False, perf_counter())
        assert len(answered) == 3
        await asyncio.wait([left])
        assert isinstance(left.exception(), RequestRejected)
        await world.batcher.stop()

    asyncio.run(test())

    assert world.stored() == 3


def test_a_client_that_leaves_while_it_is_scored_leaves_no_row(settings: Settings) -> None:
    world = Scored(settings)
    looks = iter([False, True, True])

    async def test() -> None:
        world.batcher.start()
        left = asyncio.create_task(world.batcher.predict(entities(1), False, perf_counter(), lambda: next(looks)))
        await asyncio.wait([left])
        assert isinstance(left.exception(), RequestRejected)
        await world.batcher.stop()

    asyncio.run(test())

    assert world.stored() == 0


def test_a_list_whose_client_leaves_between_two_parts_is_not_stored(settings: Settings) -> None:
    world = Scored(settings)
    looks = iter([False, False, True, True, True])

    async def test() -> None:
        world.batcher.start()
        many = 3 * batcher.PART_ENTITIES
        left = asyncio.create_task(world.batcher.predict(entities(many), False, perf_counter(), lambda: next(looks)))
        await asyncio.wait([left])
        assert isinstance(left.exception(), RequestRejected)
        await world.batcher.stop()

    asyncio.run(test())

    assert world.stored() == 0


def test_a_small_request_is_answered_before_a_list_that_arrived_first(settings: Settings) -> None:
    world = Scored(settings)
    order: list[str] = []

    async def ask(name: str, count: int) -> None:
        await world.batcher.predict(entities(count), False, perf_counter())
        order.append(name)

    async def test() -> None:
        world.batcher.start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ask("list", 5 * batcher.PART_ENTITIES))
            await asyncio.sleep(0.01)
            tasks.create_task(ask("small", 1))
        await world.batcher.stop()

    asyncio.run(test())

    assert order == ["small", "list"]
    assert world.stored() == 5 * batcher.PART_ENTITIES + 1


def test_small_requests_do_not_overtake_each_other(settings: Settings) -> None:
    """Together they fill more than one part; those that arrive meanwhile come after them."""
    world = Scored(settings)
    order: list[int] = []

    async def ask(number: int) -> None:
        await world.batcher.predict(entities(batcher.SMALL_ENTITIES - 1), False, perf_counter())
        order.append(number)

    async def test() -> None:
        world.batcher.start()
        async with asyncio.TaskGroup() as tasks:
            for number in range(60):
                tasks.create_task(ask(number))
        await world.batcher.stop()

    asyncio.run(test())

    assert order == sorted(order)
