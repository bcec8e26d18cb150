"""Pseudo-images: one seed, one image; the mask is the hairs and nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from calibration.errors import ScalpScopeError
from device_app.camera.strands import strand_coverage
from training.data.backgrounds import BackgroundPool
from training.segmentation.pseudo_images import PseudoImage, PseudoImageRecipe, render_pseudo_image

PROCEDURAL = BackgroundPool()


def union_of_hairs(pseudo: PseudoImage) -> np.ndarray:
    """The mask drawn anew by the exact renderer from the hairs' centre lines and widths."""
    covered = np.zeros(pseudo.mask.shape, np.uint8)
    for hair in pseudo.hairs:
        covered = np.maximum(covered, strand_coverage(pseudo.mask.shape, hair.centre_line, hair.widths_px))
    return covered


@pytest.mark.parametrize("style", ["shipped", "paper"])
def test_one_seed_gives_one_image(style):
    recipe = PseudoImageRecipe.from_dict({"style": style, "width": 160, "height": 128})
    one, same, other = (render_pseudo_image(seed, recipe, PROCEDURAL) for seed in (7, 7, 8))
    assert one.image.shape == (128, 160, 3)
    assert one.image.dtype == one.mask.dtype == np.uint8
    assert np.array_equal(one.image, same.image)
    assert np.array_equal(one.mask, same.mask)
    assert not np.array_equal(one.image, other.image)


def test_clean_strips_cover_exactly_what_their_truth_says():
    recipe = PseudoImageRecipe(width=200, height=160, plain_share=1.0)
    for seed in range(12):
        pseudo = render_pseudo_image(seed, recipe, PROCEDURAL)
        truth = union_of_hairs(pseudo).astype(int)
        difference = (pseudo.mask - truth) / 255
        area = truth.sum() / 255
        # Half of the ends are rounded off in the picture, beyond the end of the centre line.
        ends = sum(hair.diameter_px**2 for hair in pseudo.hairs) * np.pi / 4
        assert -0.02 * area < difference.sum() < ends + 0.02 * area
        assert np.abs(difference).sum() < ends + 0.1 * area


def test_hairs_of_every_width_are_in_the_masks():
    recipe = PseudoImageRecipe(width=192, height=192, hairless_share=0.0)
    widths = [h.diameter_px for seed in range(60) for h in render_pseudo_image(seed, recipe, PROCEDURAL).hairs]
    assert min(widths) < 2.5
    assert max(widths) > 45


def test_pictures_without_hair_have_an_empty_mask_and_are_not_bare():
    recipe = PseudoImageRecipe(width=192, height=192, hairless_share=1.0, plain_share=0.0)
    pictures = [render_pseudo_image(seed, recipe, PROCEDURAL) for seed in range(20)]
    assert all(not pseudo.mask.any() and not pseudo.hairs for pseudo in pictures)
    assert np.mean([pseudo.image.std() for pseudo in pictures]) > 8


def test_the_papers_recipe_keeps_the_papers_numbers():
    recipe = PseudoImageRecipe.paper()
    counts, widths = set(), set()
    for seed in range(40):
        pseudo = render_pseudo_image(seed, recipe, PROCEDURAL)
        assert pseudo.image.shape == (480, 640, 3)
        counts.add(len(pseudo.hairs))
        widths |= {float(hair.diameter_px) for hair in pseudo.hairs}
        # Noise is drawn outside the mask too: dots and flakes are bright and not masked.
        assert pseudo.mask.mean() < 60
    assert min(counts) >= 1
    assert max(counts) == 10
    assert widths == {1, 2, 3, 4, 5, 6, 7}


def test_the_papers_noise_is_not_masked():
    recipe = dataclasses.replace(PseudoImageRecipe.paper(), hairs=(1, 1), thickness_px=(1, 1))
    white_unmasked = [
        int(((pseudo.image.min(axis=2) > 230) & (pseudo.mask == 0)).sum())
        for pseudo in (render_pseudo_image(seed, recipe, PROCEDURAL) for seed in range(10))
    ]
    assert np.median(white_unmasked) > 100


def test_wrong_recipes_are_refused_by_name():
    with pytest.raises(ScalpScopeError, match="thicknes_px"):
        PseudoImageRecipe.from_dict({"thicknes_px": [1, 2]})
    with pytest.raises(ScalpScopeError, match="watercolour"):
        PseudoImageRecipe(style="watercolour")
    with pytest.raises(ScalpScopeError, match="impossible"):
        PseudoImageRecipe(width=8)
