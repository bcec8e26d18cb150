"""What a picture's hairs add up to."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.strips import draw_strips

from device_app.camera.phantom import render_phantom
from device_app.vision.hairs import TRICHOSCAN, Hair
from device_app.vision.measure import measure_hairs, summarise


@pytest.fixture(scope="module")
def phantom():
    return render_phantom(5, 480, 360, 4.0, 14)


def _hair(number: int, diameter_px: float, ends_inside=(True, True)) -> Hair:
    line = np.array([[0, 0], [100, 0]], np.float32)
    return Hair(number, line, np.full(2, diameter_px, np.float32), 100.0, diameter_px, 0.1, ends_inside)


def test_a_phantom_as_a_whole(phantom):
    result = measure_hairs(phantom.image, phantom.mask, 4.0)
    assert result.hair_count == len(phantom.hairs)
    assert result.density_per_cm2.value == pytest.approx(phantom.density_per_cm2)
    truth = np.array([hair.diameter_px for hair in phantom.hairs]) * 4.0
    assert result.mean_diameter_um.value == pytest.approx(truth.mean(), abs=1.0)
    assert result.sd_diameter_um.value == pytest.approx(truth.std(ddof=1), abs=1.5)
    assert result.mean_diameter_um.low < truth.mean() < result.mean_diameter_um.high
    assert [hair.id for hair in result.hairs] == list(range(1, result.hair_count + 1))
    for hair in result.hairs:
        assert hair.widths_px.shape == (len(hair.centre_line),)
        assert hair.diameter_px == pytest.approx(np.nanmedian(hair.widths_px), abs=0.01)


@pytest.mark.parametrize("turn", [cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_180, "mirror"])
def test_turning_the_picture_changes_nothing(phantom, turn):
    def turned(picture):
        return np.ascontiguousarray(picture[:, ::-1]) if turn == "mirror" else cv2.rotate(picture, turn)

    one, other = measure_hairs(phantom.image, phantom.mask), measure_hairs(turned(phantom.image), turned(phantom.mask))
    assert one.hair_count == other.hair_count
    np.testing.assert_allclose(
        sorted(hair.diameter_px for hair in one.hairs), sorted(hair.diameter_px for hair in other.hairs), atol=0.25
    )


@settings(max_examples=8, deadline=None)
@given(scale=st.floats(0.5, 20))
def test_figures_go_with_the_scale(phantom, scale):
    result = measure_hairs(phantom.image, phantom.mask, scale)
    assert result.mean_diameter_um.value == pytest.approx(result.mean_diameter_px.value * scale)
    assert result.density_per_cm2.value * scale**2 == pytest.approx(phantom.density_per_cm2 * 16)
    assert result.vellus_count + result.intermediate_count + result.terminal_count == result.hair_count


def test_without_a_scale_no_physical_figure(phantom):
    result = measure_hairs(phantom.image, phantom.mask)
    physical = (
        result.density_per_cm2,
        result.mean_diameter_um,
        result.sd_diameter_um,
        result.cumulative_thickness_mm_per_cm2,
        result.thin_fraction,
    )
    assert all(figure.value is None and figure.reason for figure in physical)
    assert (result.vellus_count, result.intermediate_count, result.terminal_count) == (None, None, None)
    assert result.hair_count and result.mean_diameter_px.value and result.coverage_fraction.value


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (480, 640)])
def test_no_hair_gives_zeros_and_reasons(shape):
    result = measure_hairs(np.full((*shape, 3), 128, np.uint8), np.zeros(shape, np.uint8), 3.0)
    assert result.hair_count == 0 and result.density_per_cm2.value == 0 and result.coverage_fraction.value == 0
    assert result.density_per_cm2.high > 0  # not seeing one does not prove that there is none
    assert result.mean_diameter_um.value is None and result.diameter_diversity_fraction.value is None
    assert result.cumulative_thickness_mm_per_cm2.value == 0


def test_a_mask_that_is_all_hair_invents_none():
    assert measure_hairs(np.zeros((480, 640, 3), np.uint8), np.full((480, 640), 255, np.uint8), 3.0).hair_count == 0


def test_density_counts_hairs_with_an_end_inside():
    strips = [((-50, 100), (700, 130), 8), ((-50, 200), (300, 220), 8), ((200, 300), (500, 330), 8)]
    result = measure_hairs(*draw_strips((640, 480), strips), 5.0)
    assert result.hair_count == 3
    assert result.density_per_cm2.value == pytest.approx(2 / (640 * 480 * 25e-8))
    # 2 hairs of 40 µm
    assert result.cumulative_thickness_mm_per_cm2.value == pytest.approx(0.08 / (640 * 480 * 25e-8), rel=0.02)


def test_classes_diversity_and_unmeasured_hairs_by_hand():
    sizes = [5.0, 9.0, 10.0, 10.0, 11.0, 15.0, float("nan")]  # mean 10: 5 and 15 differ by more than 20 %
    hairs = tuple(_hair(number, size) for number, size in enumerate(sizes))
    result = summarise(hairs, (480, 640), 0.1, 5.0)
    assert (result.vellus_count, result.intermediate_count, result.terminal_count) == (1, 4, 1)
    assert result.thin_fraction.value == pytest.approx(1 / 6)
    assert result.diameter_diversity_fraction.value == pytest.approx(2 / 6)
    assert result.hair_count == 7 and result.mean_diameter_um.value == pytest.approx(50)
    # The unmeasured one adds the mean.
    assert result.cumulative_thickness_mm_per_cm2.value == pytest.approx(7 * 0.05 / (480 * 640 * 25e-8))
    once = summarise(hairs, (480, 640), 0.1, 5.0, classes=TRICHOSCAN)
    assert (once.vellus_count, once.intermediate_count, once.terminal_count) == (1, 0, 5)


def test_few_hairs_state_no_shares():
    result = summarise((_hair(1, 8.0), _hair(2, 9.0)), (480, 640), 0.1, 5.0)
    assert result.diameter_diversity_fraction.value is None and result.diameter_diversity_fraction.reason
    assert result.thin_fraction.value is None
    assert result.mean_diameter_um.value == pytest.approx(42.5)


def test_an_uncertain_scale_widens_density_twice_as_much(phantom):
    sure, unsure = (measure_hairs(phantom.image, phantom.mask, 4.0, sd) for sd in (0.0, 0.4))
    assert unsure.density_per_cm2.high > sure.density_per_cm2.high
    assert unsure.mean_diameter_um.high > sure.mean_diameter_um.high


def test_what_cannot_be_is_refused(phantom):
    with pytest.raises(ValueError, match="differ in size"):
        measure_hairs(phantom.image, phantom.mask[:-1])
    for scale in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="scale"):
            measure_hairs(phantom.image, phantom.mask, scale)
