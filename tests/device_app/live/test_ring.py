"""Pictures through shared memory: whole, apart from each other, and gone when closed."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_app.live.ring import SLOTS, FrameRing, ring_that_holds

SIDES = st.integers(1, 40)


@given(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_what_one_end_puts_the_other_sees_and_slots_do_not_touch(sizes, seed):
    rng = np.random.default_rng(seed)
    ours = FrameRing(40 * 40)
    theirs = FrameRing(40 * 40, os.dup(ours.descriptor))
    held = []
    for height, width in sizes:
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        mask = rng.integers(0, 256, (height, width), np.uint8)
        use = ours.put(image)
        theirs.mask(use)[...] = mask
        held = [*held, (use, image, mask)][-SLOTS:]
        for use, image, mask in held:
            np.testing.assert_array_equal(theirs.image(use), image)
            np.testing.assert_array_equal(ours.mask(use), mask)
    ours.close()
    theirs.close()


@given(st.integers(1, 4), SIDES, SIDES, st.integers(0, 2**32 - 1))
def test_a_ring_has_room_for_as_many_masks_as_it_was_made_with(masks, height, width, seed):
    rng = np.random.default_rng(seed)
    ours = FrameRing(40 * 40, masks=masks)
    theirs = FrameRing(40 * 40, os.dup(ours.descriptor), masks)
    held = []
    for _ in range(SLOTS):
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        layers = rng.integers(0, 256, (masks, height, width), np.uint8)
        use = ours.put(image)
        for number, layer in enumerate(layers):
            theirs.mask(use, number)[...] = layer
        held.append((use, image, layers))
    for use, image, layers in held:
        np.testing.assert_array_equal(theirs.image(use), image)
        np.testing.assert_array_equal([ours.mask(use, number) for number in range(masks)], layers)
    with pytest.raises(ValueError, match="mask"):
        ours.mask(use, masks)
    ours.close()
    theirs.close()


def test_a_larger_picture_gets_a_new_ring_and_a_smaller_one_the_old():
    ring = ring_that_holds(np.zeros((10, 10, 3), np.uint8), None, masks=3)
    assert ring_that_holds(np.zeros((9, 11, 3), np.uint8), ring, masks=3) is ring
    larger = ring_that_holds(np.zeros((11, 10, 3), np.uint8), ring, masks=3)
    assert larger is not ring and larger.masks == 3
    with pytest.raises(ValueError, match="closed"):
        ring.put(np.zeros((10, 10, 3), np.uint8))
    larger.close()


def test_a_picture_too_large_is_refused():
    ring = FrameRing(100)
    assert not ring.holds(np.zeros((11, 10, 3), np.uint8))
    with pytest.raises(ValueError, match="does not fit"):
        ring.put(np.zeros((11, 10, 3), np.uint8))
    ring.close()


def test_closing_frees_the_descriptor_even_with_views_alive():
    ring = FrameRing(100)
    use = ring.put(np.full((10, 10, 3), 7, np.uint8))
    view, descriptor = ring.image(use), ring.descriptor
    ring.close()
    ring.close()
    assert view.min() == 7
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    with pytest.raises(ValueError, match="closed"):
        ring.image(use)


def test_without_memfd_an_unlinked_file_serves(monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    ring = FrameRing(100)
    image = np.full((10, 10, 3), 9, np.uint8)
    np.testing.assert_array_equal(ring.image(ring.put(image)), image)
    ring.close()
