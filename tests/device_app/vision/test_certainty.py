"""What is called a hair: what the network was sure of, long and open, with two edges."""

from __future__ import annotations

import numpy as np
import pytest

from device_app.camera.phantom import render_phantom
from device_app.vision.certainty import certainties
from device_app.vision.measure import measure_hairs
from device_app.vision.tracing import trace_hairs


@pytest.fixture(scope="module")
def phantom():
    return render_phantom(3, 640, 480, 4.0, 12)


def test_certainty_is_the_probability_along_the_line_at_any_resolution(phantom):
    strands = trace_hairs(phantom.mask)
    flat = np.full((120, 160), 0.8, np.float32)
    assert np.allclose(certainties(strands, flat, (480, 640)), 0.8)
    left = np.zeros((48, 64), np.float32)
    left[:, :32] = 1.0
    found = certainties(strands, left, (480, 640))
    share_on_the_left = [float((strand.centre_line[:, 0] < 319.5).mean()) for strand in strands]
    assert np.allclose(found, share_on_the_left, atol=0.1)


def test_sure_hairs_stay_and_doubtful_ones_go(phantom):
    everything = measure_hairs(phantom.image, phantom.mask, 4.0)
    sure = measure_hairs(phantom.image, phantom.mask, 4.0, probability=phantom.mask / np.float32(255))
    doubtful = measure_hairs(phantom.image, phantom.mask, 4.0, probability=0.6 * phantom.mask / np.float32(255))
    assert sure.hair_count == everything.hair_count > 0
    assert doubtful.hair_count == 0
    assert doubtful.density_per_cm2.value == 0


def test_the_ring_of_a_bubble_is_no_hair():
    y, x = np.mgrid[:240, :320]
    ring = np.uint8(np.abs(np.hypot(x - 160, y - 120) - 70) < 4) * 255
    image = np.where(ring[..., None] > 0, 240, 120).repeat(3, axis=2).astype(np.uint8)
    assert measure_hairs(image, ring, probability=ring / np.float32(255)).hair_count == 0


def test_an_unsure_blot_without_edges_is_no_hair():
    blot = np.zeros((240, 320), np.uint8)
    blot[100:130, 60:260] = 255
    plain = np.full((240, 320, 3), 150, np.uint8)
    assert measure_hairs(plain, blot, probability=0.8 * blot / np.float32(255)).hair_count == 0
    assert measure_hairs(plain, blot, probability=blot / np.float32(255)).hair_count == 1


def test_a_line_along_the_border_is_no_hair_and_one_across_it_is():
    plain = np.full((240, 320, 3), 190, np.uint8)
    for along, count in ((True, 0), (False, 1)):
        mask = np.zeros((240, 320), np.uint8)
        if along:
            mask[20:200, -5:] = 255
        else:
            mask[100:106, 120:] = 255
        image = np.where(mask[..., None] > 0, 50, plain).astype(np.uint8)
        assert measure_hairs(image, mask, probability=mask / np.float32(255)).hair_count == count
