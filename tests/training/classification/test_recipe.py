"""Every named recipe loads and names a network that answers; wrong recipes are refused by what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from calibration.errors import ScalpScopeError
from device_app.manifest_parts import STAGES, Task
from tests.support.tiny_classifier import RECIPE
from training import recipes
from training.classification.augment import Augmentation
from training.classification.network import Classifier
from training.classification.pretrain import load_pretrain_recipe
from training.classification.recipe import check_labels, load_recipe, recipe_from_dict, recipe_names
from training.classification.sampling import Sampling

LABELS = {Task.CONDITIONS: (), Task.SCALP_CONDITION: ("healthy", "psoriasis"), Task.HAIR_LOSS_STAGE: STAGES}


def test_the_backbones_of_the_issue_are_named() -> None:
    backbones = {load_recipe(name).classifier.backbone for name in recipe_names()}
    assert backbones == {
        "efficientnet_lite0", "densenet169", "efficientformerv2_s2", "efficientformer_l1", "efficientnet_b0",
        "resnet50", "resnext50_32x4d", "vgg16", "vgg19", "vit_small_patch16_224",
    }  # fmt: skip
    assert recipes.recipe_names("pretraining") == ["pretrain"]
    assert load_pretrain_recipe("pretrain").pretraining.backbone == load_recipe("conditions").classifier.backbone


@pytest.mark.parametrize("name", recipe_names())
def test_a_named_recipes_network_answers(name: str) -> None:
    section = load_recipe(name).classifier
    config = section.config(LABELS[section.task])
    with torch.device("meta"), torch.no_grad():  # shapes without the arithmetic: VGG19 has 20 million weights
        answer = Classifier(config).eval()(torch.zeros(2, config.planes, config.height, config.width))
    maps = 3 if section.task is Task.CONDITIONS else len(config.labels)
    assert answer.presence.shape == (2, 3 if section.task is Task.CONDITIONS else 0)
    assert answer.classes.shape == (2, len(config.labels))
    assert answer.maps.shape[:2] == (2, maps) and min(answer.maps.shape[2:]) >= 7


@pytest.mark.parametrize("name", [name for name in recipe_names() if name.startswith("table3_")])
def test_the_recipes_of_table_3_are_the_papers(name: str) -> None:
    recipe = load_recipe(name)
    assert (recipe.classifier.width, recipe.classifier.height, recipe.classifier.pooling) == (224, 224, "mean")
    assert (recipe.training.optimizer, recipe.training.learning_rate, recipe.training.batch_size) == (
        "adamw",
        1e-4,
        128,
    )
    assert recipe.training.schedule == "cosine_restarts" and not recipe.training.ema_decay
    assert recipe.training.steps * 128 / 50639 == pytest.approx(50, rel=0.01)
    assert (recipe.losses.presence, recipe.losses.severity) == (1, 1)
    assert not (recipe.losses.quality or recipe.losses.location or recipe.data.synthetic_share)
    assert recipe.data.augmentation is Augmentation.NONE and recipe.data.sampling is Sampling.UNIFORM


def test_a_recipe_may_say_only_what_differs_from_another(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('base = "conditions"\n[training]\nseed = 7\n')
    mine, base = load_recipe(path), load_recipe("conditions")
    assert mine.training.seed == 7
    assert mine.model_copy(update={"training": base.training}) == base
    path.write_text('base = "hair_loss_stage"\n')
    with pytest.raises(ScalpScopeError, match="has a base itself"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("[data]\nshares = [0.9, 0.2, 0.1]", "shares"),
        ("[data]\naugmentation = 'mixup'", "augmentation"),
        ("[classifier]\ntask = 'hair'", "task"),
        ("[losses]\nfocal = 1.0", "focal"),
        ("[training]\nschedule = 'cosine_restarts'", "restart_steps"),
        ("[data]\nsynthetic_share = 0.9", "add up to more than 1"),
        ("[classifier]\ntask = 'scalp_condition'", "only conditions are drawn"),
        (
            "[classifier]\ntask = 'hair_loss_stage'\nmask = true\n[data]\nsynthetic_share = 0\n[losses]\nlocation = 0",
            "hair",
        ),
    ],
)
def test_a_wrong_recipe_is_refused_by_name(tmp_path: Path, change: str, said: str) -> None:
    tiny, path = tmp_path / "tiny.toml", tmp_path / "wrong.toml"
    tiny.write_text(RECIPE)
    path.write_text(f'base = "{tiny}"\n{change}\n')
    with pytest.raises(ScalpScopeError, match=said):
        load_recipe(path)


def test_options_of_a_recipe_survive_as_plain_values() -> None:
    recipe = load_recipe("conditions")
    assert recipe_from_dict(recipe.model_dump(mode="json"), "again") == recipe


def test_classes_must_be_those_of_the_task() -> None:
    check_labels(Task.CONDITIONS, ())
    check_labels(Task.HAIR_LOSS_STAGE, STAGES)
    with pytest.raises(ScalpScopeError, match="stages of hair loss are 0, 1, 2, 3, 4"):
        check_labels(Task.HAIR_LOSS_STAGE, ("mild", "severe"))
