"""The instrument on a real live session that grades, without a window: what is frozen and saved has its own grades."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest

from device_app.camera.choose import open_source
from device_app.images import write_png_atomically
from device_app.live.settings import PipelineSettings
from device_app.live.supervisor import LiveSession
from device_app.screens.instrument import Instrument
from tests.support.colour_classifier import graded_picture, make_classifier_bundle
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grades, and cannot refine."""
    return make_classifier_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def instrument(bundle: Path, tmp_path: Path) -> Iterator[Instrument]:
    """Looks at moderate dandruff and mild sebum, with one hair."""
    picture = graded_picture((2, 1, 0))
    cv2.line(picture, (130, 10), (140, 110), (30, 25, 20), 6, cv2.LINE_AA)
    write_png_atomically(tmp_path / "scalp.png", picture)
    session = LiveSession(open_source(str(tmp_path / "scalp.png")), PipelineSettings(bundle, 6.0, threads=1))
    session.start()
    made = Instrument(session, None, tmp_path / "records")
    made.grading.possible = True
    try:
        _until(made, lambda: made.grading.newest is not None and made.measured() is not None, "the first grades")
        yield made
    finally:
        made.saver.close()
        session.stop()


def _until(instrument: Instrument, happened: Callable[[], bool], what: str) -> None:
    def ticked() -> bool:
        instrument.tick(time.monotonic_ns())
        return happened()

    wait_until(ticked, what)


def _saved(instrument: Instrument) -> dict[str, object]:
    outcomes = []

    def came() -> bool:
        outcomes.extend(instrument.saves())
        return bool(outcomes)

    _until(instrument, came, "the save")
    (outcome,) = outcomes
    assert outcome.saved is not None, outcome.error
    return json.loads(outcome.saved.json.read_text(encoding="utf-8"))


def _severities(record: dict[str, object]) -> list[str]:
    conditions = record["conditions"]
    assert isinstance(conditions, dict)
    return [grade["severity"] for grade in conditions.values()]


def test_a_live_picture_is_saved_with_grades_of_its_own(instrument: Instrument) -> None:
    assert instrument.save()
    assert not instrument.save_waits
    assert _severities(_saved(instrument)) == ["moderate", "mild", "good"]
    assert instrument.session.asked() is None  # still moments may be refined again


def test_a_frozen_picture_has_grades_of_its_own_and_a_save_waits_for_them(instrument: Instrument) -> None:
    instrument.freeze(time.monotonic_ns())
    assert instrument.save()
    assert _severities(_saved(instrument)) == ["moderate", "mild", "good"]
    shown, conditions = instrument.shown, instrument.grading.of_frozen
    assert shown is not None and conditions is not None and conditions.frame_id == shown.frame.id


def test_a_picture_that_is_left_before_it_is_graded_is_saved_and_says_so(instrument: Instrument) -> None:
    pid = instrument.session.health().worker_pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        instrument.freeze(time.monotonic_ns())
        measured = instrument.measured()
        assert instrument.save()
        instrument.go_live()
        assert instrument.grading.of_frozen is None
    finally:
        os.kill(pid, signal.SIGCONT)
    if measured is None:  # the analysis was behind: there was nothing to write
        return
    record = _saved(instrument)
    assert record["conditions"] is None
    assert record["conditions_missing"] == "The picture was saved before it was graded."


def test_what_waits_is_written_when_the_app_closes(instrument: Instrument, tmp_path: Path) -> None:
    assert instrument.save()
    instrument.close()
    (path,) = (tmp_path / "records").glob("*.json")
    assert json.loads(path.read_text(encoding="utf-8"))["hair_count"] >= 1
