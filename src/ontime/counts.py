"""Counts in messages: `1 row`, `2,000 rows`."""


def counted(count: int, one: str, many: str | None = None) -> str:
    """The count with its noun; `many` is the plural of `one` if that is more than an s.

    >>> counted(1, "row"), counted(2000, "row"), counted(1, "row is", "rows are")
    ('1 row', '2,000 rows', '1 row is')
    """
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
