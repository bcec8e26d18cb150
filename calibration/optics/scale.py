"""Micrometres per pixel with their uncertainty: from a ruler in the picture, from two points, or typed in."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import cv2
import numpy as np

from calibration.errors import ScalpScopeError
from calibration.optics.ruler_comb import MIN_TICKS, Comb, bend_degree, find_comb, likeness, mark_shapes, measure_marks
from calibration.optics.ruler_view import RulerView, tick_directions

_log = logging.getLogger(__name__)

MAX_DRIFT = 0.04
"""Largest change of the tick spacing across the ruler, as a fraction, before it is refused as tilted or bent."""

_MAX_SIDE_PX = 2048
_MIN_SUPPORT = 0.6  # part of the ticks that must be seen in a strip for it to belong to the ruler
_MAX_MISSED = 2  # strips in a row that need not show the ticks: where the ruler's base line hides them
_MIN_HEIGHT = 0.35  # of the usual height of a tick
_MAX_RESIDUAL = 0.05  # of the spacing, from ten ticks on
_MEASURING_PX = 0.03
_MIN_LIKENESS = 0.85  # hairs and pores differ from each other in width and depth, a ruler's ticks do not
_WORTH_A_TURN = 0.5  # ticks as unlike as this are none, however well they are turned
_MIN_EXTENT = 0.2  # of the picture's shorter side; a smaller group of lines is none that someone laid there
_MIN_STRIPS = 2  # a tick is longer than a fortieth of the picture
_PRIOR_PX, _PRIOR_TICKS = 0.1, 3.0  # what a tick's error is taken for before any is seen; keeps four lucky ticks humble
_FLOOR = 2e-4  # relative; what pixels and interpolation do to all ticks alike, and residuals cannot show
_SURE = 12.0  # ticks seen, none missing: no other direction need be tried
_UPRIGHT = 0.003  # ticks that lean less, sideways per length, are not smeared by the strips

_SHOW_THE_RULER = (
    f"Let the ruler's ticks fill the picture, at least {MIN_TICKS} of them and 6 pixels apart or more, sharp, evenly "
    "lit and without glare; or mark two points on it instead."
)


@dataclass(frozen=True)
class ScaleEstimate:
    """A scale that was not found automatically.

    Attributes:
        scale_um_per_px: micrometres per pixel.
        uncertainty_um_per_px: one standard deviation.
    """

    scale_um_per_px: float
    uncertainty_um_per_px: float


@dataclass(frozen=True)
class RulerFit:
    """A ruler found in a picture.

    Attributes:
        scale_um_per_px: micrometres per pixel.
        uncertainty_um_per_px: one standard deviation, from how far the ticks lie from even spacing and how many there
            are, and from the drift where there is one. The ruler's own error is not in it.
        angle_deg: direction along the ruler, 0 to 180 degrees, from the x axis towards the y axis (down).
        ticks: (N, 2) float64, (x, y) of the middle of the seen part of every tick that was used, in order.
        spacing_px: distance between neighbouring ticks.
        residual_px: root mean square distance of the ticks from their even places.
        drift_fraction: change of the spacing from one end of the ruler to the other; 0 where none is proved.
        tick_um: the distance between ticks that the user gave.
    """

    scale_um_per_px: float
    uncertainty_um_per_px: float
    angle_deg: float
    ticks: np.ndarray
    spacing_px: float
    residual_px: float
    drift_fraction: float
    tick_um: float


def scale_from_points(
    p: tuple[float, float], q: tuple[float, float], distance_um: float, click_sd_px: float = 1.0
) -> ScaleEstimate:
    """The scale from two points that someone marked.

    Args:
        p, q: (x, y) in pixels.
        distance_um: the true distance between them in micrometres.
        click_sd_px: standard deviation of either mark along the line between them, in pixels.

    Raises:
        ScalpScopeError: the distance is not above 0, or the points are too close for 10 % uncertainty.
    """
    _check_distance(distance_um)
    length = math.dist(p, q)
    length_sd = math.sqrt(2.0) * click_sd_px
    if not math.isfinite(length) or length <= 10.0 * length_sd:
        raise ScalpScopeError(
            f"The two points are only {length:.0f} pixels apart, too close for a scale.",
            "Mark two points as far apart in the picture as the ruler allows.",
        )
    scale = distance_um / length
    return ScaleEstimate(scale, scale * length_sd / length)


def typed_scale(scale_um_per_px: float, uncertainty_um_per_px: float | None = None) -> ScaleEstimate:
    """A scale that someone typed in; 2 % uncertainty where none is given.

    Raises:
        ScalpScopeError: the scale lies outside 0.01 to 1000 µm per pixel, or the uncertainty is not between 0 and it.
    """
    if not (math.isfinite(scale_um_per_px) and 0.01 <= scale_um_per_px <= 1000):
        raise ScalpScopeError(
            f"{scale_um_per_px:g} µm per pixel is not a scale of a microscope.", "Type a value between 0.01 and 1000."
        )
    uncertainty = 0.02 * scale_um_per_px if uncertainty_um_per_px is None else uncertainty_um_per_px
    if not (math.isfinite(uncertainty) and 0 <= uncertainty < scale_um_per_px):
        raise ScalpScopeError(
            f"{uncertainty:g} µm per pixel is not an uncertainty of {scale_um_per_px:g}.",
            "Type one standard deviation, between 0 and the scale itself.",
        )
    return ScaleEstimate(scale_um_per_px, uncertainty)


def find_ruler(image: np.ndarray, tick_um: float) -> RulerFit:
    """Find a stage micrometer, a printed ruler or a reticle in a picture, and the scale from all its ticks.

    The directions in which most edges run are tried. The picture is turned so that the ticks stand upright, cut into
    strips, and in each strip's brightness an evenly spaced comb is looked for, dark on light and light on dark; the
    comb with the most ticks wins, so that where long and short ticks differ the short ones are counted too. The comb is
    followed through neighbouring strips, every tick is measured in each to a fraction of a pixel, outliers are refused,
    and a straight line through tick number and position gives spacing and uncertainty.

    Args:
        image: (H, W, 3) uint8 RGB or (H, W) uint8.
        tick_um: distance between two neighbouring ticks, the smallest division that is visible, in micrometres.

    Raises:
        ScalpScopeError: there is no ruler, or its spacing changes by more than `MAX_DRIFT`; says what to do.
    """
    _check_distance(tick_um)
    grey, shrunk = _grey(image)
    best: _Measured | None = None
    for direction in tick_directions(grey):
        measured = _measure(grey, direction)
        if measured is not None and (best is None or measured.score > best.score):
            best = measured
        if best is not None and best.score >= _SURE:
            break
    if best is None:
        raise ScalpScopeError("No ruler was found in this picture.", _SHOW_THE_RULER)
    if best.drift > MAX_DRIFT:
        raise ScalpScopeError(
            f"The ruler's ticks are {100 * best.drift:.0f} % closer at one place than at another.",
            "Lay the ruler flat and hold the microscope upright on it, use the middle of the picture, and try again.",
        )
    spacing = best.spacing * shrunk
    scale = tick_um / spacing
    # A drift is spread evenly, so one part of the picture differs from the mean by drift / sqrt(12).
    relative = math.hypot(best.spacing_sd / best.spacing, best.drift / math.sqrt(12.0), _FLOOR)
    _log.info("ruler: %d ticks every %.3f px, %.5f um/px, +- %.3f %%", len(best.ticks), spacing, scale, 100 * relative)
    return RulerFit(
        scale_um_per_px=scale,
        uncertainty_um_per_px=scale * relative,
        angle_deg=math.degrees(best.direction) % 180.0,
        ticks=(best.ticks + 0.5) * shrunk - 0.5,
        spacing_px=spacing,
        residual_px=best.residual * shrunk,
        drift_fraction=best.drift,
        tick_um=tick_um,
    )


def _check_distance(distance_um: float) -> None:
    if not (math.isfinite(distance_um) and distance_um > 0):
        raise ScalpScopeError(
            f"{distance_um:g} µm is not a distance between ticks.", "Type the distance in micrometres, such as 100."
        )


def _grey(image: np.ndarray) -> tuple[np.ndarray, float]:
    """(H, W) float32, shrunk by a whole number where the picture is large, and that number."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
    factor = math.ceil(max(grey.shape) / _MAX_SIDE_PX)
    if factor > 1:
        whole = grey[: grey.shape[0] // factor * factor, : grey.shape[1] // factor * factor]
        grey = cv2.resize(whole, (whole.shape[1] // factor, whole.shape[0] // factor), interpolation=cv2.INTER_AREA)
    return grey.astype(np.float32), float(factor)


@dataclass(frozen=True)
class _Measured:
    """A ruler in the pixels of the picture that was searched; `score` compares candidates."""

    direction: float
    spacing: float
    spacing_sd: float
    residual: float
    drift: float
    ticks: np.ndarray
    score: float


def _measure(grey: np.ndarray, direction: float) -> _Measured | None:
    """The best ruler with ticks across ``direction`` (radians), the direction corrected until it fits the ticks."""
    for attempt in range(3):
        view = RulerView.turn(grey, direction)
        found = _best_comb(view)
        seen = None if found is None else _follow(view, *found)
        if seen is None or seen.likeness < _WORTH_A_TURN:
            return None
        lean = seen.lean()
        if abs(lean) < _UPRIGHT or attempt == 2:
            return _fit(view, seen, lean)
        direction -= math.atan(lean)
    return None


def _best_comb(view: RulerView) -> tuple[int, float, Comb] | None:
    """Strip number, polarity (1 bright ticks, -1 dark) and comb of the most convincing strip."""
    best: tuple[int, float, Comb] | None = None
    for strip in range(view.strips):
        for polarity in (-1.0, 1.0):
            comb = find_comb(polarity * view.profiles[strip], view.valid[strip], float(view.noise[strip]))
            if comb is not None and (best is None or comb.score > best[2].score):
                best = strip, polarity, comb
    return best


@dataclass(frozen=True)
class _Seen:
    """Every sighting of a tick in a strip: (n,) arrays. ``u`` across the ticks, ``v`` along them, in pixels.

    `quality` is the comb's; `likeness` that of the ticks of the middling strip.
    """

    number: np.ndarray
    u: np.ndarray
    v: np.ndarray
    quality: float
    likeness: float

    def lean(self) -> float:
        """Slope du/dv of the ticks, common to all."""
        u, v = self.u - _group_mean(self.number, self.u), self.v - _group_mean(self.number, self.v)
        spread = float(np.sum(v * v))
        return float(np.sum(u * v)) / spread if spread > 1.0 else 0.0


def _group_mean(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """For each value the mean of its group."""
    _, index = np.unique(groups, return_inverse=True)
    mean: np.ndarray = (np.bincount(index, values) / np.bincount(index))[index]
    return mean


def _follow(view: RulerView, strip: int, polarity: float, comb: Comb) -> _Seen | None:
    """Measure the comb's ticks in its own strip and, up and down from there, in all that show most of them."""
    numbers = np.arange(comb.first - 1, comb.last + 2)
    sightings: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    alike: list[float] = []
    for order in (range(strip, view.strips), range(strip - 1, -1, -1)):
        places, missed = comb.places(numbers), 0
        for current in order:
            u, height = measure_marks(polarity * view.profiles[current], view.valid[current], places, comb.spacing)
            if not sightings:
                usual = float(np.nanmedian(height[1:-1])) if np.isfinite(height[1:-1]).any() else 0.0
            offset = u - places
            possible = np.count_nonzero(np.isfinite(height[1:-1]))
            if possible < 3 or missed > _MAX_MISSED:
                break
            good = (height > _MIN_HEIGHT * usual) & (np.abs(offset - np.nanmedian(offset)) < 0.15 * comb.spacing)
            if np.count_nonzero(good[1:-1]) < max(3, _MIN_SUPPORT * possible):
                missed += 1
                continue
            missed = 0
            alike.append(likeness(mark_shapes(polarity * view.profiles[current], u[good], comb.spacing)))
            sightings.append((numbers[good], u[good], np.full(np.count_nonzero(good), view.centre_v(current))))
            places = np.where(good, u, places + float(np.median(offset[good])))
    if not sightings:
        return None
    number, u, v = (np.concatenate(part) for part in zip(*sightings, strict=True))
    return _Seen(number, u, v, comb.quality, float(np.median(alike)))


def _fit(view: RulerView, seen: _Seen, lean: float) -> _Measured | None:
    """A straight line through the ticks' mean positions, outliers refused."""
    if seen.likeness < _MIN_LIKENESS or len(np.unique(seen.v)) < _MIN_STRIPS:
        return None
    upright = seen.u - lean * (seen.v - seen.v.mean())
    numbers, index = np.unique(seen.number, return_inverse=True)
    # The median over the strips: where another line crosses a tick, its centre there is off.
    u = np.array([np.median(upright[index == i]) for i in range(len(numbers))])
    v = np.bincount(index, seen.v) / np.bincount(index)
    keep = _inliers(numbers, u)
    numbers, u, v = numbers[keep].astype(np.float64), u[keep], v[keep]
    if len(numbers) < MIN_TICKS:
        return None
    centred = numbers - numbers.mean()
    spacing = float(np.sum(centred * u) / np.sum(centred**2))
    residuals = u - u.mean() - spacing * centred
    square_sum = float(np.sum(residuals**2))
    sd = math.sqrt((square_sum + _PRIOR_TICKS * _PRIOR_PX**2) / (len(numbers) - 2 + _PRIOR_TICKS))
    drift, unexplained = _drift(centred, residuals, spacing)
    if spacing * float(np.ptp(numbers)) < _MIN_EXTENT * view.short_side:
        return None
    # Four lines among hairs are evenly spaced by chance more often than ten: few ticks must be the more regular.
    allowed = _MAX_RESIDUAL * min(1.0, (len(numbers) - 3) / 7)
    if unexplained > allowed * spacing + _MEASURING_PX:
        return None
    upright_again = 1.0 / math.sqrt(1.0 + lean**2)
    return _Measured(
        direction=view.direction - math.atan(lean),
        spacing=spacing * upright_again,
        spacing_sd=sd / math.sqrt(float(np.sum(centred**2))),
        residual=math.sqrt(square_sum / len(numbers)),
        drift=drift,
        ticks=view.to_picture(u + lean * (v - seen.v.mean()), v),
        score=len(numbers) * seen.quality**2,
    )


def _inliers(numbers: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Ticks within four robust standard deviations of the Theil-Sen line, which a quarter of wrong ticks cannot move.

    A straight line even where the lens bends the ruler: a bend spreads over all ticks and so widens the tolerance.
    """
    one, other = np.triu_indices(len(numbers), 1)
    slope = np.median((u[other] - u[one]) / (numbers[other] - numbers[one]))
    residual = u - slope * numbers
    residual = np.abs(residual - np.median(residual))
    inliers: np.ndarray = residual <= max(0.15, 4.0 * 1.4826 * float(np.median(residual)))
    return inliers


def _drift(centred: np.ndarray, residuals: np.ndarray, spacing: float) -> tuple[float, float]:
    """By how much the local spacing differs between places, as a fraction, and the residuals that are left (root mean
    square, pixels). No drift unless a curve fits clearly better than the straight line.
    """
    straight = math.sqrt(float(np.mean(residuals**2)))
    order = max(2, bend_degree(len(centred)))
    if len(centred) <= order + 3:
        return 0.0, straight
    reach = float(np.abs(centred).max())
    curve = np.polyfit(centred / reach, residuals, order)
    left = residuals - np.polyval(curve, centred / reach)
    freedom = len(centred) - order - 1
    noise = max(float(np.sum(left**2)) / freedom, 1e-6)
    gain = (float(np.sum(residuals**2)) - float(np.sum(left**2))) / (order - 1)
    if gain < 10.0 * noise:
        return 0.0, straight
    local = np.polyval(np.polyder(curve), np.linspace(-1, 1, 41)) / reach
    return float(np.ptp(local)) / spacing, math.sqrt(float(np.mean(left**2)))
