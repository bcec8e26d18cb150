"""Between the live session and the screens: what is shown, frozen, measured with which profile, and saved."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

from calibration.errors import ScalpScopeError
from calibration.optics.focus import SHARP_ENOUGH
from calibration.optics.illumination import Exposure, exposure_state
from calibration.optics.profile import Profile
from device_app.analysis_files import Provenance, SavedAnalysis
from device_app.camera.source import Frame
from device_app.live.analysis import Analysis, Conditions
from device_app.live.health import Health, SourceState, WorkerState
from device_app.live.supervisor import LiveSession
from device_app.screens.choosing import INSET_GONE_S, Chooser, Result, Shown
from device_app.screens.grading import Grading
from device_app.screens.notices import Situation
from device_app.screens.readings import Doubt
from device_app.screens.refining import Refining
from device_app.screens.saving import Saver

_RECENT_S = 0.7  # how far back Freeze looks for a sharper frame
_RECENT_RESULTS = 8
_GRADES_WITHIN_S = 5.0  # a save of the live picture waits no longer for its grades


@dataclass(frozen=True)
class SaveOutcome:
    """How a save went: one of the two is set."""

    saved: SavedAnalysis | None = None
    error: ScalpScopeError | None = None


class Instrument:
    """The state of the instrument. Used by the screen's thread only; no method blocks.

    Args:
        session: the live loop, started by the caller.
        profile: the calibration in use; None: the session's own scale, if it has one.
        records: folder that results are saved into.
    """

    def __init__(self, session: LiveSession, profile: Profile | None, records: Path) -> None:
        self.session = session
        self.profile = profile
        self.profile_problem = ""
        self.saver = Saver(records)
        self.refining = Refining(session)
        self.grading = Grading()
        self.shown: Shown | None = None
        self._plain = replace(session.settings, scale_um_per_px=None, scale_uncertainty_um_per_px=0.0, flat_field=None)
        self._typed = (session.settings.scale_um_per_px, session.settings.scale_uncertainty_um_per_px)
        self._chooser = Chooser()
        self._recent: deque[Result] = deque(maxlen=_RECENT_RESULTS)
        self._frozen: Shown | None = None
        self._unmeasurable = False
        self._save_when_measured = False
        self._save_when_graded: tuple[Frame, Analysis, int] | None = None
        self._size: tuple[int, int] | None = None
        self._exposure = Exposure.OK
        self._behind = False

    # What is shown.
    def tick(self, now_ns: int) -> Shown | None:
        """Look at the session and say what the picture area shows now."""
        newest, result = self.session.latest_frame(), self.session.latest_result()
        if newest is not None and newest.image.shape[1::-1] != self._size:
            self._size = (newest.image.shape[1], newest.image.shape[0])
            self._apply_profile()
        if result is not None and (not self._recent or self._recent[-1][0].id != result[0].id):
            self._recent.append(result)
        self.grading.newest = self.session.latest_conditions()
        if self._frozen is not None:
            self._take_asked()
            self._take_refined()
            self.shown = replace(self._frozen, looked=self.grading.looked())
        else:
            self.shown = self._chooser.choose(newest, result, now_ns)
            self._behind = self.shown is not None and self.shown.inset is not None
        return self.shown

    @property
    def frozen(self) -> bool:
        """Whether the picture stands still."""
        return self._frozen is not None

    @property
    def measuring(self) -> bool:
        """Whether the frozen picture still waits for its analysis."""
        return self._frozen is not None and self._frozen.analysis is None and not self._unmeasurable

    def freeze(self, now_ns: int) -> None:
        """Stop at the sharpest of the last frames: an analysed one while the analysis keeps up, else one to analyse.

        At a still moment that has been refined: at the frame that was.
        """
        if self._frozen is not None or self.shown is None:
            return
        ready = self.refining.ready()
        if ready is not None:
            self._frozen = Shown(ready.frame)
            self._unmeasurable = False
            self.grading.freeze(ready.frame)
            if self.grading.possible:
                self.session.ask(ready.frame)
            self.refining.adopt(ready)
            self._take_refined()
            self.shown = self._frozen
        elif self.shown.analysis is not None:
            fresh = [pair for pair in self._recent if (now_ns - pair[0].captured_ns) / 1e9 <= _RECENT_S]
            near = [pair for pair in fresh if pair[0].image.shape == self.shown.frame.image.shape]
            best = max(near, key=lambda pair: pair[1].focus, default=(self.shown.frame, self.shown.analysis))
            self.freeze_at(Shown(*best))
        else:
            self.freeze_at(Shown(self.session.sharpest_recent() or self.shown.frame))

    def freeze_at(self, shown: Shown) -> None:
        """Stop at this picture and have it refined; its analysis and grades are asked for."""
        self._frozen = self.shown = replace(shown, inset=None)
        self._unmeasurable = False
        self.grading.freeze(shown.frame)
        if shown.analysis is None or self.grading.possible:
            self.session.ask(shown.frame)
        self.refining.start(shown.frame)

    def go_live(self) -> None:
        """Show the moving picture again. A save that waits for a correction or for grades takes what is there."""
        measured = self.measured()
        if self._save_when_measured and self.frozen and measured is not None:
            self._write(*measured, self.grading.of_frozen)
        self._frozen = None
        self._save_when_measured = False
        self.session.ask(None)
        self.refining.leave()
        self.grading.leave()

    def refine(self, now_ns: int) -> None:
        """Have the picture refined; a live one is frozen first. While that is under way: stop it."""
        if self._frozen is None:
            self.freeze(now_ns)
        elif self.refining.working:
            self.refining.cancel()
        elif self.refining.result is None:
            self.refining.start(self._frozen.frame)

    def _take_asked(self) -> None:
        """Put the analysis that was asked for under the frozen picture, once it is there, and take its grades."""
        frozen, asked = self._frozen, self.session.asked()
        if frozen is None or asked is None or asked.frame.id != frozen.frame.id:
            return
        self.grading.take(asked.conditions, bool(asked.problem or asked.conditions_problem))
        if frozen.analysis is not None:
            return
        self._unmeasurable = bool(asked.problem)
        if asked.analysis is not None:
            self._frozen = Shown(frozen.frame, asked.analysis)

    def _take_refined(self) -> None:
        """Put the refinement on the frozen picture once it is there, and draw the mask of it that is chosen."""
        self.refining.take()
        frozen, result, layer = self._frozen, self.refining.result, self.refining.layer
        if frozen is None or result is None:
            return
        if frozen.refinement is not result or frozen.layer is not layer:
            self._frozen = Shown.refined(frozen.frame, result, layer)

    # What is said about it.
    def measured(self) -> Result | None:
        """The frame and analysis that figures and Save are about: the shown one, or that of the inset."""
        if self.shown is None:
            return None
        if self.shown.analysis is not None:
            return self.shown.frame, self.shown.analysis
        return None if self.frozen else self.shown.inset

    def lost(self, health: Health) -> bool:
        """Whether the picture shown is the last one of a source that is gone."""
        return health.source is SourceState.LOST and not self.frozen

    def look_at_exposure(self) -> None:
        """Judge the light of the picture shown; a few times a second is enough."""
        self._exposure = Exposure.OK if self.shown is None else exposure_state(self.shown.frame.image)

    def doubt(self, health: Health, now_ns: int) -> Doubt | None:
        """Why no figure may be stated now."""
        if self.shown is None or self.lost(health):
            return Doubt.NO_PICTURE
        if self.measuring:
            return Doubt.MEASURING
        if self._frozen is not None and self._frozen.analysis is None and self._unmeasurable:
            return Doubt.FAILED
        measured = self.measured()
        if measured is None:
            return Doubt.NO_ANALYSIS
        stale = (now_ns - measured[0].captured_ns) / 1e9 > INSET_GONE_S
        if not self.frozen and stale and health.source is not SourceState.ENDED:
            return Doubt.NO_ANALYSIS
        if not self.frozen and health.worker is not WorkerState.READY:
            return Doubt.NO_ANALYSIS
        if self._exposure is not Exposure.OK:
            return Doubt.TOO_DARK if self._exposure is Exposure.TOO_DARK else Doubt.TOO_BRIGHT
        return Doubt.OUT_OF_FOCUS if measured[1].focus < SHARP_ENOUGH else None

    def grade_doubt(self, health: Health, now_ns: int) -> Doubt | None:
        """Why no grade may be stated now. Grades rest neither on the focus that hairs need nor on their analysis."""
        if self.shown is None or self.lost(health):
            return Doubt.NO_PICTURE
        if self._exposure is not Exposure.OK:
            return Doubt.TOO_DARK if self._exposure is Exposure.TOO_DARK else Doubt.TOO_BRIGHT
        if not self.frozen and health.conditions_problem:
            return Doubt.FAILED
        working, ended = health.worker is WorkerState.READY, health.source is SourceState.ENDED
        return self.grading.doubt(now_ns, working, ended)

    def situation(self, now_ns: int) -> Situation:
        """What the notices need to know beside the health of the loop."""
        measured = self.measured()
        return Situation(
            exposure=self._exposure,
            sharp=None if measured is None else measured[1].focus >= SHARP_ENOUGH,
            has_scale=self.session.settings.scale_um_per_px is not None,
            profile_problem=self.profile_problem,
            free_bytes=self.saver.free_bytes(),
            frozen=self.frozen,
            measuring=self.measuring,
            behind=self._behind,
            refine=self.refining.facts(now_ns / 1e9),
        )

    # Calibration.
    def use_profile(self, profile: Profile | None) -> None:
        """Measure with this calibration from the next frame on; None: without any scale.

        A frozen picture goes: its figures were made with another scale.
        """
        self.profile, self._typed = profile, (None, 0.0)
        self.go_live()
        self._apply_profile()

    def _apply_profile(self) -> None:
        """Tell the session which scale and light hold for pictures of this size: those of a fitting profile only."""
        profile, self.profile_problem = self.profile, ""
        if profile is not None and self._size is not None:
            try:
                profile.check_resolution(*self._size)
            except ScalpScopeError as error:
                self.profile_problem = str(error)
        if profile is None:
            settings = replace(self._plain, scale_um_per_px=self._typed[0], scale_uncertainty_um_per_px=self._typed[1])
        elif self.profile_problem:
            settings = self._plain
        else:
            settings = replace(
                self._plain,
                scale_um_per_px=profile.scale_um_per_px,
                scale_uncertainty_um_per_px=profile.scale_uncertainty_um_per_px,
                flat_field=profile.illumination(),
            )
        self.refining.forget_still()
        self.session.use(settings)

    # Saving.
    def save(self) -> bool:
        """Save what is measured now, with its grades; a frozen picture as soon as it is measured and graded and its
        last correction is in.

        Returns:
            False: there is nothing to save.
        """
        measured = self.measured()
        if measured is None or self._owes_something:
            self._save_when_measured = self.measuring or measured is not None
            return self._save_when_measured
        if not self.frozen and self.grading.possible:
            # What is graded live is seldom the very picture that is shown: that one is asked for.
            self._finish_ungraded()
            self._save_when_graded = (*measured, time.monotonic_ns())
            self.session.ask(measured[0])
            return True
        self._write(*measured, self.grading.of_frozen)
        return True

    @property
    def _owes_something(self) -> bool:
        """Whether something of the frozen picture is still to come that belongs into its record."""
        return self.frozen and (self.refining.owes_correction or self.grading.waiting)

    @property
    def save_waits(self) -> bool:
        """Whether a save waits for the measurement."""
        return self._save_when_measured

    def saves(self) -> list[SaveOutcome]:
        """How the saves went that ended since the last call; starts those that waited for something."""
        measured = self.measured()
        if self._save_when_measured and measured is not None and not self._owes_something:
            self._save_when_measured = False
            self._write(*measured, self.grading.of_frozen)
        self._save_graded()
        return [
            SaveOutcome(error=outcome) if isinstance(outcome, ScalpScopeError) else SaveOutcome(saved=outcome)
            for outcome in self.saver.finished()
        ]

    def _save_graded(self) -> None:
        """Write the live picture that waits for its grades, once they are there, or without them when they fail."""
        if self._save_when_graded is None:
            return
        frame, analysis, since_ns = self._save_when_graded
        asked = self.session.asked()
        if asked is None or asked.frame.id != frame.id:
            self._finish_ungraded()
        elif asked.conditions is not None:
            self._save_when_graded = None
            self._write(frame, analysis, asked.conditions)
            self._ask_no_more()
        elif asked.problem or asked.conditions_problem or time.monotonic_ns() - since_ns > _GRADES_WITHIN_S * 1e9:
            self._finish_ungraded()
            self._ask_no_more()

    def _ask_no_more(self) -> None:
        if not self.frozen:  # what is frozen may be the same picture
            self.session.ask(None)

    def _finish_ungraded(self) -> None:
        if self._save_when_graded is not None:
            frame, analysis, _ = self._save_when_graded
            self._save_when_graded = None
            self._write(frame, analysis, None)

    def _ungraded(self, frame: Frame) -> str:
        """Why a picture is saved without grades that the bundle could have given it."""
        asked = self.session.asked()
        problem = "" if asked is None or asked.frame.id != frame.id else asked.problem or asked.conditions_problem
        return problem or "The picture was saved before it was graded."

    def close(self) -> None:
        """Write what waits to be written, and wait for it."""
        self.go_live()
        self._finish_ungraded()
        self.saver.close()

    def _write(self, frame: Frame, analysis: Analysis, conditions: Conditions | None) -> None:
        health, settings = self.session.health(), self.session.settings
        # A result that is older than the newest calibration was not made with it.
        of_now = analysis.measurements.scale_um_per_px == settings.scale_um_per_px
        provenance = Provenance(
            profile=self.profile.name if self.profile is not None and of_now and not self.profile_problem else None,
            scale_uncertainty_um_per_px=settings.scale_uncertainty_um_per_px if of_now else 0.0,
            engine_reasons=health.engine_reasons,
            fallback=health.fallback,
            conditions_missing=None if conditions is not None else health.conditions_missing or self._ungraded(frame),
        )
        shown = self.shown
        refinement = None if shown is None or shown.analysis is not analysis else shown.refinement
        self.saver.save(frame.image, analysis, provenance, refinement, conditions)
