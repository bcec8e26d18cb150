"""Hair lines as meshes: where the hairs are, as wide as told, in bounds of what a mesh can hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_app.screens.hair_mesh import lines_by_class, ribbons, sprites
from device_app.vision.hairs import HairClass
from tests.support.analyses import make_analysis, make_frame


def test_a_ribbon_lies_along_its_line_and_is_as_wide_as_told() -> None:
    line = np.array([[10.0, 5.0], [20.0, 5.0], [40.0, 5.0]])
    vertices, indices = ribbons([line], 3.0)
    points = vertices.reshape(-1, 4)
    assert set(np.round(points[:, 1], 4)) == {3.5, 6.5}
    assert (points[:, 0].min(), points[:, 0].max()) == (10.0, 40.0)
    assert set(points[:, 2]) == {0.0, 1.0}
    assert indices.max() == len(points) - 1
    assert len(indices) % 3 == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 400), st.integers(2, 400))
def test_any_number_of_hairs_makes_a_mesh_that_holds(count: int, length: int) -> None:
    line = np.stack([np.arange(length) * 3.0, np.zeros(length)], axis=1)
    vertices, indices = ribbons([line] * count, 2.0)
    assert vertices.dtype == np.float32
    assert indices.dtype == np.uint16
    assert len(vertices) // 4 <= 65536
    if count:
        assert indices.max() == len(vertices) // 4 - 1


def test_every_hair_is_drawn_in_its_class() -> None:
    measurements = make_analysis(make_frame(), widths_px=(5, 10, 10, 20), scale_um_per_px=4.0).measurements
    meshes = lines_by_class(measurements, 2.0)
    assert meshes.keys() == {HairClass.VELLUS, HairClass.INTERMEDIATE, HairClass.TERMINAL}
    middles = {kind: np.unique(np.round(mesh[0].reshape(-1, 4)[:, 0] / 64)) for kind, mesh in meshes.items()}
    assert [list(middles[kind]) for kind in HairClass] == [[1], [2, 3], [4]]


def test_without_a_scale_no_class_is_claimed() -> None:
    meshes = lines_by_class(make_analysis(make_frame(), scale_um_per_px=None).measurements, 2.0)
    assert list(meshes) == [None]


def test_a_line_of_one_point_draws_nothing() -> None:
    vertices, indices = ribbons([np.array([[3.0, 4.0]])], 2.0)
    assert len(vertices) == len(indices) == 0


def test_repeated_points_do_not_make_it_fly_apart() -> None:
    vertices, _ = ribbons([np.array([[3.0, 4.0], [3.0, 4.0], [5.0, 4.0]])], 2.0)
    assert np.isfinite(vertices).all()
    assert vertices.reshape(-1, 4)[:, :2].max() == pytest.approx(5.0)


def test_a_sprite_is_a_square_about_its_point() -> None:
    vertices, indices = sprites(np.array([[10.0, 5.0], [3.0, 4.0]]), 2.0)
    corners = vertices.reshape(2, 4, 4)
    assert np.array_equal(corners[..., :2].mean(axis=1), [[10.0, 5.0], [3.0, 4.0]])
    assert np.array_equal(np.ptp(corners[..., :2], axis=1), [[4.0, 4.0], [4.0, 4.0]])
    assert np.array_equal(corners[..., 2:].min(axis=1), np.zeros((2, 2)))
    triangles = corners.reshape(-1, 4)[indices, :2].reshape(-1, 3, 2)
    (a, b) = np.moveaxis(triangles[:, 1:] - triangles[:, :1], 1, 0)
    assert np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / 2 == 2 * 16.0  # both squares are covered once


@pytest.mark.parametrize("count", [0, 1, 1024, 30_000])
def test_any_number_of_points_makes_a_mesh_that_holds(count: int) -> None:
    vertices, indices = sprites(np.zeros((count, 2)), 1.0)
    assert indices.dtype == np.uint16
    assert len(vertices) // 4 <= 65536
    assert len(indices) == 6 * (len(vertices) // 16)
    if count:
        assert indices.max() == len(vertices) // 4 - 1
