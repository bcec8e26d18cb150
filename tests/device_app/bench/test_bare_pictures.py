"""The pictures without hair: what they promise is that they hold none, and that a seed gives one picture."""

from __future__ import annotations

import numpy as np
import pytest

from device_app.bench.bare_pictures import KINDS, draw_bare_picture


@pytest.mark.parametrize("kind", KINDS)
def test_one_seed_gives_one_picture(kind: str) -> None:
    first, again, other = (draw_bare_picture(kind, seed, 160, 120) for seed in (3, 3, 4))
    assert first.shape == (120, 160, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_kinds_are_what_they_are_called() -> None:
    assert draw_bare_picture("black", 1).mean() < 20
    assert draw_bare_picture("white", 1).mean() > 240
    paper = draw_bare_picture("white paper", 1).astype(float)
    assert paper.mean() > 120
    assert abs(paper.mean((0, 1)).max() - paper.mean((0, 1)).min()) < 40
    scalp = draw_bare_picture("bare scalp", 1).astype(float).mean((0, 1))
    assert scalp[0] > scalp[1] > scalp[2]  # skin of any tone: more red than green, more green than blue
