"""The classical methods on pictures whose truth is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from training.evaluation.mask_metrics import count_mask, pooled_scores
from training.segmentation.baselines import black_hat, kim, shih, yue

Method = Callable[[np.ndarray], np.ndarray]
ALL = [shih, yue, kim, black_hat]


def _scalp_with_hairs() -> tuple[np.ndarray, np.ndarray]:
    """Dark upright hairs 8 px wide on pale skin with a little grain: picture and truth (bool)."""
    rng = np.random.default_rng(0)
    truth = np.zeros((240, 320), bool)
    for left in range(20, 320, 50):
        truth[:, left : left + 8] = True
    image = np.where(truth[..., None], (50, 40, 35), (215, 180, 160)) + rng.normal(0, 4, (240, 320, 3))
    return np.clip(image, 0, 255).astype(np.uint8), truth


@pytest.mark.parametrize("method", ALL)
def test_finds_dark_hairs_on_pale_scalp(method: Method) -> None:
    image, truth = _scalp_with_hairs()
    mask = method(image)
    assert mask.dtype == np.uint8
    assert mask.shape == truth.shape
    assert set(np.unique(mask)) == {0, 255}
    assert pooled_scores(count_mask(mask, truth)).dice > 0.9


@pytest.mark.parametrize("method", [yue, black_hat])
def test_local_methods_hold_under_uneven_light(method: Method) -> None:
    image, truth = _scalp_with_hairs()
    light = np.linspace(0.35, 1.0, image.shape[1])[None, :, None]
    dimmed = (image * light).astype(np.uint8)
    assert pooled_scores(count_mask(method(dimmed), truth)).dice > 0.85
    assert pooled_scores(count_mask(kim(dimmed), truth)).dice < 0.7  # one threshold for all cannot


def test_black_hat_finds_nothing_on_bare_scalp() -> None:
    rng = np.random.default_rng(1)
    bare = np.clip(rng.normal((200, 170, 150), 3, (240, 320, 3)), 0, 255).astype(np.uint8)
    assert np.count_nonzero(black_hat(bare)) == 0


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("size", [(1, 1), (5, 300), (300, 5)])
@pytest.mark.parametrize("level", [0, 255])
def test_flat_and_tiny_pictures_give_a_mask(method: Method, size: tuple[int, int], level: int) -> None:
    mask = method(np.full((*size, 3), level, np.uint8))
    assert mask.shape == size
    assert set(np.unique(mask)) <= {0, 255}
