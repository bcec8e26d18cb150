"""The evenly spaced ticks of a ruler in one brightness profile: which spacing, which ticks, where exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.signal import find_peaks, peak_widths

MIN_SPACING_PX = 5.0
MIN_TICKS = 4

_INLIER = 0.15  # of the spacing: a mark further than this from its place is none of the ruler's
_MAX_RMS = 0.04  # of the spacing; hairs and noise that pass the count fail here
_ROUGH_PX = 0.4  # places of narrow marks in noise are no better before they are measured properly
_MIN_QUALITY = 0.6
_BRIGHT_ENOUGH = 20.0  # grey levels; below, the slope of the paper's brightness is mostly noise
_LONGEST_GAP = 3  # ticks; a longer gap ends the ruler


@dataclass(frozen=True)
class Comb:
    """Evenly spaced marks in a profile, bent as much as a lens or a tilt bends them.

    Attributes:
        spacing: mean distance between neighbours, in profile samples.
        course: coefficients, highest power first, of the position of mark number k; a straight line for few marks.
        first, last: numbers of the outermost marks seen.
        count: how many marks were seen.
        quality: part of the places that are filled, times part of the marks that stand on a place; 0 to 1.
    """

    spacing: float
    course: tuple[float, ...]
    first: int
    last: int
    count: int
    quality: float

    def places(self, numbers: np.ndarray) -> np.ndarray:
        """Where the marks of the given numbers stand, in samples."""
        places: np.ndarray = np.polyval(self.course, numbers)
        return places

    @property
    def score(self) -> float:
        """Larger is a better ruler: many marks, none missing, none between."""
        return self.count * self.quality**2


def find_comb(profile: np.ndarray, valid: np.ndarray, noise: float) -> Comb | None:
    """The most convincing comb of bright marks in a profile, or None.

    The marks are taken at two levels of prominence, for a strip of the picture may hold long and short ticks, scratches
    and print; for each, spacings are tried that occur between neighbours.

    Args:
        profile: (n,) float, ticks bright.
        valid: (n,) bool, where the profile lies inside the picture.
        noise: standard deviation of the profile's noise.
    """
    where = np.flatnonzero(valid)
    if len(where) < 3 * MIN_SPACING_PX:
        return None
    inside = profile[where[0] : where[-1] + 1]
    smooth = np.convolve(np.pad(inside, 2, mode="edge"), [0.06, 0.24, 0.40, 0.24, 0.06], mode="valid")
    peaks, found = find_peaks(smooth, prominence=max(1.0, 4.0 * noise))
    prominence = found["prominences"]
    if len(peaks) < MIN_TICKS:
        return None
    # The middle between the flanks, not the highest sample: a wide tick has a flat top.
    _, _, left, right = peak_widths(smooth, peaks, 0.5, (prominence, found["left_bases"], found["right_bases"]))
    middles = (left + right) / 2 + where[0]
    strong = np.sort(prominence)[-max(MIN_TICKS, len(peaks) // 5) :].mean()
    best: Comb | None = None
    for level in (0.5, 0.2):
        marks = prominence >= level * strong
        comb = fit_comb(middles[marks])
        if comb is None:
            continue
        if float(np.median(right[marks] - left[marks])) > 0.55 * comb.spacing:
            comb = replace(comb, quality=0.7 * comb.quality)  # the gaps, not the ticks; those are the other polarity
        if best is None or comb.score > best.score:
            best = comb
    return best


def fit_comb(positions: np.ndarray) -> Comb | None:
    """The most convincing comb among marks at the given sorted positions (n,), or None."""
    if len(positions) < MIN_TICKS:
        return None
    steps = np.diff(positions)
    candidates = np.percentile(steps, [10, 25, 40, 50, 60, 75, 90])
    distinct = np.concatenate(([True], np.diff(candidates) > 0.04 * candidates[1:])) & (candidates >= MIN_SPACING_PX)
    best: Comb | None = None
    for spacing in candidates[distinct]:
        for seed in _seeds(steps, float(spacing)):
            comb = _grow(positions, float(positions[seed]), float(spacing))
            if comb is not None and (best is None or comb.score > best.score):
                best = comb
    return best


def _seeds(steps: np.ndarray, spacing: float) -> list[int]:
    """Marks in the middle of the two longest runs of neighbours that are this far apart, or a few times as far.

    Noise has no such runs, and is sent away here before anything is fitted.
    """
    times = np.rint(steps / spacing)
    fitting = (times >= 1) & (times <= _LONGEST_GAP) & (np.abs(steps - times * spacing) < 1.5 * _INLIER * spacing)
    if int(np.count_nonzero(fitting)) < max(MIN_TICKS - 1, 0.4 * len(steps)):
        return []
    edges = np.flatnonzero(np.diff(np.concatenate(([False], fitting, [False])).astype(np.int8)))
    runs = sorted(((end - start, start) for start, end in edges.reshape(-1, 2)), reverse=True)[:2]
    return [int(start + length // 2) for length, start in runs if length >= 2]


def bend_degree(ticks: int) -> int:
    """Degree of the polynomial that may be fitted to so many ticks: fewer cannot tell a bend from chance."""
    return 1 if ticks < 8 else 2 if ticks < 12 else 3


def _grow(positions: np.ndarray, start: float, spacing: float) -> Comb | None:
    """Number the marks outwards from a seed; the course is corrected as the numbers grow, so that none slips."""
    away = (positions - start) / spacing
    course = np.array([1.0, 0.0])  # from distance, in first guesses of the spacing, to number
    reach = 2
    while True:
        exact = np.polyval(course, away)
        number = np.rint(exact)
        within = np.abs(away) <= reach + 0.5
        near = within & (np.abs(exact - number) < _INLIER)
        count = int(np.count_nonzero(near))
        if count < 3 or count < 0.5 * np.count_nonzero(within) or number[near].min() == number[near].max():
            return None
        if reach > np.abs(away).max():
            return _judge(positions, number, exact - number)
        course = np.polyfit(away[near], number[near], bend_degree(count))
        if not abs(course[-2] - 1.0) < 0.2:
            return None
        reach *= 2


def _judge(positions: np.ndarray, number: np.ndarray, residual: np.ndarray) -> Comb | None:
    """The comb of numbered marks, or None where too many are missing, extra or out of place (residuals in spacings)."""
    inlier = np.abs(residual) < _INLIER
    if np.count_nonzero(inlier) < MIN_TICKS:
        return None
    first, last = _longest_run(np.unique(number[inlier]))
    part = (number >= first) & (number <= last)
    seen, at = np.unique(number[inlier & part], return_index=True)
    if len(seen) < MIN_TICKS:
        return None
    quality = len(seen) / (last - first + 1) * len(seen) / np.count_nonzero(part)
    places = positions[inlier & part][at]
    spacing = float(places[-1] - places[0]) / float(seen[-1] - seen[0])
    rms = float(np.sqrt(np.mean(residual[inlier & part] ** 2)))
    if quality < _MIN_QUALITY or rms > max(_MAX_RMS, _ROUGH_PX / spacing) or spacing < MIN_SPACING_PX:
        return None
    course = np.polyfit(seen, places, bend_degree(len(seen)))
    return Comb(spacing, tuple(course.tolist()), int(first), int(last), len(seen), float(quality))


def _longest_run(numbers: np.ndarray) -> tuple[int, int]:
    """First and last of the longest run of sorted numbers without a gap of more than `_LONGEST_GAP`."""
    breaks = np.flatnonzero(np.diff(numbers) > _LONGEST_GAP + 1)
    starts = np.concatenate(([0], breaks + 1))
    ends = np.concatenate((breaks, [len(numbers) - 1]))
    longest = int(np.argmax(ends - starts))
    return int(numbers[starts[longest]]), int(numbers[ends[longest]])


def measure_marks(
    profile: np.ndarray, valid: np.ndarray, places: np.ndarray, spacing: float
) -> tuple[np.ndarray, np.ndarray]:
    """Where the marks near the given places are exactly, and how much they stand out.

    The centre is the centroid of what rises over the paper (a line through its level on both sides) under a Gaussian
    window that is moved until it sits on the centroid; symmetric blur and slopes of light do not move it.

    Args:
        profile, valid: as for `find_comb`.
        places: (k,) expected positions in samples, right to a quarter of the spacing.
        spacing: of the comb.

    Returns:
        (k,) centres in samples and (k,) heights; NaN where the place lies too near the profile's end.
    """
    half = max(2, int(np.ceil(spacing / 2)))
    offsets = np.arange(-half, half + 1)
    sigma = max(1.0, 0.2 * spacing)
    centre = places.astype(np.float64)
    height = np.full(len(places), np.nan)
    inside = np.ones(len(places), bool)
    for _ in range(6):
        # The window moves with the centre; one that stayed behind would hold the centre back.
        index = np.round(centre).astype(int)[:, None] + offsets[None, :]
        inside &= (index[:, 0] >= 0) & (index[:, -1] < len(profile))
        index = np.clip(index, 0, len(profile) - 1)
        inside &= valid[index].all(axis=1)
        away = index - centre[:, None]
        values = profile[index]
        paper = _paper_level(away, values, spacing)
        weight = np.exp(-0.5 * (away / sigma) ** 2)
        height = (weight * (values - paper)).sum(axis=1) / weight.sum(axis=1)
        mass = np.maximum(weight * (values - paper), 0.0) / _light(paper)
        step = (mass * away).sum(axis=1) / np.maximum(mass.sum(axis=1), 1e-9)
        centre = np.where(inside, centre + np.clip(step, -0.25 * spacing, 0.25 * spacing), centre)
    return np.where(inside, centre, np.nan), np.where(inside, height, np.nan)


def mark_shapes(profile: np.ndarray, centres: np.ndarray, spacing: float) -> np.ndarray:
    """How the marks at the given centres (k,) rise over the paper: (k, 33), over one spacing each."""
    away = np.linspace(-0.5, 0.5, 33)[None, :] * spacing
    values = np.interp(centres[:, None] + away, np.arange(len(profile)), profile)
    return values - _paper_level(np.broadcast_to(away, values.shape), values, spacing)


def likeness(shapes: np.ndarray) -> float:
    """How much alike the shapes (n, m) are: the part of them that their common (median) shape explains, up to 1."""
    total = float(np.sum(shapes**2))
    return 1.0 - float(np.sum((shapes - np.median(shapes, axis=0)) ** 2)) / total if total > 0 else 0.0


def _light(paper: np.ndarray) -> np.ndarray:
    """What to divide a mark (row) by where the light falls off: ink takes away a part of the light, not an amount."""
    light = np.abs(paper)
    bright: np.ndarray = light.min(axis=1, keepdims=True) > _BRIGHT_ENOUGH
    return np.where(bright, light, 1.0)


def _paper_level(away: np.ndarray, values: np.ndarray, spacing: float) -> np.ndarray:
    """A line through the paper on the left and on the right of each mark: same shape as ``values``."""
    aside = np.abs(away) > 0.3 * spacing
    left, right = aside & (away < 0), aside & (away > 0)

    def mean(part: np.ndarray, of: np.ndarray) -> np.ndarray:
        return (part * of).sum(axis=1, keepdims=True) / np.maximum(part.sum(axis=1, keepdims=True), 1)

    left_at, right_at = mean(left, away), mean(right, away)
    left_level, right_level = mean(left, values), mean(right, values)
    slope = (right_level - left_level) / np.maximum(right_at - left_at, 1e-9)
    level: np.ndarray = left_level + slope * (away - left_at)
    return level
