"""The hazard of a stale overlay: whatever camera and analysis do, no mask lies on a picture that is not its own."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_app.camera.source import Frame
from device_app.live.analysis import Analysis
from device_app.screens.choosing import (
    INSET_GONE_S,
    STEADY_S,
    TOO_LATE_S,
    Chooser,
    Layer,
    LookedAt,
    Result,
    Shown,
)
from tests.support.analyses import make_analysis, make_frame, make_refinement

MS = 1_000_000
_PICTURE = make_frame().image
_TEMPLATE = make_analysis(make_frame())


def _analysis(frame_id: int) -> Analysis:
    kept = {name: getattr(_TEMPLATE, name) for name in Analysis.__dataclass_fields__}
    return Analysis(**{**kept, "frame_id": frame_id})


def _play(camera_ms: int, delays_ms: list[int]) -> list[tuple[int, Shown]]:
    """Frames every `camera_ms`, analysed one by one with these delays, newest first; what each moment shows."""
    chooser, shown = Chooser(), []
    result: Result | None = None
    working: tuple[int, Result] | None = None
    delays = iter(delays_ms)
    for number in range(150):
        now = number * camera_ms * MS
        newest = Frame(number, _PICTURE, now)
        if working is not None and now >= working[0]:
            result, working = working[1], None
        if working is None and (delay := next(delays, None)) is not None:
            working = (now + delay * MS, (newest, _analysis(number)))
        choice = chooser.choose(newest, result, now)
        assert choice is not None
        shown.append((now, choice))
    return shown


@settings(max_examples=40, deadline=None)
@given(st.integers(10, 60), st.lists(st.integers(1, 900), min_size=1, max_size=150))
def test_an_overlay_lies_on_its_own_frame_and_is_never_late(camera_ms: int, delays_ms: list[int]) -> None:
    for now, shown in _play(camera_ms, delays_ms):
        age_s = (now - shown.frame.captured_ns) / 1e9
        if shown.analysis is not None:
            assert shown.analysis.frame_id == shown.frame.id
            assert age_s <= TOO_LATE_S
        else:
            assert age_s == 0  # bare pictures are the newest there are
        if shown.inset is not None:
            assert shown.inset[1].frame_id == shown.inset[0].id
            assert (now - shown.inset[0].captured_ns) / 1e9 <= INSET_GONE_S


def test_a_fast_analysis_is_followed() -> None:
    shown = _play(33, [50] * 200)
    assert all(choice.analysis is not None for now, choice in shown if now > 200 * MS)


def test_a_slow_analysis_leaves_the_picture_at_the_rate_of_the_camera() -> None:
    shown = _play(33, [500] * 200)[20:]
    assert all(choice.analysis is None for _, choice in shown)
    assert len({choice.frame.id for _, choice in shown}) == len(shown)
    assert all(choice.inset is not None for _, choice in shown)


def test_one_late_analysis_does_not_make_the_screen_flicker() -> None:
    shown = _play(33, [50] * 30 + [600] + [50] * 200)
    ways = [choice.analysis is not None for now, choice in shown if now > 200 * MS]
    changes = [i for i, (one, other) in enumerate(itertools.pairwise(ways)) if one != other]
    assert len(changes) == 2  # ahead, and back
    assert (changes[1] - changes[0]) * 0.033 >= STEADY_S - 0.1


def test_when_the_analysis_stops_its_last_frame_does_not_stay_as_an_inset() -> None:
    shown = _play(33, [50] * 3)
    assert shown[-1][1].analysis is None
    assert shown[-1][1].inset is None


def test_another_frames_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="does not belong"):
        Shown(make_frame(1), _analysis(2))
    with pytest.raises(ValueError, match="does not belong"):
        Shown(make_frame(1), inset=(make_frame(3), _analysis(2)))


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="does not belong"):
        Shown(make_frame(1, width=640, height=480), _analysis(1))


def test_nothing_is_shown_before_the_first_frame() -> None:
    assert Chooser().choose(None, None, 0) is None


def test_a_refinement_lies_on_its_own_picture_only() -> None:
    frame = make_frame(3)
    refinement = make_refinement(frame)
    assert Shown.refined(frame, refinement).frame is frame
    with pytest.raises(ValueError, match="does not belong"):
        Shown.refined(make_frame(4), refinement)
    with pytest.raises(ValueError, match="does not belong"):
        Shown.refined(make_frame(3, width=160, height=120), refinement)
    with pytest.raises(ValueError, match="its refinement and no others"):
        Shown(frame, make_analysis(frame), None, refinement)


def test_each_layer_draws_its_mask_and_only_the_hair_mask_has_lines() -> None:
    frame = make_frame(3)
    refinement = make_refinement(frame)
    masks = {
        Layer.COARSE: refinement.coarse_mask,
        Layer.SAM: refinement.refined_mask,
        Layer.HAIR: refinement.mask,
    }
    for layer, mask in masks.items():
        shown = Shown.refined(frame, refinement, layer)
        assert shown.mask is mask
        assert shown.analysis is refinement.analysis
        assert (shown.lined is refinement.analysis) == (layer is Layer.HAIR)
    assert Shown(frame).mask is None
    coarse = Shown(frame, make_analysis(frame))
    assert coarse.mask is coarse.analysis.mask and coarse.lined is coarse.analysis


def test_a_heat_map_belongs_to_its_frame_and_stands_alone_on_it() -> None:
    frame = make_frame(3)
    heat = np.ones((3, 4), np.float32)
    with pytest.raises(ValueError, match="heat map of frame 4"):
        Shown(frame, looked=LookedAt(4, "condition_dandruff", heat))
    analysis = make_analysis(frame)
    shown = Shown(frame, analysis, looked=LookedAt(3, "condition_dandruff", heat))
    assert shown.mask is None and shown.lined is None  # nothing else is drawn
    assert shown.analysis is analysis  # and the figures stay
