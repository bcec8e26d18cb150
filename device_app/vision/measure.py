"""What a picture's hairs add up to: the figures a clinician reads, each by a stated rule and with its interval.

The rules (docs/measuring.md says them again for users):

- **hair count**: every hair traced, however little of it is seen.
- **density**: hairs with at least one end inside the picture, over the picture's area. A hair cut by the border at both
  ends has its root elsewhere and is not counted. A hair whose tip alone lies inside is counted as well as one whose
  root does: seen from above the two ends cannot be told apart, so where many hairs are cut the figure is high.
- **coverage**: share of the picture's pixels that are hair.
- **diameters**: of a hair, the median along it; of the picture, mean and standard deviation over its measured hairs. A
  hair whose diameter could not be measured counts in the count and the density and in no figure of diameter.
- **classes**: counts of measured hairs by the cuts of a named `HairClasses`; **thin fraction**: the share below its
  lower cut.
- **diameter diversity** (anisotrichosis): share of measured hairs whose diameter differs from the mean by more than
  20 % of it.
- **cumulative thickness**: diameters of the hairs that density counts, added up, over the picture's area; a hair not
  measured adds the mean.
"""

from __future__ import annotations

import numpy as np

from device_app.vision.certainty import shaped_like_hairs, sure_strands
from device_app.vision.diameter import Widths, measure_widths
from device_app.vision.hairs import TRICHOSCOPY, Figure, Hair, HairClasses, Measurements
from device_app.vision.intervals import (
    deviation_interval,
    mean_interval,
    poisson_interval,
    share_interval,
    sum_interval,
)
from device_app.vision.profiles import quantile_rows
from device_app.vision.tracing import Strand, trace_hairs
from device_app.vision.twins import join_twins

DIVERSITY_LIMIT = 0.20
"""A hair counts towards diversity when its diameter differs from the mean by more than this share of it."""

LEAST_HAIRS_FOR_SHARES = 5
"""Shares of fewer measured hairs are not stated."""

NO_SCALE = "no scale: calibrate first"
NO_HAIRS = "no hairs in picture"
NO_DIAMETERS = "no diameter could be measured"
TOO_FEW = "too few hairs measured"


def measure_hairs(
    image: np.ndarray,
    mask: np.ndarray,
    scale_um_per_px: float | None = None,
    scale_uncertainty_um_per_px: float = 0.0,
    classes: HairClasses = TRICHOSCOPY,
    probability: np.ndarray | None = None,
) -> Measurements:
    """Trace and measure every hair of a picture.

    Args:
        image: (H, W, 3) uint8 RGB, native resolution.
        mask: (H, W) uint8, 0 or 255, of the same size (`masks.hair_mask`).
        scale_um_per_px: micrometres per pixel; None leaves every physical figure without value.
        scale_uncertainty_um_per_px: its standard deviation; widens the intervals.
        classes: the cuts between vellus, intermediate and terminal.
        probability: (h, w) float, 0..1, of any size, that the mask was cut from. With it, what the network was not
            sure of is left out; see `vision.certainty`.

    Returns:
        The measurements; `hairs` longest first. See the module's rules.

    Raises:
        ValueError: picture and mask differ in size, or the scale is not a positive number.
    """
    if image.shape[:2] != mask.shape:
        raise ValueError(f"picture {image.shape[:2]} and mask {mask.shape} differ in size")
    if scale_um_per_px is not None and not (np.isfinite(scale_um_per_px) and scale_um_per_px > 0):
        raise ValueError(f"scale {scale_um_per_px!r} is not a positive number of micrometres per pixel")
    strands = trace_hairs(mask, image)
    if probability is not None:
        strands = sure_strands(strands, probability, mask.shape)
    strands, mask = join_twins(strands, image, mask)
    widths = measure_widths(image, mask, strands)
    if probability is not None:
        strands, widths = shaped_like_hairs(strands, widths, probability, mask.shape)
    hairs = _hairs(strands, widths)
    covered = float(np.count_nonzero(mask)) / mask.size
    return summarise(hairs, mask.shape, covered, scale_um_per_px, scale_uncertainty_um_per_px, classes)


def summarise(
    hairs: tuple[Hair, ...],
    shape: tuple[int, int],
    covered: float,
    scale_um_per_px: float | None = None,
    scale_uncertainty_um_per_px: float = 0.0,
    classes: HairClasses = TRICHOSCOPY,
) -> Measurements:
    """The figures of hairs already measured.

    Args:
        shape: (height, width) of the picture.
        covered: share of the picture's pixels that are hair.
    """
    diameters_px = np.array([hair.diameter_px for hair in hairs], np.float64)
    measured = np.isfinite(diameters_px)
    sizes_px = diameters_px[measured]
    counted = np.array([any(hair.ends_inside) for hair in hairs], bool)
    physical = _Physical(scale_um_per_px, scale_uncertainty_um_per_px, shape)
    counts = _class_counts(sizes_px, scale_um_per_px, classes)
    return Measurements(
        hair_count=len(hairs),
        scale_um_per_px=scale_um_per_px,
        classes=classes,
        density_per_cm2=physical.density(int(counted.sum())),
        coverage_fraction=_coverage(hairs, covered, shape),
        mean_diameter_px=_mean(sizes_px, len(hairs)),
        mean_diameter_um=physical.mean(sizes_px, len(hairs)),
        sd_diameter_um=physical.deviation(sizes_px, len(hairs)),
        vellus_count=counts[0],
        intermediate_count=counts[1],
        terminal_count=counts[2],
        diameter_diversity_fraction=_diversity(sizes_px),
        cumulative_thickness_mm_per_cm2=physical.thickness(diameters_px[counted]),
        thin_fraction=_share(counts[0], len(sizes_px)) if counts[0] is not None else Figure(None, reason=NO_SCALE),
        hairs=hairs,
    )


class _Physical:
    """The figures that need a scale."""

    def __init__(self, scale: float | None, uncertainty: float, shape: tuple[int, int]) -> None:
        self.scale = scale
        self.relative_sd = uncertainty / scale if scale else 0.0
        self.area_cm2 = shape[0] * shape[1] * scale**2 * 1e-8 if scale else 0.0

    def density(self, counted: int) -> Figure:
        if not self.scale:
            return Figure(None, reason=NO_SCALE)
        value = counted / self.area_cm2
        low, high = (bound / self.area_cm2 for bound in poisson_interval(counted))
        extra = 1.96 * 2 * self.relative_sd * value  # an area errs twice as much as a length
        return Figure(
            value, max(value - np.hypot(value - low, extra), 0.0), value + float(np.hypot(high - value, extra))
        )

    def mean(self, sizes_px: np.ndarray, hair_count: int) -> Figure:
        return (
            _mean(sizes_px * self.scale, hair_count, self.relative_sd) if self.scale else Figure(None, reason=NO_SCALE)
        )

    def deviation(self, sizes_px: np.ndarray, hair_count: int) -> Figure:
        if not self.scale:
            return Figure(None, reason=NO_SCALE)
        if len(sizes_px) < 2:
            return Figure(None, reason=_why_no_diameter(sizes_px, hair_count))
        sizes = sizes_px * self.scale
        return Figure(float(np.std(sizes, ddof=1)), *deviation_interval(sizes, self.relative_sd))

    def thickness(self, counted_px: np.ndarray) -> Figure:
        if not self.scale:
            return Figure(None, reason=NO_SCALE)
        measured = np.isfinite(counted_px)
        if len(counted_px) and not measured.any():
            return Figure(None, reason=NO_DIAMETERS)
        filled = np.where(measured, counted_px, counted_px[measured].mean() if measured.any() else 0.0)
        per_area = filled * self.scale * 1e-3 / self.area_cm2
        return Figure(float(per_area.sum()), *sum_interval(per_area, self.relative_sd))


def _hairs(strands: list[Strand], widths: list[Widths]) -> tuple[Hair, ...]:
    """Strands and their widths as hairs, numbered from 1."""
    if not strands:
        return ()
    table = np.stack([found.widths_px for found in widths]).astype(np.float64)
    low, middle, high = (quantile_rows(table, share) for share in (0.16, 0.5, 0.84))
    return tuple(
        Hair(
            id=number + 1,
            centre_line=found.centre_line,
            widths_px=found.widths_px,
            length_px=strand.length_px,
            diameter_px=float(middle[number]),
            diameter_spread_px=float((high[number] - low[number]) / 2),
            ends_inside=strand.ends_inside,
        )
        for number, (strand, found) in enumerate(zip(strands, widths))
    )


def _why_no_diameter(sizes_px: np.ndarray, hair_count: int) -> str:
    if hair_count == 0:
        return NO_HAIRS
    return TOO_FEW if len(sizes_px) else NO_DIAMETERS


def _mean(sizes: np.ndarray, hair_count: int, relative_sd: float = 0.0) -> Figure:
    if len(sizes) == 0:
        return Figure(None, reason=_why_no_diameter(sizes, hair_count))
    if len(sizes) == 1:
        return Figure(float(sizes[0]), reason="one hair: no interval")
    return Figure(float(np.mean(sizes)), *mean_interval(sizes, relative_sd))


def _share(count: int, total: int) -> Figure:
    if total < LEAST_HAIRS_FOR_SHARES:
        return Figure(None, reason=TOO_FEW if total else NO_HAIRS)
    return Figure(count / total, *share_interval(count, total))


def _class_counts(
    sizes_px: np.ndarray, scale: float | None, classes: HairClasses
) -> tuple[int, int, int] | tuple[None, None, None]:
    """Vellus, intermediate and terminal among the measured hairs."""
    if scale is None:
        return None, None, None
    sizes = sizes_px * scale
    vellus = int((sizes < classes.vellus_below_um).sum())
    terminal = int((sizes > classes.terminal_above_um).sum())
    return vellus, len(sizes) - vellus - terminal, terminal


def _diversity(sizes_px: np.ndarray) -> Figure:
    if len(sizes_px) < LEAST_HAIRS_FOR_SHARES:
        return Figure(None, reason=TOO_FEW if len(sizes_px) else NO_HAIRS)
    mean = sizes_px.mean()
    return _share(int((np.abs(sizes_px - mean) > DIVERSITY_LIMIT * mean).sum()), len(sizes_px))


def _coverage(hairs: tuple[Hair, ...], covered: float, shape: tuple[int, int]) -> Figure:
    """Coverage, its interval by the hairs' own areas as a compound Poisson sum."""
    areas = np.array([hair.length_px * hair.diameter_px for hair in hairs if np.isfinite(hair.diameter_px)])
    half = 1.96 * float(np.sqrt(np.sum(areas**2))) / (shape[0] * shape[1])
    return Figure(covered, max(covered - half, 0.0), min(covered + half, 1.0))
