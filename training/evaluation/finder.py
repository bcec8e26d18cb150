"""What can be evaluated: a finder gives one or more rows of the table, and shares its work between them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

import numpy as np


class Role(Enum):
    """What a row of the table is to the others: which are compared follows from it."""

    CLASSICAL = "classical"
    ORACLE = "oracle"  # told the truth when it chooses among its masks: no fair rival, an upper bound
    COARSE = "coarse"  # M̂
    REFINED = "refined"  # M_AP
    HAIR = "hair"  # M, by the bundle's own combination
    COMBINED = "combined"  # M by another one
    OTHER = "other"


@dataclass(frozen=True)
class Row:
    """One row of the table: its name, its role, and the bundle it is made with (empty: none)."""

    name: str
    role: Role = Role.OTHER
    bundle: str = ""


class Found(NamedTuple):
    """A mask found for a row, (H, W), not 0 where hair is, and the seconds it took.

    An oracle finds any number of masks for one row, or none; the one nearest to the truth counts, and all the time.
    """

    row: str
    mask: np.ndarray
    seconds: float


class Finder(Protocol):
    """Finds hair in one picture after the other."""

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows it gives."""

    def find(self, image: np.ndarray, wanted: Collection[str]) -> Iterator[Found]:
        """The masks of the rows called `wanted` in a picture (H, W, 3) uint8 RGB; other rows need not be worked on."""
