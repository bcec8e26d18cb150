"""Calibration without its widgets: rulers found, points tapped, numbers typed, paper measured, profiles kept."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from calibration.optics.profile import ScaleMethod
from device_app.camera.source import Frame
from device_app.screens.calibrating import Calibration, Way, first_choice, keep, kept_profiles
from device_app.screens.texts import text
from tests.support.analyses import make_frame


def ruler_picture(spacing_px: float = 20.0, width: int = 640, height: int = 480) -> np.ndarray:
    """White with dark upright ticks, anti-aliased."""
    x = np.arange(width)
    distance = np.abs((x + spacing_px / 2) % spacing_px - spacing_px / 2)
    row = 225 - 180 * np.clip(2.0 - distance, 0, 1)
    image = np.full((height, width, 3), 225, np.uint8)
    image[120:360] = row.astype(np.uint8)[None, :, None]
    return image


def paper_picture(width: int = 640, height: int = 480) -> np.ndarray:
    """White paper lit from the middle, a little yellow."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 220 * (1 - 0.25 * (x**2 + y**2) / 2)
    noise = np.random.default_rng(0).normal(0, 1, (height, width))
    return np.clip(light[..., None] * (1.0, 0.97, 0.85) + noise[..., None], 0, 255).astype(np.uint8)


@pytest.fixture
def visit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    calibration = Calibration(None)
    yield calibration
    calibration.close()


def _found(calibration: Calibration) -> None:
    until = time.monotonic() + 60
    while not calibration.poll() and time.monotonic() < until:
        time.sleep(0.01)


def test_a_ruler_is_found_and_kept(visit: Calibration) -> None:
    visit.tick_um = 50
    visit.start_finding(Frame(0, ruler_picture(20.0), 0))
    assert visit.busy
    _found(visit)
    assert visit.scale is not None
    assert visit.scale.scale_um_per_px == pytest.approx(2.5, rel=0.01)
    assert len(visit.scale.ticks) >= 20
    profile = visit.made_profile("B", "50")
    assert (profile.name, profile.method) == ("scope B 50x", ScaleMethod.RULER)
    assert (profile.width_px, profile.height_px) == (640, 480)
    keep(profile)
    assert kept_profiles() == [profile]
    assert first_choice(profile) == (1, 4)


def test_no_ruler_is_told_and_the_picture_moves_again(visit: Calibration) -> None:
    visit.start_finding(make_frame())
    _found(visit)
    assert visit.problem
    assert visit.still is None
    assert visit.scale is None


def test_a_change_of_mind_forgets_what_is_being_looked_for(visit: Calibration) -> None:
    visit.start_finding(Frame(0, ruler_picture(), 0))
    visit.choose(Way.POINTS)
    assert not visit.busy
    assert not visit.poll()
    assert visit.scale is None


def test_two_points_and_their_distance_make_a_scale(visit: Calibration) -> None:
    frame, later = make_frame(1), make_frame(2)
    visit.choose(Way.POINTS)
    visit.tap(10, 10, frame)
    visit.tap(210, 10, later)
    assert visit.still is frame  # both points belong to the picture of the first
    visit.enter(500.0, later, screen_px_per_px=1.0)
    assert visit.scale is not None
    assert visit.scale.scale_um_per_px == pytest.approx(2.5)
    assert visit.scale.uncertainty_um_per_px == pytest.approx(2.5 * 3 * 2**0.5 / 200)
    assert visit.made_profile("A", "50").method is ScaleMethod.POINTS


def test_a_third_point_begins_anew(visit: Calibration) -> None:
    visit.choose(Way.POINTS)
    for x in (10, 100, 50):
        visit.tap(x, 10, make_frame())
    assert visit.points == [(50, 10)]


def test_points_too_close_are_refused(visit: Calibration) -> None:
    visit.choose(Way.POINTS)
    visit.tap(10, 10, make_frame())
    visit.tap(15, 10, make_frame())
    visit.enter(500.0, make_frame(), 1.0)
    assert visit.scale is None
    assert "close" in visit.problem


@pytest.mark.parametrize("value", [0.0, 1e9, float("nan")])
def test_a_number_that_is_no_scale_is_refused(visit: Calibration, value: float) -> None:
    visit.choose(Way.TYPED)
    visit.enter(value, make_frame(), 1.0)
    assert visit.scale is None
    assert visit.problem


def test_without_a_picture_nothing_can_be_calibrated(visit: Calibration) -> None:
    visit.start_finding(None)
    assert visit.problem == text("no_picture_yet")
    visit.choose(Way.TYPED)
    visit.enter(2.5, None, 1.0)
    assert visit.problem == text("no_picture_yet")


def test_white_paper_needs_a_profile_and_goes_into_it(visit: Calibration) -> None:
    visit.choose(Way.WHITE)
    assert visit.problem == text("white_needs_profile")
    visit.choose(Way.TYPED)
    visit.enter(2.5, Frame(0, paper_picture(), 0), 1.0)
    profile = visit.made_profile("A", "50")

    again = Calibration(profile)
    again.choose(Way.WHITE)
    again.start_finding(Frame(0, paper_picture(), 0))
    _found(again)
    lit = again.made_profile("Z", "1")  # the light belongs to the profile in use, whatever name stands on the steppers
    again.close()
    assert lit.flat_field is not None
    assert (lit.name, lit.scale_um_per_px) == (profile.name, 2.5)

    scaled_again = Calibration(lit)
    scaled_again.choose(Way.TYPED)
    scaled_again.enter(2.6, Frame(0, paper_picture(), 0), 1.0)
    same, other = scaled_again.made_profile("A", "50"), scaled_again.made_profile("B", "50")
    scaled_again.close()
    assert same.flat_field == lit.flat_field
    assert other.flat_field is None


def test_a_file_that_is_no_profile_is_not_offered(visit: Calibration, tmp_path: Path) -> None:
    folder = tmp_path / "scalpscope" / "profiles"
    folder.mkdir(parents=True)
    (folder / "broken.json").write_text("{")
    assert kept_profiles() == []
    assert isinstance(first_choice(None), tuple)
