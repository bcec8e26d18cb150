"""Distillation from start to end with a small real SAM as the teacher: it learns, resumes, and keeps the decoder."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from segment_anything.modeling import Sam
from support.tiny_teacher import tiny_teacher

from calibration.errors import ScalpScopeError
from device_app.images import write_png_atomically
from training.checkpoint import load_state
from training.cli import call
from training.prompting.checkpoints import Variant, build
from training.prompting.distil import (
    DistilRecipe,
    adopt_decoder,
    distil,
    distil_recipe_from_dict,
    embedding_loss,
    load_distil_recipe,
    split_by_picture,
)
from training.prompting.embeddings import CachedEmbedding
from training.prompting.recipe import load_recipe
from training.prompting.student import Prompts, Student, StudentConfig, from_official, load_student
from training.recipes import recipe_names

TINY = """
[distilled]
backbone = "resnet18d"
backbone_options = { channels = [8, 8, 16, 16], stem_width = 8 }
width = 96
height = 64
fine_channels = 4
mlp_dim = 2048
[teaching]
views = 2
validation_share = 0.5
[training]
steps = 8
batch_size = 2
optimizer = "adamw"
learning_rate = 5e-3
schedule = "cosine"
warmup_steps = 2
clip_norm = 1.0
ema_decay = 0.5
log_every = 1
validate_every = 4
checkpoint_every = 2
workers = 0
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums are then added up in the same order, and small work is not slowed by sharing it out."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def teacher() -> Sam:
    return tiny_teacher()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drawn pictures of a few hairs."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(2):
        rng = np.random.default_rng(seed)
        image = np.full((96, 128, 3), (205, 170, 150), np.uint8)
        for _ in range(5):
            ends = rng.integers(0, 96, 4)
            cv2.line(image, (int(ends[0]), int(ends[1])), (int(ends[2]), int(ends[3])), (40, 30, 25), 3, cv2.LINE_AA)
        write_png_atomically(folder / f"{seed}.png", image)
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> DistilRecipe:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return load_distil_recipe(path)


@pytest.fixture(scope="module")
def whole_run(recipe: DistilRecipe, teacher: Sam, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    result = distil(recipe, teacher, pictures, run, cpu=True)
    assert (result.step, result.finished) == (8, True)
    return run


def _changed(recipe: DistilRecipe, **training: object) -> DistilRecipe:
    values = recipe.model_dump()
    return distil_recipe_from_dict({**values, "training": {**values["training"], **training}}, "changed")


def _rows(run: Path) -> list[dict[str, str]]:
    with (run / "curves.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def test_two_pictures_are_learned(recipe: DistilRecipe, teacher: Sam, pictures: Path, tmp_path: Path) -> None:
    values = _changed(recipe, steps=60, validate_every=30, checkpoint_every=60, ema_decay=0.0).model_dump()
    both = distil_recipe_from_dict({**values, "teaching": {"views": 1, "validation_share": 0.0}}, "both")
    result = distil(both, teacher, pictures, tmp_path / "run", cpu=True)
    rows = _rows(tmp_path / "run")
    assert float(rows[-1]["validation_loss"]) < 0.5 * float(rows[0]["loss"])
    assert result.best_cosine > 0.7
    assert float(rows[-1]["cosine"]) == pytest.approx(result.best_cosine, abs=0.1)


def test_what_a_run_leaves(whole_run: Path, teacher: Sam) -> None:
    assert {path.name for path in whole_run.iterdir()} == {
        "best.pt", "checkpoint.pt", "curves.csv", "curves.png", "embeddings", "recipe.json", "weights.pt",
    }  # fmt: skip
    assert [row["step"] for row in _rows(whole_run) if row["cosine"]] == ["4", "8"]
    student = load_student(whole_run / "weights.pt")
    assert (student.config.width, student.config.height, student.config.mlp_dim) == (96, 64, 2048)
    # The running mean of the encoder, not the encoder at its last step.
    state = load_state(whole_run / "checkpoint.pt")
    assert state.ema is not None
    weights = student.image_encoder.state_dict()
    assert torch.equal(weights["neck.0.weight"], state.ema["module.neck.0.weight"])
    assert not torch.equal(weights["neck.0.weight"], state.model["neck.0.weight"])
    own, theirs = student.mask_decoder.state_dict(), teacher.mask_decoder.state_dict()
    assert all(torch.equal(own[name], theirs[name]) for name in theirs)


def test_a_stopped_run_resumes_to_the_very_same_weights(
    recipe: DistilRecipe, teacher: Sam, pictures: Path, whole_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "stopped"
    stops = 0
    result = distil(recipe, teacher, pictures, run, minutes=0.0, cpu=True)
    while not result.finished:
        stops += 1
        result = distil(recipe, teacher, pictures, run, resume=True, minutes=0.0, cpu=True)
    assert stops == 7
    one, two = load_state(run / "checkpoint.pt"), load_state(whole_run / "checkpoint.pt")
    assert one.best_dice == two.best_dice
    assert one.ema is not None and two.ema is not None
    for ours, theirs in ((one.model, two.model), (one.ema, two.ema)):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for name in ("weights.pt", "best.pt"):
        ours, theirs = load_student(run / name).state_dict(), load_student(whole_run / name).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    # Stopping after every step leaves no rows between those that are logged anyway.
    assert _rows(run) == _rows(whole_run)


def test_runs_that_do_not_fit_are_refused(
    recipe: DistilRecipe, teacher: Sam, pictures: Path, whole_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(ScalpScopeError, match="already holds a run"):
        distil(recipe, teacher, pictures, whole_run, cpu=True)
    with pytest.raises(ScalpScopeError, match=r"There is no file"):
        distil(recipe, teacher, pictures, tmp_path / "none", resume=True, cpu=True)
    with pytest.raises(ScalpScopeError, match="another recipe"):
        distil(_changed(recipe, seed=9), teacher, pictures, whole_run, resume=True, cpu=True)
    with pytest.raises(ScalpScopeError, match="pictures or the teacher"):
        distil(recipe, tiny_teacher(seed=2), pictures, whole_run, cache=tmp_path / "c", resume=True, cpu=True)
    with pytest.raises(ScalpScopeError, match="pictures or the teacher"):
        distil(recipe, teacher, pictures / "0.png", whole_run, resume=True, cpu=True)


def test_another_decoder_is_refused_before_anything_is_made(
    recipe: DistilRecipe, teacher: Sam, pictures: Path, tmp_path: Path
) -> None:
    values = recipe.model_dump()
    narrow = distil_recipe_from_dict({**values, "distilled": {**values["distilled"], "mlp_dim": 256}}, "narrow")
    with pytest.raises(ScalpScopeError, match=r"MLPs of 2048, the student's of 256. Set mlp_dim = 2048"):
        distil(narrow, teacher, pictures, tmp_path / "run", cpu=True)
    assert not (tmp_path / "run").exists()


def _config(width: int, height: int, fine_channels: int) -> StudentConfig:
    options = {"channels": [8, 8, 16, 16], "stem_width": 8}
    return StudentConfig("resnet18d", options, width, height, fine_channels, mlp_dim=2048)


@pytest.mark.parametrize("fine_channels", [0, 4])
def test_with_the_teachers_embedding_a_student_gives_the_teachers_masks(teacher: Sam, fine_channels: int) -> None:
    """On a square input both count positions alike, so the decoder must answer the very same."""
    student = Student(_config(128, 128, fine_channels)).eval()
    adopt_decoder(student, teacher)
    generator = torch.Generator().manual_seed(4)
    embedding = torch.randn(1, 256, 8, 8, generator=generator)
    coords, labels = torch.tensor([[[20.0, 30.0], [90.0, 70.5], [0.0, 0.0]]]), torch.tensor([[1.0, 0.0, -1.0]])
    prompts = Prompts(coords, labels, torch.zeros(1, 1, 32, 32), torch.zeros(1))
    fine = torch.randn(1, fine_channels, 64, 64, generator=generator) if fine_channels else None
    with torch.no_grad():
        ours = student.decode(embedding, fine, prompts)
        # segment-anything's own way, which adds the padding point by itself.
        sparse, dense = teacher.prompt_encoder(points=(coords[:, :2], labels[:, :2]), boxes=None, masks=None)
        low, iou = teacher.mask_decoder.predict_masks(embedding, teacher.prompt_encoder.get_dense_pe(), sparse, dense)
    torch.testing.assert_close(ours.low, low, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.iou, iou, rtol=1e-4, atol=1e-5)
    if fine_channels:
        enlarged = torch.nn.functional.interpolate(low, scale_factor=4.0, mode="bilinear", align_corners=False)
        assert ours.full is not None
        torch.testing.assert_close(ours.full, enlarged, rtol=1e-4, atol=1e-5)


def test_positions_in_a_wide_picture_are_those_of_one_in_the_middle_of_the_square(teacher: Sam) -> None:
    """Points and grid alike: a student of 128x96 counts as SAM does for rows 16 to 112 of its 128."""
    student, square = Student(_config(128, 96, 0)), from_official(teacher)
    adopt_decoder(student, teacher)
    coords = torch.tensor([[[20.0, 30.0], [90.0, 70.5]]])
    labels = torch.ones(1, 2)
    with torch.no_grad():
        ours, theirs = (
            student.embed_points(coords, labels),
            square.embed_points(coords + torch.tensor([0.0, 16.0]), labels),
        )
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            student.prompt_encoder.get_dense_pe(), square.prompt_encoder.get_dense_pe()[:, :, 1:7], rtol=1e-4, atol=1e-5
        )


def test_the_loss_is_hubers_over_the_valid_cells() -> None:
    found, target = torch.zeros(1, 2, 1, 2), torch.tensor([[[[0.5, 9.0]], [[3.0, 9.0]]]])
    loss = embedding_loss(found, target, torch.tensor([[[1.0, 0.0]]]))
    assert float(loss) == pytest.approx((0.5 * 0.5**2 + (3.0 - 0.5)) / 2)


def test_copies_of_one_original_are_held_out_together() -> None:
    names = [f"p{i}.rf.{copy}.jpg" for i in range(6) for copy in "ab"]
    entries = [CachedEmbedding(Path(name), view, Path(f"{name}_{view}.npy")) for name in names for view in range(2)]
    learned, held_out = split_by_picture(entries, 0.34)
    assert len(held_out) == 2 * 2 * 2 and len(learned) + len(held_out) == len(entries)
    assert not {e.picture.name[:2] for e in learned} & {e.picture.name[:2] for e in held_out}


def test_the_packaged_recipe_fits_official_teachers() -> None:
    recipe = load_distil_recipe("distilled")
    with torch.device("meta"):
        sam = build(Variant.VIT_H)
    assert recipe.distilled.mlp_dim == sam.mask_decoder.transformer.mlp_dim
    assert recipe.distilled.model_dump().keys() == load_recipe("student").student.model_dump().keys()
    assert "distilled" not in recipe_names("student") and recipe_names("distilled") == ["distilled"]


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(TINY.replace("views = 2", "views = 3\nviewz = 1"), encoding="utf-8")
    with pytest.raises(ScalpScopeError, match=r"teaching\.views.*teaching\.viewz"):
        load_distil_recipe(path)


def test_the_command_teaches_from_a_checkpoint_file(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher, recipe, run = tmp_path / "mobile_sam.pt", tmp_path / "tiny.toml", tmp_path / "run"
    torch.manual_seed(3)
    torch.save(build(Variant.MOBILE_SAM).state_dict(), teacher)
    recipe.write_text(TINY.replace("views = 2", "views = 1"), encoding="utf-8")
    words = ["prompting", "distil", "--teacher", str(teacher), "--data", str(pictures / "0.png")]
    words += ["--run", str(run), "--cpu"]
    assert call([*words, "-c", str(recipe), "--steps", "2", "--minutes", "0"]) == 0
    assert "1 steps done, stopped; --resume goes on." in capsys.readouterr().out
    assert call([*words, "--resume"]) == 0
    out = capsys.readouterr().out
    assert "2 steps done, finished. Best cosine with the teacher on held-out pictures" in out
    assert load_student(run / "best.pt").config.width == 96
    assert call([*words, "--resume", "--steps", "5"]) == 2
    assert "--resume goes on with the run's own recipe." in capsys.readouterr().err
    assert call(words) == 2
    assert "Add --config distilled" in capsys.readouterr().err
