"""Lists take turns, and never hold up a small request."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from serving import admission
from serving.admission import LISTS_AT_ONCE, ListAdmission, Overloaded

LARGE = admission.SMALL_BODY_BYTES + 1


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]  # a coroutine function


async def turns_of(lists: ListAdmission, callers: list[str]) -> list[str]:
    """The order in which waiting lists get the places that become free."""
    order: list[str] = []

    async def take(caller: str) -> None:
        async with lists.place(caller, LARGE):
            order.append(caller)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for caller in callers:
            tasks.create_task(take(caller))
    return order


def test_a_caller_with_many_connections_waits_for_the_others() -> None:
    async def test() -> None:
        order = await turns_of(ListAdmission(10), ["busy"] * 20 + ["other"] * 2)

        assert order.index("other") == LISTS_AT_ONCE + 1  # after one more list of the busy caller
        assert order.count("busy") == 20

    run(test)


def test_a_small_request_needs_no_place() -> None:
    async def test() -> None:
        lists = ListAdmission(10)
        async with lists.place("a", LARGE), lists.place("b", LARGE), lists.place("c", admission.SMALL_BODY_BYTES):
            pass

    run(test)


def test_a_list_that_has_waited_too_long_is_rejected_and_its_place_not_lost() -> None:
    async def test() -> None:
        lists = ListAdmission(0.01)
        async with lists.place("a", LARGE), lists.place("b", LARGE):
            with pytest.raises(Overloaded):
                async with lists.place("c", LARGE):
                    pass
        assert await turns_of(lists, ["d"] * 5) == ["d"] * 5

    run(test)


def test_what_waits_is_bounded_in_bytes() -> None:
    async def test() -> None:
        lists = ListAdmission(10)
        async with lists.place("a", LARGE), lists.place("b", LARGE):
            with pytest.raises(Overloaded):
                async with lists.place("c", admission.MAX_WAITING_BYTES + 1):
                    pass

    run(test)


def test_a_list_whose_client_leaves_frees_its_turn() -> None:
    async def test() -> None:
        lists = ListAdmission(10)
        async with lists.place("a", LARGE), lists.place("b", LARGE):
            waiting = asyncio.create_task(turns_of(lists, ["c"]))
            await asyncio.sleep(0)
            waiting.cancel()
        assert await turns_of(lists, ["d"] * 5) == ["d"] * 5

    run(test)
