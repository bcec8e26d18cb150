"""One page to look at: the worst and the middling pictures, with what each mask missed and what it made up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from training.evaluation.evaluate import Tally
from training.evaluation.finder import Finder, Role
from training.evaluation.pairs import Pair, read_pair

MISSED, FALSE = (0, 114, 178), (230, 159, 0)
"""Blue and orange, RGB, of the palette of Okabe and Ito (2008): told apart with any colour vision."""

_EACH = 3  # worst ones, and middling ones
_NETWORKS = (Role.COARSE, Role.REFINED, Role.HAIR)


@dataclass(frozen=True)
class Case:
    """One line of the sheet.

    title: what picture it is.  image: (H, W, 3) uint8 RGB.  truth: (H, W) bool.  masks: by their names, (H, W).
    """

    title: str
    image: np.ndarray
    truth: np.ndarray
    masks: Mapping[str, np.ndarray]


def pick_pictures(jaccard: np.ndarray, each: int = _EACH) -> list[tuple[int, str]]:
    """The `each` worst pictures and the `each` about the median, fewer where there are few; index and which it is.

    Args:
        jaccard: (N,) of each picture.
    """
    order = np.argsort(jaccard, kind="stable").tolist()
    worst, rest = order[:each], order[each:]
    start = max(0, min(len(order) // 2 - each // 2 - each, len(rest) - each))
    return [(index, "worst") for index in worst] + [(index, "median") for index in rest[start : start + each]]


def tint_errors(image: np.ndarray, found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The picture in pale grey, missed hair blue, false hair orange; (H, W, 3) uint8 RGB.

    Args:
        image: (H, W, 3) uint8 RGB.
        found, truth: (H, W), not 0 where hair is.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) // 2 + 100
    tinted = np.repeat(grey[..., None], 3, axis=2)
    hair, true = found.astype(bool), truth.astype(bool)
    tinted[true & ~hair] = MISSED
    tinted[hair & ~true] = FALSE
    return tinted


def sheet_cases(tallies: Sequence[Tally], finders: Sequence[Finder], pairs: Sequence[Pair]) -> list[Case]:
    """The lines of the sheet: masks of the first bundle, pictures ranked by M, or by M̂ where there is no M.

    The chosen pictures are run once more: keeping the masks of all would take too much memory.

    Raises:
        ValueError: none of the tallies is of a bundle.
    """
    networks = [tally for tally in tallies if tally.row.role in _NETWORKS]
    if not networks:
        raise ValueError("no row of a bundle to draw")
    networks = [tally for tally in networks if tally.row.bundle == networks[0].row.bundle]
    networks.sort(key=lambda tally: _NETWORKS.index(tally.row.role))
    names = [tally.row.name for tally in networks]
    cases = []
    for index, which in pick_pictures(networks[-1].jaccard):
        image, truth = read_pair(pairs[index])
        found = {one.row: one.mask for finder in finders for one in finder.find(image, set(names))}
        scored = {f"{t.row.name}, Jaccard {t.jaccard[index]:.3f}": found[t.row.name] for t in networks}
        cases.append(Case(f"{which}: {pairs[index].image.name}", image, truth, scored))
    return cases


def draw_sheet(cases: Sequence[Case], path: Path) -> None:
    """Draw the lines to a PNG: picture, truth, and each mask with its errors tinted."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 2 + max(len(case.masks) for case in cases)
    figure = Figure(figsize=(3.2 * columns, 2.75 * len(cases) + 0.5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle("Blue: hair that was missed. Orange: hair that is none.", fontsize=11)
    for row, case in zip(figure.subplots(len(cases), columns, squeeze=False), cases, strict=True):
        panels = {case.title: case.image, "truth": np.where(case.truth[..., None], np.uint8([255] * 3), np.uint8(0))}
        panels |= {name: tint_errors(case.image, mask, case.truth) for name, mask in case.masks.items()}
        for axes in row:
            axes.axis("off")
        for axes, (name, panel) in zip(row, panels.items(), strict=False):
            axes.imshow(panel, interpolation="antialiased")
            axes.set_title(name, fontsize=9)
    figure.savefig(path)
