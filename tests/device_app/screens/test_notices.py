"""Every state that the screen must know is told, the gravest first."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from calibration.optics.illumination import Exposure
from device_app.camera.demo import DemoScalp
from device_app.live.build_status import BuildState, BuildStatus
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


def test_building_is_told_with_its_step_and_what_runs_meanwhile(health: Health) -> None:
    """And instead of what it is going to mend."""
    slow = dataclasses.replace(health, fallback=True, engine_reasons=("cpu: it runs", "gpu not used: not built"))
    status = BuildStatus(BuildState.BUILDING, 0.434, "hair: trying kernels")
    (told,) = notices(dataclasses.replace(slow, backend="onnxruntime-cpu int8_u8s8", engine_build=status), Situation())
    assert (told.key, told.weight, told.detail) == ("engine_building", Weight.PLAIN, "")
    words = "Building the fast engine: 43 %, hair: trying kernels. The picture runs on the processor meanwhile."
    assert told.title == words
    (other,) = notices(dataclasses.replace(slow, backend="onnxruntime-cuda fp16", engine_build=status), Situation())
    assert "processor" not in other.title and "meanwhile" in other.title
    endless = dataclasses.replace(status, what="on and on " * 100)
    (cut,) = notices(dataclasses.replace(slow, engine_build=endless), Situation())
    assert len(cut.title) < 130 and "…" in cut.title and cut.title.endswith("on the processor meanwhile.")
    (checked,) = notices(dataclasses.replace(slow, engine_swapping=True), Situation())
    assert checked.key == "engine_checking"


@pytest.mark.parametrize(
    ("changes", "key", "detail"),
    [
        ({"engine_build": BuildStatus(BuildState.FAILED, problem="No room.")}, "engine_build_failed", "No room."),
        ({"engine_build": BuildStatus(BuildState.BUILT, problem="No room.")}, "engine_build_partly", "No room."),
        ({"engine_swap_problem": "It differs."}, "engine_not_used", "It differs."),
        ({"engines_given_up": ("It failed.", "So did that.")}, "engine_given_up", "It failed. So did that."),
    ],
)
def test_an_engine_that_came_to_nothing_is_told_with_the_reason(
    health: Health, changes: dict[str, Any], key: str, detail: str
) -> None:
    told = notices(dataclasses.replace(health, **changes), Situation())
    assert [(notice.key, notice.detail) for notice in told] == [(key, detail)]
    slow = dataclasses.replace(health, fallback=True, engine_reasons=("cpu: it runs", "gpu not used: lost"), **changes)
    slow_keys = [notice.key for notice in notices(slow, Situation())]
    assert slow_keys == ([key, "fallback"] if key == "engine_build_partly" else [key])


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
