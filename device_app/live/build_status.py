"""Where the building of engines stands, for the screen and the reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

from device_app.engines.building import BuildStep


class BuildState(str, Enum):
    """Where the building of engines stands."""

    NONE = "none"  # nothing was to be built, or it is not wanted any more
    BUILDING = "building"
    BUILT = "built"
    FAILED = "failed"  # nothing came of it


BUILD_TRANSITIONS: Mapping[BuildState, frozenset[BuildState]] = {
    BuildState.NONE: frozenset({BuildState.BUILDING}),
    BuildState.BUILDING: frozenset({BuildState.NONE, BuildState.BUILT, BuildState.FAILED}),
    BuildState.BUILT: frozenset({BuildState.NONE, BuildState.BUILDING}),
    BuildState.FAILED: frozenset({BuildState.NONE, BuildState.BUILDING}),
}


@dataclass(frozen=True)
class BuildStatus:
    """How the building stands.

    Attributes:
        state: see `BuildState`.
        fraction: of the present work, 0 to 1.
        what: what is being done, in the builder's words; empty before it said so, and afterwards.
        problem: what could not be built, and what to do; not empty when it failed. Some may be built all the same.
        built: the engines that this session has built, such as ``hair int8_symmetric``.
    """

    state: BuildState = BuildState.NONE
    fraction: float = 0.0
    what: str = ""
    problem: str = ""
    built: tuple[str, ...] = ()

    def moved(self, to: BuildState, problem: str = "", built: tuple[str, ...] = ()) -> BuildStatus:
        """This status in another state.

        Raises:
            ValueError: `to` may not follow the present state.
        """
        if to not in BUILD_TRANSITIONS[self.state]:
            raise ValueError(f"{self.state} cannot become {to}")
        return BuildStatus(to, float(to is BuildState.BUILT), "", problem, (*self.built, *built))

    def at(self, step: BuildStep) -> BuildStatus:
        """This status one step further; the fraction does not fall."""
        return replace(self, fraction=max(self.fraction, step.fraction), what=step.what)


NOTHING_BUILT = BuildStatus()
