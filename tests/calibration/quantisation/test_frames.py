"""Choosing calibration frames: spread wide, the same every time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from calibration.quantisation import choose_frames, frame_features


def radius(points: np.ndarray, chosen: list[int]) -> float:
    distances = np.linalg.norm(points[:, None] - points[chosen][None], axis=2)
    return float(distances.min(1).max())


def standardised(points: np.ndarray) -> np.ndarray:
    spread = points.std(0)
    return (points - points.mean(0)) / np.where(spread > 1e-12, spread, 1.0)


@settings(max_examples=60, deadline=None)
@given(
    points=stn.arrays(np.float64, st.tuples(st.integers(0, 12), st.integers(1, 4)), elements=st.floats(-100, 100)),
    count=st.integers(0, 14),
    seed=st.integers(0, 9),
)
def test_distinct_as_many_as_asked_and_repeatable(points: np.ndarray, count: int, seed: int) -> None:
    chosen = choose_frames(points, count, seed)
    assert len(chosen) == len(set(chosen)) == min(count, len(points))
    assert chosen == choose_frames(points, count, seed)
    assert choose_frames(points, max(0, count - 1), seed) == chosen[: max(0, count - 1)]


@pytest.mark.parametrize("seed", range(6))
def test_never_worse_than_twice_the_best_choice(seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(10, 3))
    best = min(radius(standardised(points), list(c)) for c in itertools.combinations(range(10), 3))
    assert radius(standardised(points), choose_frames(points, 3, seed)) <= 2 * best + 1e-9


def test_every_cluster_is_visited() -> None:
    rng = np.random.default_rng(1)
    centres = np.array([[0, 0], [50, 0], [0, 50], [50, 50], [100, 100]])
    points = np.concatenate([centre + rng.normal(size=(20, 2)) for centre in centres])
    assert {index // 20 for index in choose_frames(points, 5, 3)} == set(range(5))


@pytest.mark.parametrize("shape", [(480, 640, 3), (16, 16, 3), (30, 700, 3), (640, 640, 3)])
def test_features_of_any_picture_are_finite(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    for image in (np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), rng.integers(0, 256, shape, np.uint8)):
        features = frame_features(image)
        assert features.shape == (14,) and np.isfinite(features).all()


def test_features_tell_dark_lines_from_bright_ones() -> None:
    skin = np.full((480, 640, 3), (200, 160, 140), np.uint8)
    dark, bright = skin.copy(), skin.copy()
    dark[:, 300:306], bright[:, 300:306] = 40, 250
    plain, with_dark, with_bright = (frame_features(image) for image in (skin, dark, bright))
    black_hat, top_hat = 9, 10
    assert with_dark[black_hat] > plain[black_hat] and with_bright[top_hat] > plain[top_hat]
    assert with_bright[black_hat] <= with_dark[black_hat]
