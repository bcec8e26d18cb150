"""Calibration step by step, without its widgets: a still picture, a scale found in it or entered, a profile kept."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum

import numpy as np

from calibration.errors import ScalpScopeError
from calibration.optics.illumination import FlatField
from calibration.optics.profile import Profile, ScaleMethod, list_profiles, profile_path
from calibration.optics.scale import RulerFit, find_ruler, scale_from_points, typed_scale
from device_app.camera.source import Frame
from device_app.screens.texts import text

TICK_CHOICES_UM = (10, 50, 100, 500, 1000)
SCOPES = tuple("ABCDEFGH")
MAGNIFICATIONS = ("10", "20", "30", "40", "50", "60", "80", "100", "150", "200", "400")
_TAP_SD_PX = 3.0  # of a finger, on the screen


class Way(str, Enum):
    """The ways to a calibration; keys into the table of texts."""

    RULER = "method_ruler"
    POINTS = "method_points"
    TYPED = "method_typed"
    WHITE = "method_white"
    PROFILES = "method_profiles"


@dataclass(frozen=True)
class FoundScale:
    """A scale waiting to be confirmed.

    Attributes:
        size: (width, height) of the pictures that it holds for.
        ticks: (N, 2) points of the still picture that it rests on; empty for a typed one.
    """

    method: ScaleMethod
    scale_um_per_px: float
    uncertainty_um_per_px: float
    size: tuple[int, int]
    ticks: np.ndarray


class Calibration:
    """One visit to the calibration screen. Used by one thread; the finding runs on another.

    Args:
        profile: the calibration in use, whose light or name is kept where it applies.
    """

    def __init__(self, profile: Profile | None) -> None:
        self.profile = profile
        self.way = Way.RULER
        self.tick_um = 100
        self.still: Frame | None = None
        self.points: list[tuple[float, float]] = []
        self.scale: FoundScale | None = None
        self.light: FlatField | None = None
        self.problem = ""
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="calibrate")
        self._work: Future[RulerFit | FlatField] | None = None

    @property
    def busy(self) -> bool:
        """Whether something is being looked for."""
        return self._work is not None

    def choose(self, way: Way) -> None:
        """Begin anew by this way."""
        self.way = way
        self.again()
        if way is Way.WHITE and self.profile is None:
            self.problem = text("white_needs_profile")

    def again(self) -> None:
        """Forget the still picture and what was found in it; what is still being looked for is not waited for."""
        self.still, self.scale, self.light, self._work = None, None, None, None
        self.points, self.problem = [], ""

    def start_finding(self, frame: Frame | None) -> None:
        """Look for the ruler, or measure the white paper, in this frame; `poll` takes the answer."""
        if self.busy:
            return
        self.again()
        if frame is None:
            self.problem = text("no_picture_yet")
            return
        self.still = frame
        if self.way is Way.WHITE:
            self._work = self._pool.submit(FlatField.from_white_picture, frame.image)
        else:
            self._work = self._pool.submit(find_ruler, frame.image, float(self.tick_um))

    def poll(self) -> bool:
        """Take the answer of `start_finding` when it is there. True when something changed."""
        work = self._work
        if work is None or not work.done() or self.still is None:
            return False
        self._work = None
        try:
            found = work.result()
        except ScalpScopeError as error:
            self.still, self.problem = None, str(error)
            return True
        if isinstance(found, FlatField):
            self.light = found
        else:
            self.scale = FoundScale(
                ScaleMethod.RULER,
                found.scale_um_per_px,
                found.uncertainty_um_per_px,
                (self.still.image.shape[1], self.still.image.shape[0]),
                found.ticks,
            )
        return True

    def tap(self, x: float, y: float, frame: Frame) -> None:
        """Mark a point of the shown frame; the first tap holds the picture, a third begins anew."""
        if self.way is not Way.POINTS or self.scale is not None:
            return
        if len(self.points) == 2:
            self.again()
        self.still = self.still or frame
        self.points.append((x, y))
        self.problem = ""

    def enter(self, value: float, frame: Frame | None, screen_px_per_px: float) -> None:
        """Take the number typed in: the distance of the two points, or the scale itself."""
        frame = self.still or frame
        if frame is None:
            self.problem = text("no_picture_yet")
            return
        size = (frame.image.shape[1], frame.image.shape[0])
        try:
            if self.way is Way.POINTS:
                sd_px = max(1.0, _TAP_SD_PX / screen_px_per_px)
                found = scale_from_points(self.points[0], self.points[1], value, sd_px)
            else:
                found = typed_scale(value)
        except ScalpScopeError as error:
            self.problem = str(error)
            return
        method = ScaleMethod.POINTS if self.way is Way.POINTS else ScaleMethod.TYPED
        self.problem = ""
        self.scale = FoundScale(
            method, found.scale_um_per_px, found.uncertainty_um_per_px, size, np.array(self.points).reshape(-1, 2)
        )

    def made_profile(self, letter: str, magnification: str) -> Profile:
        """The profile that keeps what was found under this name.

        The same microscope keeps its light when its scale alone was measured again, and its scale when the light was.
        """
        name = text("profile_name", letter=letter, magnification=magnification)
        if self.light is not None and self.profile is not None:
            return self.profile.with_illumination(self.light)
        if self.scale is None:
            raise ValueError("nothing was found to keep")
        old, (width, height) = self.profile, self.scale.size
        same = old is not None and old.name == name and (old.width_px, old.height_px) == (width, height)
        return Profile(
            name=name,
            microscope=text("microscope", letter=letter),
            magnification=f"{magnification}x",
            width_px=width,
            height_px=height,
            scale_um_per_px=self.scale.scale_um_per_px,
            scale_uncertainty_um_per_px=self.scale.uncertainty_um_per_px,
            method=self.scale.method,
            flat_field=old.flat_field if same and old is not None else None,
            white_balance=old.white_balance if same and old is not None else None,
        )

    def close(self) -> None:
        """Leave; what is still being looked for is forgotten."""
        self.again()
        self._pool.shutdown(wait=False, cancel_futures=True)


def keep(profile: Profile) -> None:
    """Write a profile where the device keeps them. Raises `ScalpScopeError`."""
    profile.save(profile_path(profile.name))


def kept_profiles() -> list[Profile]:
    """The profiles kept on this device, by name; files that are none are left out."""
    profiles = []
    for path in list_profiles():
        try:
            profiles.append(Profile.load(path))
        except ScalpScopeError:
            continue  # scalpscope-calibrate says what is wrong with it; here there is nothing to choose
    return profiles


def first_choice(profile: Profile | None) -> tuple[int, int]:
    """Which microscope and magnification to offer first: those of the profile in use where it was named here."""
    for i, letter in enumerate(SCOPES):
        for j, magnification in enumerate(MAGNIFICATIONS):
            if profile is not None and profile.name == text("profile_name", letter=letter, magnification=magnification):
                return i, j
    return 0, MAGNIFICATIONS.index("50")
