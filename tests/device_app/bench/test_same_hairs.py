"""The same hair in two measurements: found again where it lies, and by how much its diameter moved."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from device_app.bench.same_hairs import measured_hairs, shifts_of_same_hairs

LINES = (((20, 20), (300, 60)), ((20, 120), (300, 150)), ((40, 220), (280, 200)))


def drawn(widths):
    """A picture of dark strokes of these widths, 0: none, and its mask."""
    image, mask = np.full((240, 320, 3), (205, 160, 140), np.uint8), np.zeros((240, 320), np.uint8)
    for (start, end), width in zip(LINES, widths, strict=True):
        if width:
            cv2.line(image, start, end, (45, 35, 30), width, cv2.LINE_AA)
            cv2.line(mask, start, end, 255, width)
    return measured_hairs(image, mask)


@pytest.fixture(scope="module")
def reference():
    found = drawn((5, 7, 9))
    assert len(found) == 3
    return found


def test_the_same_hairs_have_not_moved(reference):
    assert shifts_of_same_hairs(reference, reference) == (0, 0, 0)


def test_one_that_grew_is_found_again_with_what_it_grew_by(reference):
    shifts = shifts_of_same_hairs(drawn((5, 11, 9)), reference)
    assert len(shifts) == 3 and sum(shift > 1 for shift in shifts) == 1
    assert max(shifts) == pytest.approx(4, abs=1)


def test_one_that_is_gone_is_left_out_and_a_new_one_changes_nothing(reference):
    assert shifts_of_same_hairs(drawn((5, 0, 9)), reference) == pytest.approx((0, 0), abs=0.05)
    assert len(shifts_of_same_hairs(reference, drawn((0, 7, 0)))) == 1
    assert shifts_of_same_hairs((), reference) == ()


def test_a_third_of_a_hair_is_not_that_hair(reference):
    image, mask = np.full((240, 320, 3), (205, 160, 140), np.uint8), np.zeros((240, 320), np.uint8)
    for target, colour in ((image, (45, 35, 30)), (mask, 255)):
        cv2.line(target, (20, 120), (110, 129), colour, 7)
    part = measured_hairs(image, mask)
    assert len(part) == 1 and shifts_of_same_hairs(part, reference) == ()
    assert len(shifts_of_same_hairs(reference, part)) == 1
