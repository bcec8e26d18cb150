"""Hair lines as meshes: where the hairs are, as wide as told, in bounds of what a mesh can hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_app.screens.hair_mesh import lines_by_class, ribbons
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
