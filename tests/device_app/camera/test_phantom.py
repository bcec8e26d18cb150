"""Phantoms: the same seed gives the same picture, and the truth is what was drawn."""

from __future__ import annotations

import numpy as np
import pytest

from device_app.camera.phantom import PhantomLook, render_phantom


def test_one_seed_gives_one_picture():
    one, again, other = (render_phantom(seed, 320, 240, 4.0, 6) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.image, again.image)
    np.testing.assert_array_equal(one.mask, again.mask)
    assert not np.array_equal(one.image, other.image)


@pytest.mark.parametrize("taper", [0.0, 0.4])
def test_the_masks_area_is_that_of_the_hairs(taper):
    look = PhantomLook(taper=taper, crossings=False, inside_fraction=1.0)
    phantom = render_phantom(4, 480, 360, 3.0, 8, look=look)
    assert len(phantom.hairs) >= 4
    area = 0.0
    for hair in phantom.hairs:
        steps = np.linalg.norm(np.diff(hair.centre_line, axis=0), axis=1)
        area += float(np.sum(steps * (hair.widths_px[1:] + hair.widths_px[:-1]) / 2))
        assert all(hair.ends_inside)
    assert np.count_nonzero(phantom.mask) == pytest.approx(area, rel=0.01)


def test_diameters_lie_in_the_range_asked_for():
    phantom = render_phantom(9, 480, 360, 5.0, 20, (40.0, 80.0))
    sizes = np.array([hair.diameter_px for hair in phantom.hairs]) * 5.0
    assert sizes.min() >= 40 and sizes.max() <= 80 and np.ptp(sizes) > 15


def test_density_counts_hairs_with_an_end_inside():
    phantom = render_phantom(2, 480, 360, 4.0, 15, look=PhantomLook(inside_fraction=0.0, length_um=(1200, 2600)))
    rooted = sum(any(hair.ends_inside) for hair in phantom.hairs)
    assert 0 < rooted == phantom.rooted_count
    assert phantom.density_per_cm2 == pytest.approx(rooted / (480 * 360 * 16e-8))


@pytest.mark.parametrize(
    "look",
    [
        PhantomLook(blur_px=3.0),
        PhantomLook(gloss=0.9),
        PhantomLook(jpeg_quality=30),
        PhantomLook(pale_fraction=1.0),
        PhantomLook(noise=0.0, texture=0.0, blur_px=0.0),
    ],
)
def test_looks_change_the_picture_and_not_the_truth(look):
    plain, other = render_phantom(6, 320, 240, 4.0, 6), render_phantom(6, 320, 240, 4.0, 6, look=look)
    assert not np.array_equal(plain.image, other.image)
    np.testing.assert_array_equal(plain.mask, other.mask)


def test_pale_hairs_are_brighter_than_their_skin():
    phantom = render_phantom(6, 320, 240, 4.0, 6, look=PhantomLook(pale_fraction=1.0))
    hair = phantom.mask > 0
    assert phantom.image[hair].mean() > phantom.image[~hair].mean() + 20
