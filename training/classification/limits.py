"""Beyond which doubt a picture is refused: limits chosen on validation pictures, by one stated rule.

Three measures say that a picture should not be judged: the network's own probability that it is out of focus or no
scalp, and its distance from the training pictures. Their limits are searched together, since one picture that two of
them refuse is refused once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import product

import numpy as np

from calibration.errors import ScalpScopeError
from device_app.manifest_classifiers import Limits
from device_app.vision.conditions import Quality, class_probabilities

MOST_GOOD_REFUSED = 0.01
"""Share of the good validation pictures that the limits may refuse; of the real and of the drawn ones alike."""

GIVEN_UP = 0.01
"""Share of the ungradable pictures that may be given up where a limit would otherwise lie close to the good ones."""

PROBABILITY_MARGIN = 0.05
"""No limit of a probability lies nearer above the good pictures that it passes."""
NEAREST, WIDEST = 1.1, 1.5
"""The distance's limit, over the farthest good picture that it passes: at least and at most."""

_STEPS = 12  # candidate limits of each measure


@dataclass(frozen=True)
class Doubt:
    """How doubtful pictures are.

    Attributes:
        brightness: (N,) mean grey level, 0..255.
        out_of_focus, no_scalp: (N,) probability by the network's `quality` output.
        distance: (N,) from the training pictures.
    """

    brightness: np.ndarray
    out_of_focus: np.ndarray
    no_scalp: np.ndarray
    distance: np.ndarray

    def __len__(self) -> int:
        return len(self.brightness)

    @classmethod
    def of(cls, brightness: np.ndarray, quality: np.ndarray, distance: np.ndarray) -> Doubt:
        """From brightness (N,), quality logits (N, 3) and distance (N,)."""
        believed = class_probabilities(quality, 1.0)
        return cls(brightness, believed[:, Quality.OUT_OF_FOCUS], believed[:, Quality.NO_SCALP], distance)

    @classmethod
    def together(cls, parts: Sequence[Doubt]) -> Doubt:
        """Several sets of pictures as one."""
        return cls(*(np.concatenate([getattr(one, field.name) for one in parts]) for field in fields(cls)))

    def refused(self, limits: Limits) -> np.ndarray:
        """(N,) bool: which of them `device_app.vision.conditions.refusal_of` refuses."""
        dark_or_bright = (self.brightness < limits.darkest) | (self.brightness > limits.brightest)
        doubtful = (self.out_of_focus > limits.most_out_of_focus) | (self.no_scalp > limits.most_no_scalp)
        return np.asarray(dark_or_bright | doubtful | (self.distance > limits.farthest))


def choose_limits(good: dict[str, Doubt], ungradable: Doubt, share: float = MOST_GOOD_REFUSED) -> Limits:
    """The limits, with the rule that made them.

    Args:
        good: unaltered validation pictures by their kind, such as real and drawn; of each kind at most `share` are
            refused.
        ungradable: pictures that should be refused: as many are as that allows.
        share: 0 to below 1.

    Raises:
        ScalpScopeError: there is no good picture.
    """
    good = {kind: one for kind, one in good.items() if len(one)}
    if not good:
        raise ScalpScopeError("There is no validation picture to choose limits from.", "Give a set that has some.")
    passed = Doubt.together(list(good.values()))
    darkest, brightest = float(passed.brightness.min()) / 2, (float(passed.brightness.max()) + 255) / 2
    seen = (ungradable.brightness >= darkest) & (ungradable.brightness <= brightest)

    budgets = {kind: int(share * len(one)) for kind, one in good.items()}
    base = _search(good, ungradable, seen, budgets)
    limits = Limits(
        darkest=darkest,
        brightest=brightest,
        **_with_margins(base, ungradable, seen),
        rule="to be said",
    )
    lost = ", ".join(f"{int(one.refused(limits).sum())} of {len(one)} {kind}" for kind, one in good.items())
    caught = f"{int(ungradable.refused(limits).sum())} of {len(ungradable)}"
    rule = (
        f"Of the unaltered validation pictures at most {100 * share:g} % of each kind are refused ({lost}), and within "
        f"that as many ungradable ones as can be ({caught}), but for {100 * GIVEN_UP:g} % that may be given up for "
        f"room; each limit lies halfway between the good pictures that it passes and the ungradable ones that it alone "
        f"refuses, at least {PROBABILITY_MARGIN:g} of probability or a factor of {NEAREST:g} of distance from the good "
        f"ones; darkest is half as bright as the darkest good picture, brightest halfway from the brightest to white."
    )
    return limits.model_copy(update={"rule": rule})


_MEASURES = ("out_of_focus", "no_scalp", "distance")


def _search(
    good: dict[str, Doubt], ungradable: Doubt, seen: np.ndarray, budgets: dict[str, int]
) -> tuple[float, float, float]:
    """Of the greatest values that good pictures may have: those that refuse most ungradable ones within the budgets."""
    allowed = sum(budgets.values())
    choices = []
    for measure in _MEASURES:
        values = np.sort(np.concatenate([getattr(one, measure) for one in good.values()]))[::-1]
        places = np.unique(np.linspace(0, min(allowed, len(values) - 1), _STEPS).round().astype(int))
        choices.append(np.unique(values[places])[::-1])  # the widest first
    beyond = {
        kind: [[getattr(one, measure) > limit for limit in limits] for measure, limits in zip(_MEASURES, choices)]
        for kind, one in (good | {"": ungradable}).items()
    }
    best, best_key = (0, 0, 0), (-1, 0)
    for first, second, third in product(*(range(len(limits)) for limits in choices)):
        refused = {kind: rows[0][first] | rows[1][second] | rows[2][third] for kind, rows in beyond.items()}
        if any(int(refused[kind].sum()) > budget for kind, budget in budgets.items()):
            continue
        key = (int((refused[""] & seen).sum()), -sum(int(refused[kind].sum()) for kind in budgets))
        if key > best_key:
            best, best_key = (first, second, third), key
    out_of_focus, no_scalp, distance = (float(limits[place]) for limits, place in zip(choices, best))
    return out_of_focus, no_scalp, distance


def _with_margins(base: tuple[float, float, float], ungradable: Doubt, seen: np.ndarray) -> dict[str, float]:
    """Move each limit away from the good pictures, towards the ungradable ones that no other limit refuses."""
    limits = dict(zip(_MEASURES, base))
    passed_over = int(GIVEN_UP * len(ungradable) / len(_MEASURES))  # one odd picture must not squeeze a limit
    for measure in _MEASURES:
        others = np.zeros(len(ungradable), bool)
        for other in _MEASURES:
            if other != measure:
                others |= getattr(ungradable, other) > limits[other]
        passed, values = limits[measure], getattr(ungradable, measure)
        alone = np.sort(values[seen & ~others & (values > passed)])[passed_over:]
        if measure == "distance":
            halfway = float(np.sqrt(passed * alone[0])) if len(alone) else np.inf
            limits[measure] = max(1e-6, min(max(halfway, NEAREST * passed), WIDEST * passed))
        else:
            halfway = (passed + (float(alone[0]) if len(alone) else 1.0)) / 2
            limits[measure] = min(1.0, max(halfway, passed + PROBABILITY_MARGIN))
    return {
        "most_out_of_focus": limits["out_of_focus"],
        "most_no_scalp": limits["no_scalp"],
        "farthest": limits["distance"],
    }
