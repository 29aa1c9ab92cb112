"""Computes the monthly cost from prices.yaml, as the tables in README.md.

python infra/terraform/cost.py
"""

from math import prod
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field

PRICES = Path(__file__).with_name("prices.yaml")


class Price(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    usd: Annotated[float, Field(gt=0)]
    per: str
    how_known: Annotated[str, Field(pattern="^(read|quoted|remembered)$")]


class BillLine(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    what: str
    price: str
    times: Annotated[tuple[float, ...], Field(min_length=1)]


class PriceSheet(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    written_on: object
    prices: dict[str, Price]
    bills: dict[str, tuple[BillLine, ...]]

    def dollars(self, line: BillLine) -> float:
        return self.prices[line.price].usd * prod(line.times)


def load_prices(path: Path = PRICES) -> PriceSheet:
    return PriceSheet.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def table(sheet: PriceSheet, bill: str) -> str:
    """A markdown table of the bill: quantity, unit price and cost of each line, and their sum."""
    lines = sheet.bills[bill]
    rows = [
        f"| {line.what} | {_short(prod(line.times))} | {sheet.prices[line.price].usd:g} | {sheet.dollars(line):.2f} |"
        for line in lines
    ]
    head = [f"| {bill} | quantity | unit price, $ | $ a month |", "| --- | ---: | ---: | ---: |"]
    return "\n".join([*head, *rows, f"| **sum** | | | **{sum(map(sheet.dollars, lines)):.2f}** |"])


def _short(number: float) -> str:
    return f"{number:,.1f}".removesuffix(".0")


def main() -> None:
    sheet = load_prices()
    print("\n\n".join(table(sheet, bill) for bill in sheet.bills))


if __name__ == "__main__":
    main()
