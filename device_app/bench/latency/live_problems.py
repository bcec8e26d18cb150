"""What makes a live run not count, in words: another engine, something lost, pictures not shown, an early end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from device_app.live.health import Health, SourceState
from device_app.live.settings import PipelineSettings

_MOST_NOT_SHOWN = 0.01
_LAST_FRAMES = 2  # analysed when the window closes


def other_engines(made_by: Sequence[str], settings: PipelineSettings) -> list[str]:
    """In words, where another engine worked than was asked for, or not one alone."""
    problems = []
    wanted = (settings.backend, None if settings.precision is None else settings.precision.value)
    for engine, count in Counter(made_by).items():
        found = engine.split(" ")
        if any(asked is not None and asked not in found for asked in wanted):
            asked_for = " ".join(asked for asked in wanted if asked is not None)
            problems.append(f"{asked_for} was asked for, and {engine} analysed {count} of {len(made_by)} frames.")
    if not problems and len(set(made_by)) > 1:
        told = ", ".join(f"{engine} for {count} frames" for engine, count in Counter(made_by).items())
        problems.append(f"The engine changed during the run: {told}.")
    return problems


def losses(begin: Health, end: Health) -> list[str]:
    """In words, what went away or changed between two looks at the session."""
    problems = []
    if times := end.worker_restarts - begin.worker_restarts:
        problems.append(f"The analysis process was lost {times} times during the run.")
    if times := end.engines_lost - begin.engines_lost:
        problems.append(f"An accelerator failed {times} times during the run.")
    if times := end.source_losses - begin.source_losses:
        problems.append(f"The source {end.source_name} was lost {times} times during the run.")
    return problems


def not_shown(analysed: int, shown: int) -> list[str]:
    """In words, where so many analysed frames were not seen that the times of the others say too little.

    Those that come latest are those that are not shown: without them the slowest frames are missing from the figures.
    """
    missing = analysed - shown
    if missing <= _LAST_FRAMES or missing <= _MOST_NOT_SHOWN * analysed:
        return []
    return [
        f"{missing} of {analysed} analysed frames were not shown with their overlay: they came too late for the "
        "screen, and their times are missing."
    ]


def ended_early(wanted_s: float, ran_s: float, end: Health, windowed: bool) -> list[str]:
    """In words, where the timed part was shorter than it was to be."""
    if ran_s >= wanted_s:
        return []
    if end.source is SourceState.ENDED:
        what = f"The source {end.source_name} was over"
    else:
        what = "The window was closed" if windowed else "It was ended"
    return [f"{what} after {ran_s:.1f} of {wanted_s:.1f} s."]
