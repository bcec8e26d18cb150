"""Real scalp pictures, which lie beside the checkout and are never copied into it."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "scalp_conditions"


def real_scalp_pictures(count: int, part: str = "valid") -> list[Path]:
    """``count`` pictures spread evenly over a part of the data set; skips the test where the data is not there."""
    pictures = sorted((FOLDER / part / "images").glob("*.jpg"))
    if not pictures:
        pytest.skip("the real scalp pictures are not beside this checkout (../shared/data/scalp_conditions)")
    return pictures[:: max(1, len(pictures) // count)][:count]
