"""Writes us_holidays.txt, the US federal holidays, so that the service does not need the package `holidays`."""

import holidays

from ontime import files
from ontime.problem import schedule

YEARS = range(1999, 2101)


def main() -> None:
    days = sorted(holidays.country_holidays("US", years=YEARS, observed=False))
    files.write_text(schedule.HOLIDAYS, "".join(f"{day}\n" for day in days))
    print(f"calendar: {len(days):,} days from {days[0]} to {days[-1]}")


if __name__ == "__main__":
    main()
