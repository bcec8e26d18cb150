"""Every state that the screen must know is told, the gravest first."""

from __future__ import annotations

import dataclasses

import pytest

from calibration.optics.illumination import Exposure
from device_app.camera.demo import DemoScalp
from device_app.live.health import Health, SourceState, WorkerState
from device_app.live.settings import PipelineSettings
from device_app.live.supervisor import LiveSession
from device_app.screens.notices import DISK_NEARLY_FULL_BYTES, RefineFacts, Situation, Weight, notices


@pytest.fixture
def health(tmp_path) -> Health:
    """Of a session that never started, its states set as if all were well."""
    session = LiveSession(DemoScalp(), PipelineSettings(tmp_path))
    return dataclasses.replace(session.health(), source=SourceState.LIVE, worker=WorkerState.READY)


def _keys(health: Health, **situation: object) -> list[str]:
    return [notice.key for notice in notices(health, Situation(**situation))]  # type: ignore[arg-type]


def test_when_all_is_well_nothing_is_told(health: Health) -> None:
    assert _keys(health, sharp=True, free_bytes=10**12) == []


@pytest.mark.parametrize(
    ("situation", "key"),
    [
        ({"exposure": Exposure.TOO_DARK}, "too_dark"),
        ({"exposure": Exposure.TOO_BRIGHT}, "too_bright"),
        ({"sharp": False}, "out_of_focus"),
        ({"has_scale": False}, "no_scale"),
        ({"profile_problem": "made for another size"}, "wrong_profile"),
        ({"free_bytes": DISK_NEARLY_FULL_BYTES - 1}, "disk_nearly_full"),
        ({"frozen": True}, "frozen"),
        ({"frozen": True, "measuring": True}, "frozen_measuring"),
        ({"behind": True}, "behind"),
        ({"refine": RefineFacts(seconds=3.2)}, "refining"),
        ({"refine": RefineFacts(refined=True)}, "refined"),
        ({"refine": RefineFacts(refined=True, corrections=2)}, "refined_corrected"),
        ({"refine": RefineFacts(other_mask=True)}, "other_mask"),
        ({"refine": RefineFacts(correcting=True)}, "correcting"),
        ({"refine": RefineFacts(problem="It failed. Try again.")}, "refine_failed"),
        ({"refine": RefineFacts(ready=True)}, "refine_ready"),
    ],
)
def test_each_situation_has_its_notice(health: Health, situation: dict[str, object], key: str) -> None:
    assert _keys(health, **situation) == [key]


@pytest.mark.parametrize("state", [WorkerState.HUNG, WorkerState.RESTARTING, WorkerState.REFUSED, WorkerState.STARTING])
def test_each_state_of_the_worker_has_its_notice(health: Health, state: WorkerState) -> None:
    told = notices(dataclasses.replace(health, worker=state, worker_problem="It did that. Do this."), Situation())
    assert told[0].key == f"worker_{state.value}"
    if state is not WorkerState.STARTING:
        assert (told[0].weight, told[0].detail) == (Weight.BANNER, "It did that. Do this.")


def test_a_camera_that_never_was_is_not_called_lost(health: Health) -> None:
    gone = dataclasses.replace(
        health, source=SourceState.LOST, source_since_s=7.0, source_problem="Not there. Plug it in."
    )
    told = notices(gone, Situation())[0]
    assert (told.key, told.detail) == ("no_camera", "Not there. Plug it in. Trying for 7 s.")
    counts = dataclasses.replace(gone.counts, captured=5)
    assert notices(dataclasses.replace(gone, counts=counts), Situation())[0].key == "source_lost"


def test_a_lost_camera_silences_what_is_said_about_its_picture(health: Health) -> None:
    lost = dataclasses.replace(health, source=SourceState.LOST)
    assert _keys(lost, exposure=Exposure.TOO_DARK, behind=True) == ["no_camera"]
    assert "too_dark" in _keys(lost, exposure=Exposure.TOO_DARK, frozen=True)


def test_a_fall_back_is_told_with_its_reason(health: Health) -> None:
    fallen = dataclasses.replace(
        health, fallback=True, engine_reasons=("cpu fp32: exact", "int8 not used: no such file")
    )
    told = notices(fallen, Situation())[0]
    assert (told.key, told.detail) == ("fallback", "int8 not used: no such file")


def test_conditions_that_a_bundle_should_grade_and_cannot_are_told(health: Health) -> None:
    never = dataclasses.replace(health, conditions_missing="The bundle has no such network.")
    assert notices(never, Situation()) == notices(health, Situation())
    refused = dataclasses.replace(health, conditions_missing="Its engine is refused.", conditions_refused=True)
    failed = dataclasses.replace(health, conditions_problem="Its engine failed.")
    told = [next(n for n in notices(one, Situation()) if n.key == "conditions_failed") for one in (refused, failed)]
    assert [one.detail for one in told] == ["Its engine is refused.", "Its engine failed."]


def test_refining_tells_its_seconds_and_a_failure_its_reason(health: Health) -> None:
    (told,) = notices(health, Situation(refine=RefineFacts(seconds=3.2)))
    assert (told.weight, "3 s" in told.title) == (Weight.PLAIN, True)
    (again,) = notices(health, Situation(refine=RefineFacts(seconds=3.2, again=True)))
    assert again.title != told.title
    (failed,) = notices(health, Situation(refine=RefineFacts(problem="It failed. Try again.")))
    assert (failed.weight, failed.detail) == (Weight.WARNING, "It failed. Try again.")
