"""Admission of lists: how many are processed at once, and whose turn it is.

Without it, 64 clients with lists of 1000 would spend the time of the service on parsing what it then rejects, and a
single entity would wait behind all of them.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

LISTS_AT_ONCE = 2  # one is scored while the next is parsed
SMALL_BODY_BYTES = 4_000  # a body up to this size needs no place
MAX_WAITING_BYTES = 64_000_000


class Overloaded(Exception):
    """The request would not be processed in time."""


class ListAdmission:
    """Free places go to the waiting callers in turn, so a key with many connections gets no more than one with few.

    A list that has waited for `max_wait_s` is rejected. Not at once: clients that try again immediately would take the
    time that the others need.
    """

    def __init__(self, max_wait_s: float) -> None:
        self._max_wait_s = max_wait_s
        self._free = LISTS_AT_ONCE
        self._waiting_bytes = 0
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # by caller; the first caller is next

    def place(self, caller: str, body_bytes: int) -> AbstractAsyncContextManager[None]:
        """Wait for a place, and hold it within the block. Raises Overloaded."""
        return nullcontext() if body_bytes <= SMALL_BODY_BYTES else self._place(caller, body_bytes)

    @asynccontextmanager
    async def _place(self, caller: str, body_bytes: int) -> AsyncIterator[None]:
        await self._enter(caller, body_bytes)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, caller: str, body_bytes: int) -> None:
        if self._free:
            self._free -= 1
            return
        if self._waiting_bytes + body_bytes > MAX_WAITING_BYTES:
            raise Overloaded
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        self._waiting_bytes += body_bytes
        try:
            async with asyncio.timeout(self._max_wait_s):
                await turn
        except (asyncio.CancelledError, TimeoutError) as error:
            if turn.done() and not turn.cancelled():  # it received the place at the same moment
                self._leave()
            raise Overloaded if isinstance(error, TimeoutError) else error from None
        finally:
            self._waiting_bytes -= body_bytes

    def _leave(self) -> None:
        """Pass the place to the next caller."""
        while self._waiting:
            caller = next(iter(self._waiting))
            turns = self._waiting.pop(caller)
            turn = turns.popleft()
            if turns:
                self._waiting[caller] = turns  # at the end, so that the other callers are next
            if not turn.done():  # the request of a cancelled turn has timed out
                turn.set_result(None)
                return
        self._free += 1
