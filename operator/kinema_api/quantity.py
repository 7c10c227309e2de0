"""Kubernetes resource quantities as numbers, so that they can be compared without the API server."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_BINARY: Final = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_QUANTITY: Final = re.compile(
    r"(?P<number>[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+))(?P<suffix>[KMGTPE]i|[numkMGTPE]|[eE](?P<power>[+-]?[0-9]{1,2}))?"
)


def quantity(value: int | float | str) -> Decimal:
    """A quantity as a number.

    Raises:
        ValueError: it is not a quantity.
    """
    found = _QUANTITY.fullmatch(str(value))
    if not found:
        raise ValueError(f"{value} is not a quantity; write a number such as 500m, 2 or 1Gi")
    number, suffix, power = Decimal(found["number"]), found["suffix"] or "", found["power"]
    if power is not None:
        return number.scaleb(int(power))
    if suffix in _BINARY:
        return number * Decimal(1024) ** _BINARY[suffix]
    return number.scaleb(_DECIMAL[suffix])
