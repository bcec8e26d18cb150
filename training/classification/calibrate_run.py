"""`calibrated.pt`: the best weights of a run, calibrated on the run's own validation pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from calibration.errors import ScalpScopeError
from device_app.manifest_parts import Task
from training.checkpoint import BEST, CHECKPOINT, load_state
from training.classification.calibrate import FEWEST_ORIGINALS, claimed_conditions, fit
from training.classification.checkpoint import CALIBRATED, Judgement, load_classifier, save_calibrated
from training.classification.dataset import SEEDS_PER_RUN
from training.classification.examine import spread, ungradable_pictures
from training.classification.judges import NetworkJudge, hair_finder
from training.classification.limits import MOST_GOOD_REFUSED
from training.classification.pictures import DRAWN, REAL, DrawnPictures, LabelledPictures, PictureSource, Several
from training.classification.predictions import Advance, predict_pictures
from training.classification.recipe import Recipe, recipe_from_dict
from training.classification.train import TrainingData, bare_skin, read_data
from training.data.examples import ExampleSet, Split
from training.data.graded_scalp import FIRST_TRAINING_SEED, VALIDATION_SEEDS
from training.data.ungradable import TRAINING_FAMILIES

DRAWN_VALIDATION = 300
EACH_FAMILY = 8
"""Things of each family that is no scalp; only families that training may use."""

SEED = 2
"""Of what is spoilt and drawn to be refused; the evaluation takes another."""

_MOST_TRAINING = 1000  # training pictures, real and drawn each, that the distance is measured from


def calibrate_run(
    run: Path,
    data: Sequence[Path] = (),
    layout: str | None = None,
    drawn: int = DRAWN_VALIDATION,
    fewest: int = FEWEST_ORIGINALS,
    claim_drawn: bool = True,
    most_refused: float = MOST_GOOD_REFUSED,
    batch_size: int = 16,
    cpu: bool = False,
    begin: Callable[[int], Advance] = lambda total: lambda count: None,
) -> Judgement:
    """Calibrate the best weights of a run and write `calibrated.pt` into its folder.

    Test pictures are not looked at.

    Args:
        run: folder of the run.
        data, layout: those it was trained with.
        drawn: validation drawings, of a run that has seen any.
        fewest, claim_drawn: see `claimed_conditions`.
        most_refused: share of the good pictures of each kind that may be refused.
        batch_size: pictures that are asked about at a time.
        cpu: use the CPU also where there is a GPU.
        begin: told how many pictures there will be, gives what is told how many more are done.

    Raises:
        ScalpScopeError: the folder holds no classifier's run, the pictures are not those it was trained with, or one
            cannot be read.
    """
    network = load_classifier(run / BEST)
    recipe = run_recipe(run)
    found = read_data(recipe, data, layout, say=False)
    if (run / CHECKPOINT).is_file() and load_state(run / CHECKPOINT).backgrounds != found.digest:
        raise ScalpScopeError(
            f"The pictures or their labels are not those that {run} was trained with.",
            "Give the same --data and --layout.",
        )
    learned, held = found.examples(Split.TRAIN), found.examples(Split.VALIDATION)
    weak, size = recipe.data.weak_severity, (network.config.width, network.config.height)
    with_drawn = network.config.task is Task.CONDITIONS and (learned is None or recipe.data.synthetic_share > 0)

    training: list[PictureSource] = []
    good: dict[str, PictureSource] = {}
    if learned is not None and held is not None:
        training.append(spread(LabelledPictures(learned), _MOST_TRAINING))
        good[REAL] = LabelledPictures(held, weak)
    if with_drawn and drawn:
        first = FIRST_TRAINING_SEED + recipe.training.seed * SEEDS_PER_RUN
        training.append(DrawnPictures(range(first, first + drawn), size, bare_skin(learned)))
        good[DRAWN] = DrawnPictures(VALIDATION_SEEDS[:drawn], size)
    bad = ungradable_pictures(list(good.values()), EACH_FAMILY, size, TRAINING_FAMILIES, SEED)
    advance = begin(sum(map(len, [*training, *good.values(), bad])))

    device = torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu")
    judge = NetworkJudge(network.to(device), hair_masks=hair_finder(network.config.mask))
    fitted = fit(
        network.config.task,
        predict_pictures(judge, Several(*training), batch_size, advance),
        {kind: predict_pictures(judge, source, batch_size, advance) for kind, source in good.items()},
        predict_pictures(judge, bad, batch_size, advance),
        network.config.labels,
        most_refused,
    )
    conditions = network.config.task is Task.CONDITIONS
    judgement = Judgement(
        calibration=fitted.calibration,
        temperature=fitted.temperature,
        limits=fitted.limits,
        unlikeness=fitted.unlikeness,
        claimed=claimed_conditions(_learned_and_held(found), fewest, claim_drawn) if conditions else None,
        quality=fitted.quality,
        trained_on=_trained_on(recipe, found, with_drawn),
    )
    save_calibrated(network, judgement, run / CALIBRATED, recipe.model_dump(mode="json"))
    return judgement


def run_recipe(run: Path) -> Recipe:
    """The recipe that a run was trained by.

    Raises:
        ScalpScopeError: the folder holds no run of a classifier.
    """
    path = run / "recipe.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ScalpScopeError(
            f"{run} holds no run: {path.name} cannot be read.", "Give the folder of a run."
        ) from error
    return recipe_from_dict(values, str(path))


def _learned_and_held(found: TrainingData) -> ExampleSet | None:
    """Training and validation pictures together; None where there are none."""
    learned, held = found.examples(Split.TRAIN), found.examples(Split.VALIDATION)
    if learned is None or held is None:
        return None
    return learned.having((*learned.examples, *held.examples))


def _trained_on(recipe: Recipe, found: TrainingData, drawn: bool) -> str:
    learned = found.examples(Split.TRAIN)
    told = []
    if learned is not None:
        groups = len({one.group for one in learned.examples})
        told.append(f"{len(learned)} pictures of {groups} patients or originals of {learned.name}")
    if drawn:
        told.append("drawn scalps with stated grades, which are no clinical grades")
    if recipe.classifier.pretrained:
        told.append(f"starting from {Path(recipe.classifier.pretrained).name}")
    return f"{'; '.join(told)}."
