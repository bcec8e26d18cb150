"""Do flakes, glints and bubbles pass for hair? M, the agreement of two views, is to make up less hair than M_AP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from training.data.backgrounds import BackgroundPool
from training.evaluation.bootstrap import Bootstrap, Figure
from training.evaluation.finder import Finder, Role
from training.segmentation.conditions import Condition, render_condition

GOAL = 1 / 3
"""False hair area of M over that of M_AP, at most."""

EDGE_PX = 3
"""False hair this near to true hair may be an edge drawn too wide; farther away it is something taken for hair."""

ROLES = (Role.COARSE, Role.REFINED, Role.HAIR)
_ALL = "all"


@dataclass(frozen=True)
class Cluttered:
    """One test picture: its condition, the image (H, W, 3) uint8 RGB, and the true hair (H, W) bool."""

    condition: Condition
    image: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True)
class FlakeScores:
    """What was made up in a group of pictures; by role of the masks, in the order of `ROLES`.

    Attributes:
        group: ``clutter``, ``clutter, no hair`` or ``all``.
        images: how many pictures.
        false_share: false hair area over picture area.
        far_share: the same, only what lies farther than `EDGE_PX` from all true hair.
        found_share: found hair area over true hair area; NaN without true hair.
        ratio, far_ratio: M's false hair area over M_AP's; NaN where M_AP's is none.
    """

    group: str
    images: int
    false_share: tuple[Figure, ...]
    far_share: tuple[Figure, ...]
    found_share: tuple[Figure, ...]
    ratio: Figure
    far_ratio: Figure

    @property
    def reached(self) -> bool:
        """Whether M keeps to the goal; also where neither makes up any hair."""
        return not self.ratio.value > GOAL


def cluttered_pictures(count: int, seed: int, pool: BackgroundPool, size: tuple[int, int]) -> Iterator[Cluttered]:
    """`count` pictures of hair among flakes, gloss, glints and bubbles, and as many without hair, from `seed` on."""
    for place, condition in enumerate((Condition.CLUTTER, Condition.CLUTTER_HAIRLESS)):
        for number in range(count):
            drawn = render_condition(seed + place * count + number, condition, pool, size)
            yield Cluttered(condition, drawn.image, drawn.mask > 127)


def count_false_hair(found: np.ndarray, truth: np.ndarray) -> tuple[int, int, int, int, int]:
    """False hair, false hair far from true hair, found true hair, true hair, all; pixels of two (H, W) masks."""
    hair, true = found.astype(bool), truth.astype(bool)
    near = cv2.dilate(true.view(np.uint8), np.ones((2 * EDGE_PX + 1,) * 2, np.uint8)).astype(bool)
    pixels = (hair & ~true, hair & ~near, hair & true, true)
    return (*(int(np.count_nonzero(one)) for one in pixels), true.size)  # type: ignore[return-value]


def flake_test(finder: Finder, pictures: Iterable[Cluttered]) -> list[FlakeScores]:
    """Each condition, then all pictures together.

    Args:
        finder: gives one row of each of `ROLES`.
        pictures: see `cluttered_pictures`.
    """
    names = {row.name: ROLES.index(row.role) for row in finder.rows if row.role in ROLES}
    groups: list[str] = []
    counts: list[list[tuple[int, ...]]] = []
    for picture in pictures:
        one: list[tuple[int, ...]] = [()] * len(ROLES)
        for found in finder.find(picture.image, names):
            one[names[found.row]] = count_false_hair(found.mask, picture.truth)
        groups.append(picture.condition.value)
        counts.append(one)
    table = np.array(counts, np.float64)
    shown = {group: np.array([one == group for one in groups]) for group in dict.fromkeys(groups)}
    return [_score(group, table[chosen]) for group, chosen in shown.items()] + [_score(_ALL, table)]


def _score(group: str, counts: np.ndarray) -> FlakeScores:
    """`counts`: (pictures, roles, figures of `count_false_hair`)."""
    pictures, roles, kinds = counts.shape
    bootstrap = Bootstrap(pictures)

    def shares(part: int, whole: int) -> tuple[Figure, ...]:
        def statistic(weights: np.ndarray) -> np.ndarray:
            summed = (weights @ counts.reshape(pictures, -1)).reshape(-1, roles, kinds)
            return _over(summed[..., part], summed[..., whole])

        return tuple(bootstrap.figures(statistic))

    def ratio(kind: int) -> Figure:
        refined, hair = (counts[:, ROLES.index(role), kind] for role in (Role.REFINED, Role.HAIR))
        return bootstrap.figures(lambda weights: _over(weights @ hair, weights @ refined)[:, None])[0]

    return FlakeScores(group, pictures, shares(0, 4), shares(1, 4), shares(2, 3), ratio(0), ratio(1))


def _over(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole != 0)


def goal_line(scores: Sequence[FlakeScores]) -> str:
    """One sentence on the goal, from the pictures all together."""
    ratio = scores[-1].ratio
    if np.isnan(ratio.value):
        return "M_AP makes up no hair in these pictures: there is nothing that M could leave out."
    verdict = "reached" if scores[-1].reached else "missed"
    between = "" if ratio.low is None else f" ({ratio.low:.3f} to {ratio.high:.3f})"
    return f"False hair area of M over that of M_AP: {ratio.value:.3f}{between}; the goal, at most 1/3, is {verdict}."
