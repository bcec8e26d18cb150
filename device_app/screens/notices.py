"""Which states the screen tells, in which order of weight."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from calibration.optics.illumination import Exposure
from device_app.live.build_status import BuildState
from device_app.live.health import Health, HealthMessage, SourceState
from device_app.live.lost_engines import accelerators
from device_app.screens.texts import text

DISK_NEARLY_FULL_BYTES = 500 * 2**20
_LONGEST_STEP = 40  # characters of a builder's words
_STEP_LINES, _WHY_LINES = 4, 3


class Weight(Enum):
    """How loudly a state is told."""

    BANNER = "banner"  # something does not work: title and what to do, across the picture
    WARNING = "warning"  # the picture cannot be measured well: a bright chip
    PLAIN = "plain"  # good to know: a quiet chip


@dataclass(frozen=True)
class Notice:
    """One state: a key for tests and order, its words, and a sentence for banners.

    `most_lines`: of a chip; words of a builder or a driver are cut there, so that they do not cover the picture. The
    log and the reports have them all. None: as many as it takes.
    """

    key: str
    weight: Weight
    title: str
    detail: str = ""
    most_lines: int | None = None


@dataclass(frozen=True)
class RefineFacts:
    """What is to be told about refining.

    Attributes:
        seconds: how long it has been working; None: it does not work now.
        again: its process ended on this picture before.
        refined: the frozen picture is refined.
        corrections: how many places the shown refinement was told by hand.
        other_mask: another mask is drawn than the one that the figures are of.
        correcting: fingers on the picture correct.
        problem: why it was not refined; empty otherwise.
        ready: the live picture stands still and was refined: freezing takes it.
    """

    seconds: float | None = None
    again: bool = False
    refined: bool = False
    corrections: int = 0
    other_mask: bool = False
    correcting: bool = False
    problem: str = ""
    ready: bool = False


@dataclass(frozen=True)
class Situation:
    """What the notices are made from, beside the health of the live loop."""

    exposure: Exposure = Exposure.OK
    sharp: bool | None = None
    has_scale: bool = True
    profile_problem: str = ""
    free_bytes: int | None = None
    frozen: bool = False
    measuring: bool = False
    behind: bool = False
    refine: RefineFacts = RefineFacts()


def notices(health: Health, situation: Situation) -> tuple[Notice, ...]:
    """Everything that is to be told now, the gravest first."""
    found = [_of_loop(health)] if health.message is not HealthMessage.OK else []
    picture_is_there = health.source in (SourceState.LIVE, SourceState.ENDED) or situation.frozen
    if picture_is_there and situation.exposure is not Exposure.OK:
        dark = situation.exposure is Exposure.TOO_DARK
        found.append(_chip("too_dark" if dark else "too_bright", Weight.WARNING))
    elif picture_is_there and situation.sharp is False:
        found.append(_chip("out_of_focus", Weight.WARNING))
    if situation.free_bytes is not None and situation.free_bytes < DISK_NEARLY_FULL_BYTES:
        left = f"{situation.free_bytes / 2**20:.0f} MB"
        found.append(Notice("disk_nearly_full", Weight.WARNING, text("disk_nearly_full", free=left)))
    if situation.frozen:
        found.append(_chip("frozen_measuring" if situation.measuring else "frozen", Weight.PLAIN))
    found += _of_refining(situation.refine)
    if situation.profile_problem:
        found.append(Notice("wrong_profile", Weight.WARNING, text("wrong_profile"), situation.profile_problem))
    elif not situation.has_scale:
        found.append(_chip("no_scale", Weight.PLAIN))
    if situation.behind and not situation.frozen and health.message is HealthMessage.OK:
        found.append(_chip("behind", Weight.PLAIN))
    if health.conditions_refused or health.conditions_problem:
        why = health.conditions_missing or health.conditions_problem
        found.append(Notice("conditions_failed", Weight.WARNING, text("conditions_failed"), why))
    found += _of_engines(health)
    return tuple(found)


def _of_engines(health: Health) -> list[Notice]:
    """What is to be told of better engines than those that run; the screen has little room for it."""
    build = health.engine_build
    if build.state is BuildState.BUILDING:
        return [_of_building(health)]
    if health.engine_swapping:
        return [_chip("engine_checking", Weight.PLAIN)]
    found = []
    if health.engines_given_up:
        found.append(_of_engine("engine_given_up", " ".join(health.engines_given_up), Weight.WARNING))
    elif health.engine_swap_problem:
        found.append(_of_engine("engine_not_used", health.engine_swap_problem))
    elif build.problem:
        failed = build.state is BuildState.FAILED
        found.append(_of_engine("engine_build_failed" if failed else "engine_build_partly", build.problem))
    if health.fallback and (not found or found[0].key == "engine_build_partly"):  # the others say why it is slower
        # The first reason is the engine's own; those after it say what was passed over, which is what matters here.
        found.append(Notice("fallback", Weight.PLAIN, text("fallback"), ". ".join(health.engine_reasons[1:])))
    return found


def _of_engine(key: str, why: str, weight: Weight = Weight.PLAIN) -> Notice:
    return Notice(key, weight, text(key), why, _WHY_LINES)


def _of_building(health: Health) -> Notice:
    build = health.engine_build
    what = build.what.rstrip(".")
    if len(what) > _LONGEST_STEP:
        what = f"{what[: _LONGEST_STEP - 1].rstrip()}…"
    words = text("engine_building", percent=f"{100 * build.fraction:.0f}")
    meanwhile = text("engine_meanwhile_other" if accelerators(health.backend) else "engine_meanwhile_cpu")
    title = f"{words}, {what}. {meanwhile}" if what else f"{words}. {meanwhile}"
    return Notice("engine_building", Weight.PLAIN, title, most_lines=_STEP_LINES)


def _of_refining(facts: RefineFacts) -> list[Notice]:
    found = []
    if facts.problem:
        found.append(Notice("refine_failed", Weight.WARNING, text("refine_failed"), facts.problem))
    if facts.seconds is not None:
        words = text("refining_again" if facts.again else "refining", since=duration(facts.seconds))
        found.append(Notice("refining", Weight.PLAIN, words))
    if facts.corrections:
        words = text("refined_corrected", count=facts.corrections)
        found.append(Notice("refined_corrected", Weight.PLAIN, words))
    elif facts.refined:
        found.append(_chip("refined", Weight.PLAIN))
    for key in ("other_mask", "correcting"):
        if getattr(facts, key):
            found.append(_chip(key, Weight.PLAIN))
    if facts.ready:
        found.append(_chip("refine_ready", Weight.PLAIN))
    return found


def _chip(key: str, weight: Weight) -> Notice:
    return Notice(key, weight, text(key))


def _of_loop(health: Health) -> Notice:
    message = health.message
    if message is HealthMessage.SOURCE_OPENING:
        opening = text("source_opening", source=health.source_name)
        return Notice(message.value, Weight.BANNER, opening, text("source_opening_detail"))
    if message is HealthMessage.SOURCE_LOST:
        # A source that never gave a picture was not lost: it is not there.
        key = "no_camera" if health.captured == 0 else "source_lost"
        since = text("trying_since", since=duration(health.source_since_s))
        return Notice(key, Weight.BANNER, text(key), f"{health.detail} {since}".strip())
    if message is HealthMessage.WORKER_STARTING:
        return Notice(message.value, Weight.PLAIN, text(message.value))
    weight = Weight.PLAIN if message is HealthMessage.SOURCE_ENDED else Weight.BANNER
    return Notice(message.value, weight, text(message.value), health.detail)


def duration(seconds: float) -> str:
    """Seconds in words."""
    return text("seconds", n=round(seconds)) if seconds < 120 else text("minutes", n=round(seconds / 60))
