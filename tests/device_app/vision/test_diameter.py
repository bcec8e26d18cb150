"""Diameters against known truth, drawn in two independent ways."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from support.strips import draw_strips

from device_app.camera.phantom import PhantomLook, render_phantom
from device_app.vision.edge_model import fit_profiles
from device_app.vision.measure import measure_hairs

WIDTHS = (5.0, 8.3, 13.0, 21.7, 34.0, 50.0)


def _measured(widths: tuple[float, ...], mask_change: int = 0, **look) -> np.ndarray:
    """Measured diameters, px, of strips of the given widths side by side, the thinnest first."""
    left, strips = 40.0, []
    for width in widths:
        strips.append(((left + width / 2, 40), (left + width / 2 + 60, 440), width))
        left += width + 55
    picture, mask = draw_strips((640, 480), strips, **look)
    kernel = np.ones((3, 3), np.uint8)
    mask = cv2.dilate(mask, kernel, iterations=max(mask_change, 0))
    mask = cv2.erode(mask, kernel, iterations=max(-mask_change, 0))
    hairs = measure_hairs(picture, mask).hairs
    assert len(hairs) == len(widths)
    return np.array([hair.diameter_px for hair in sorted(hairs, key=lambda hair: hair.centre_line[:, 0].mean())])


@pytest.mark.parametrize("blur_px", [0.0, 0.8, 1.5])
@pytest.mark.parametrize("mask_change", [-1, 0, 2])
def test_flat_strips_to_two_fifths_of_a_pixel(blur_px, mask_change):
    np.testing.assert_allclose(_measured(WIDTHS, mask_change, blur_px=blur_px), WIDTHS, atol=0.4)


def test_blur_as_wide_as_the_thinnest_hair():
    measured = _measured(WIDTHS, blur_px=3.0)
    np.testing.assert_allclose(measured[1:], WIDTHS[1:], atol=0.5)
    assert measured[0] == pytest.approx(WIDTHS[0], abs=1.5)


def test_noise_of_a_poor_camera():
    np.testing.assert_allclose(_measured(WIDTHS, noise=14.0, blur_px=0.8), WIDTHS, atol=0.5)


def test_gloss_off_the_axis_does_not_narrow_a_hair():
    np.testing.assert_allclose(_measured(WIDTHS, gloss=0.9, blur_px=0.7), WIDTHS, atol=0.7)


def test_white_hair_on_dark_skin():
    look = {"skin": (120, 85, 66), "hair": (225, 222, 214)}
    np.testing.assert_allclose(_measured(WIDTHS, blur_px=1.0, **look), WIDTHS, atol=0.35)


def test_a_hair_told_from_skin_by_colour_alone():
    # The same luminance, another hue.
    look = {"skin": (190, 150, 130), "hair": (130, 178, 130)}
    np.testing.assert_allclose(_measured(WIDTHS, blur_px=0.8, **look), WIDTHS, atol=0.5)


def test_a_round_translucent_shaft_that_fades_towards_its_edges():
    # Its darkness falls to nothing at the edge: half level alone would read 13 % too little, 6.7 px of the widest.
    measured = _measured(WIDTHS, profile="lens", blur_px=0.8)
    np.testing.assert_allclose(measured, WIDTHS, rtol=0.04, atol=1.0)


def test_a_hair_without_contrast_has_no_diameter_and_is_still_counted():
    picture, mask = draw_strips((640, 480), [((100, 100), (500, 300), 12)], hair=(199, 159, 139))
    result = measure_hairs(picture, mask, 3.0)
    assert result.hair_count == 1
    assert np.isnan(result.hairs[0].diameter_px) and np.isnan(result.hairs[0].widths_px).all()
    assert result.mean_diameter_um.value is None and result.mean_diameter_um.reason
    assert result.density_per_cm2.value > 0


def test_crossings_give_no_width_and_the_rest_is_right():
    strips = [((80, 240), (560, 250), 12), ((330, 60), (300, 430), 18)]
    picture, mask = draw_strips((640, 480), strips)
    for hair, width in zip(measure_hairs(picture, mask).hairs, (12, 18)):
        crossing = np.linalg.norm(hair.centre_line - [317, 245], axis=1) < 8
        assert np.isnan(hair.widths_px[crossing]).all()
        assert np.isfinite(hair.widths_px).mean() > 0.6
        assert hair.diameter_px == pytest.approx(width, abs=0.3)


def test_a_neighbour_three_pixels_off_does_not_widen_a_hair():
    strips = [((100, 100), (500, 100), 9), ((100, 112), (500, 112), 9), ((100, 300), (500, 330), 9)]
    picture, mask = draw_strips((640, 480), strips, blur_px=0.7)
    hairs = measure_hairs(picture, mask).hairs
    assert [hair.diameter_px for hair in hairs] == pytest.approx([9, 9, 9], abs=0.5)


def test_centre_lines_come_back_to_the_axis():
    picture, mask = draw_strips((640, 480), [((100.4, 100.7), (500.4, 300.7), 15)])
    mask = cv2.dilate(mask, np.array([[0, 0, 0], [0, 1, 1], [0, 1, 1]], np.uint8))  # the mask stands off to one side
    (hair,) = measure_hairs(picture, mask).hairs
    x, y = (hair.centre_line - [100.4, 100.7]).T
    off_axis = (400 * y - 200 * x) / np.hypot(400, 200)
    assert np.median(np.abs(off_axis)) < 0.15


def test_widths_follow_a_taper():
    look = PhantomLook(taper=0.4, blur_px=0.6, inside_fraction=1.0, crossings=False)
    phantom = render_phantom(3, 640, 480, 3.0, 6, (60.0, 90.0), look)
    hairs = measure_hairs(phantom.image, phantom.mask, 3.0).hairs
    assert len(hairs) == len(phantom.hairs) >= 4
    for hair in hairs:
        known = hair.widths_px[np.isfinite(hair.widths_px)]
        thin, thick = sorted((np.median(known[:5]), np.median(known[-5:])))
        assert thin / thick == pytest.approx(0.66, abs=0.08)
        assert hair.diameter_spread_px / hair.diameter_px == pytest.approx(0.17, abs=0.05)


def test_the_model_fits_its_own_profiles():
    distance = np.tile(np.linspace(0, 14, 60), (3, 1))
    half, blur = np.array([2.5, 4.0, 7.0]), 1.4
    from scipy.special import ndtr

    value = ndtr((distance + half[:, None]) / blur) - ndtr((distance - half[:, None]) / blur)
    fit = fit_profiles(distance, value, np.full_like(distance, 1e4), half + 0.8)
    np.testing.assert_allclose(fit.half_px, half, atol=0.06)
    np.testing.assert_allclose(fit.blur_px, blur, rtol=0.08)
