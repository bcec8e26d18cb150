"""The scale from a ruler: right at every angle and size, honest about its uncertainty, refused where there is none."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support.real_pictures import real_scalp_pictures
from support.rulers import RulerScene, render_ruler

from calibration.errors import ScalpScopeError
from calibration.optics.scale import MAX_DRIFT, RulerFit, find_ruler, scale_from_points, typed_scale
from calibration.pictures import read_image

TICK_UM = 100.0


def error_of(fit: RulerFit, scene: RulerScene) -> float:
    """Relative error of the scale."""
    return fit.scale_um_per_px / (TICK_UM / scene.spacing) - 1.0


def z_of(fit: RulerFit, scene: RulerScene) -> float:
    """Error of the scale in its own standard deviations."""
    return error_of(fit, scene) * fit.scale_um_per_px / fit.uncertainty_um_per_px


@settings(max_examples=15, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate))
@given(
    spacing=st.floats(6.0, 120.0),
    angle=st.floats(0.0, 180.0, exclude_max=True),
    phase=st.floats(0.0, 1.0),
    duty=st.floats(0.2, 0.5),
    noise=st.sampled_from([0.0, 4.0, 10.0]),
    blur=st.floats(0.3, 2.5),
    light_on_dark=st.booleans(),
    baseline=st.booleans(),
    uneven=st.floats(0.0, 0.5),
)
def test_any_ruler_is_measured_within_three_thousandths(
    spacing: float,
    angle: float,
    phase: float,
    duty: float,
    noise: float,
    blur: float,
    light_on_dark: bool,
    baseline: bool,
    uneven: float,
) -> None:
    scene = RulerScene(
        spacing=spacing,
        angle_deg=angle,
        phase=phase,
        tick_width_fraction=duty,
        noise=noise,
        blur=min(blur, 0.18 * spacing),
        light_on_dark=light_on_dark,
        baseline=baseline,
        uneven=uneven,
        tick_length=80.0,
    )
    try:
        fit = find_ruler(render_ruler(scene), TICK_UM)
    except ScalpScopeError:
        # Wide spacing and an unlucky phase leave fewer than four whole ticks in the picture; nothing else may.
        assert 480 / spacing < 5.5
        return
    assert abs(error_of(fit, scene)) < 0.003
    assert abs(z_of(fit, scene)) < 4.0
    turned = (fit.angle_deg - angle + 90.0) % 180.0 - 90.0
    assert abs(turned) < 0.5


BASE = RulerScene(spacing=24.0, angle_deg=17.0, noise=4.0, tick_length=70.0)


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param(replace(BASE, spacing=6.0, tick_width_fraction=0.4, blur=0.6), id="six pixels"),
        pytest.param(
            replace(BASE, spacing=200.0, angle_deg=2.0, width=1280, height=1024, tick_width_fraction=0.1),
            id="two hundred pixels",
        ),
        pytest.param(replace(BASE, angle_deg=0.0), id="upright ticks"),
        pytest.param(replace(BASE, angle_deg=90.0), id="lying ticks"),
        pytest.param(replace(BASE, angle_deg=45.0, spacing=20.0), id="whole pixels at 45 degrees"),
        pytest.param(replace(BASE, numbers=True, baseline=True), id="numbers and base line"),
        pytest.param(replace(BASE, reticle=True, centred_ticks=True, baseline=True), id="crossed reticle"),
        pytest.param(replace(BASE, fifth_longer=2.5, tenth_longer=4.0, tick_length=35.0), id="much longer fifths"),
        pytest.param(replace(BASE, missing=frozenset({-3, 1, 2, 6})), id="missing ticks"),
        pytest.param(replace(BASE, first_tick=-3, last_tick=3), id="seven ticks in the middle"),
        pytest.param(replace(BASE, first_tick=2), id="only part of the ruler"),
        pytest.param(replace(BASE, displaced={3: 5.0, -4: -4.0}), id="two misprinted ticks"),
        pytest.param(replace(BASE, paper=120.0, ink=85.0), id="faint ticks"),
        pytest.param(replace(BASE, paper=60.0, ink=10.0, light_on_dark=True), id="dark field"),
        pytest.param(replace(BASE, blur=4.0), id="out of focus"),
        pytest.param(replace(BASE, uneven=0.8), id="one side in the dark"),
        pytest.param(replace(BASE, noise=20.0), id="strong noise"),
        pytest.param(replace(BASE, colour=(1.0, 0.75, 0.5)), id="warm light"),
    ],
)
def test_rulers_of_every_kind(scene: RulerScene) -> None:
    fit = find_ruler(render_ruler(scene), TICK_UM)
    assert abs(error_of(fit, scene)) < 0.003
    assert abs(z_of(fit, scene)) < 3.0


def test_the_tick_points_lie_on_the_ticks() -> None:
    scene = replace(BASE, numbers=True)
    fit = find_ruler(render_ruler(scene), TICK_UM)
    assert fit.ticks.shape[1] == 2
    assert len(fit.ticks) >= 20
    cos, sin = math.cos(math.radians(scene.angle_deg)), math.sin(math.radians(scene.angle_deg))
    x, y = fit.ticks[:, 0] - (scene.width - 1) / 2, fit.ticks[:, 1] - (scene.height - 1) / 2
    number = (cos * x + sin * y) / scene.spacing - scene.phase
    assert np.abs(number - np.round(number)).max() < 0.02
    assert (np.diff(np.round(number)) == 1).all()
    along_the_tick = -sin * x + cos * y
    assert (np.abs(along_the_tick) < scene.tick_length).all()


@pytest.mark.parametrize("factor", [3])
def test_large_pictures_are_shrunk_without_a_shift_of_the_scale(factor: int) -> None:
    scene = replace(BASE, spacing=24.37 * factor, width=800 * factor, height=600 * factor, tick_length=250.0, blur=3.0)
    fit = find_ruler(render_ruler(scene), TICK_UM)
    assert abs(error_of(fit, scene)) < 0.001
    cos, sin = math.cos(math.radians(scene.angle_deg)), math.sin(math.radians(scene.angle_deg))
    x, y = fit.ticks[:, 0] - (scene.width - 1) / 2, fit.ticks[:, 1] - (scene.height - 1) / 2
    number = (cos * x + sin * y) / scene.spacing - scene.phase
    assert np.abs(number - np.round(number)).max() < 0.02


def test_the_uncertainty_covers_the_error_of_badly_printed_rulers() -> None:
    """Ticks out of place by 2 % of the spacing: two thirds within one standard deviation, nearly all within two."""
    z = []
    for seed in range(18):
        rng = np.random.default_rng(seed)
        displaced = {k: float(rng.normal(0.0, 0.02 * 30.0)) for k in range(-30, 31)}
        scene = replace(BASE, spacing=30.0, angle_deg=float(rng.uniform(0, 180)), displaced=displaced, seed=seed)
        z.append(abs(z_of(find_ruler(render_ruler(scene), TICK_UM), scene)))
    assert np.mean(np.array(z) < 1.0) >= 0.5
    assert np.mean(np.array(z) < 2.0) >= 0.85
    assert max(z) < 4.0
    # And it is not merely large: printing errors of this size leave the mean spacing good to 0.1 % or so.
    assert np.median(z) > 0.2


def test_more_ticks_give_a_smaller_uncertainty() -> None:
    few = find_ruler(render_ruler(replace(BASE, first_tick=-3, last_tick=3, noise=10.0)), TICK_UM)
    many = find_ruler(render_ruler(replace(BASE, noise=10.0)), TICK_UM)
    assert few.uncertainty_um_per_px > 2 * many.uncertainty_um_per_px


def test_a_mildly_bent_ruler_is_measured_and_its_drift_is_told() -> None:
    scene = replace(BASE, angle_deg=5.0, barrel=0.015, noise=2.0)
    fit = find_ruler(render_ruler(scene), TICK_UM)
    assert 0.005 < fit.drift_fraction < MAX_DRIFT
    assert abs(error_of(fit, scene)) < 0.02
    assert fit.uncertainty_um_per_px / fit.scale_um_per_px > 0.002


@pytest.mark.parametrize("scene", [replace(BASE, tilt=0.06), replace(BASE, angle_deg=0.0, barrel=0.06)])
def test_a_tilted_ruler_and_a_strong_lens_are_refused(scene: RulerScene) -> None:
    with pytest.raises(ScalpScopeError, match=r"% closer at one place.*flat"):
        find_ruler(render_ruler(scene), TICK_UM)


def test_pictures_without_a_ruler_are_refused() -> None:
    rng = np.random.default_rng(4)
    noise = np.clip(rng.normal(128, 25, (480, 640, 3)), 0, 255).astype(np.uint8)
    blotches = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 5), None, 0, 255, cv2.NORM_MINMAX)
    gradient = np.repeat(np.linspace(0, 255, 640)[None, :, None], 480, axis=0).repeat(3, axis=2).astype(np.uint8)
    for picture in (
        np.zeros((480, 640, 3), np.uint8),
        np.full((480, 640, 3), 255, np.uint8),
        noise,
        blotches,
        gradient,
    ):
        with pytest.raises(ScalpScopeError, match=r"No ruler was found.*mark two points"):
            find_ruler(picture, TICK_UM)


def test_three_lines_are_no_ruler() -> None:
    with pytest.raises(ScalpScopeError, match="No ruler"):
        find_ruler(render_ruler(replace(BASE, first_tick=-1, last_tick=1)), TICK_UM)


def test_tiny_pictures_are_refused_and_not_stumbled_over() -> None:
    for shape in ((16, 16, 3), (16, 400, 3), (400, 16, 3), (16, 17)):
        with pytest.raises(ScalpScopeError, match="No ruler"):
            find_ruler(np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8), TICK_UM)


def test_real_scalp_is_no_ruler() -> None:
    taken = []
    pictures = real_scalp_pictures(5)
    for path in pictures:
        try:
            taken.append((path.name, find_ruler(read_image(path), TICK_UM)))
        except ScalpScopeError:
            continue
    assert not taken


@pytest.mark.parametrize("tick_um", [0.0, -5.0, math.nan, math.inf])
def test_a_nonsensical_distance_is_refused(tick_um: float) -> None:
    with pytest.raises(ScalpScopeError, match="not a distance"):
        find_ruler(render_ruler(BASE), tick_um)


def test_the_scale_from_two_points_and_its_uncertainty() -> None:
    estimate = scale_from_points((100.0, 100.0), (400.0, 500.0), 1000.0, click_sd_px=2.0)
    assert estimate.scale_um_per_px == pytest.approx(2.0)
    # Both points are off by 2 px along the line: the length by 2 * sqrt(2) of 500 px.
    assert estimate.uncertainty_um_per_px / 2.0 == pytest.approx(2.0 * math.sqrt(2.0) / 500.0)


def test_the_uncertainty_of_two_points_is_that_of_repeated_clicks() -> None:
    rng = np.random.default_rng(0)
    p, q = np.array([50.0, 80.0]), np.array([350.0, 120.0])
    scales = []
    for _ in range(2000):
        first, second = p + rng.normal(0, 1, 2), q + rng.normal(0, 1, 2)
        scales.append(scale_from_points(tuple(first), tuple(second), 500.0).scale_um_per_px)
    told = scale_from_points(tuple(p), tuple(q), 500.0).uncertainty_um_per_px
    assert np.std(scales) == pytest.approx(told, rel=0.1)


@pytest.mark.parametrize("q", [(100.0, 100.0), (105.0, 100.0), (math.nan, 3.0)])
def test_points_too_close_are_refused(q: tuple[float, float]) -> None:
    with pytest.raises(ScalpScopeError, match="too close"):
        scale_from_points((100.0, 100.0), q, 1000.0)


def test_a_typed_scale() -> None:
    assert typed_scale(2.5, 0.1).uncertainty_um_per_px == 0.1
    assert typed_scale(2.5).uncertainty_um_per_px == pytest.approx(0.05)
    for scale in (0.0, -1.0, math.nan, 1e6):
        with pytest.raises(ScalpScopeError, match="not a scale"):
            typed_scale(scale)
    for uncertainty in (-0.1, 2.5, math.nan):
        with pytest.raises(ScalpScopeError, match="not an uncertainty"):
            typed_scale(2.5, uncertainty)
