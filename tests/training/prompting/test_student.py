"""The student is SAM where it says so: same prompts, same decoder, same answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

from calibration.errors import ScalpScopeError
from tests.support.tiny_student import HEIGHT, TINY, WIDTH, make_prompts, make_student, save_tiny_student
from training.prompting.student import PATCH, Prompts, from_official, load_student


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.randn((2, 3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_shapes_of_what_it_answers(image: torch.Tensor) -> None:
    masks = make_student()(image, make_prompts(7, count=2))
    assert masks.low.shape == (2, 4, HEIGHT // 4, WIDTH // 4)
    assert masks.full is not None and masks.full.shape == (2, 4, HEIGHT, WIDTH)
    assert masks.iou.shape == (2, 4)
    plain = make_student(replace(TINY, fine_channels=0))(image, make_prompts(7, count=2))
    assert plain.full is None and plain.low.shape == masks.low.shape


@torch.no_grad()
def test_no_point_at_all_is_an_answer_too(image: torch.Tensor) -> None:
    masks = make_student()(image, make_prompts(0, count=2))
    assert torch.isfinite(masks.low).all()


@torch.no_grad()
def test_each_picture_is_answered_by_itself(image: torch.Tensor) -> None:
    student, prompts = make_student(), make_prompts(5, count=2)
    both = student(image, prompts)
    for number in range(2):
        one = student(image[number : number + 1], Prompts(*(field[number : number + 1] for field in prompts)))
        assert torch.allclose(both.low[number], one.low[0], atol=1e-4)
        assert torch.allclose(both.iou[number], one.iou[0], atol=1e-4)


@torch.no_grad()
def test_points_are_embedded_as_segment_anything_does() -> None:
    student, prompts = make_student(), make_prompts(9)
    labels = prompts.labels.clone()
    labels[0, ::4] = -1
    ours = student.embed_points(prompts.coords, labels)
    theirs = student.prompt_encoder._embed_points(prompts.coords.clone(), labels.clone(), pad=False)
    assert torch.allclose(ours, theirs, atol=1e-6)


@torch.no_grad()
def test_the_mask_prompt_is_taken_only_where_there_is_one() -> None:
    student, prompts = make_student(), make_prompts(3, count=2)
    mixed = student.embed_mask(prompts._replace(has_mask=torch.tensor([1.0, 0.0])))
    _, given = student.prompt_encoder(None, None, prompts.mask)
    _, none = student.prompt_encoder((prompts.coords, prompts.labels), None, None)
    assert torch.allclose(mixed[0], given[0], atol=1e-6)
    assert torch.allclose(mixed[1], none[1].expand_as(mixed[1]), atol=1e-6)


@torch.no_grad()
def test_a_part_has_the_positions_it_has_within_the_whole() -> None:
    """Without this a student taught on parts of a picture would be lost in the whole one."""
    student = make_student()
    embedding = torch.randn((1, 256, 2, 3), generator=torch.Generator().manual_seed(3))
    whole = student.prompt_encoder.get_dense_pe()
    seen = []
    student.mask_decoder.predict = lambda e, f, position, s, d: seen.append(position)  # type: ignore[method-assign]
    prompts = make_prompts(2, 2 * PATCH, 3 * PATCH)
    student.decode(embedding, None, prompts, torch.tensor([[1, 2]]))
    assert torch.equal(seen[0], whole[:, :, 1:3, 2:5])


def tiny_official_sam() -> Sam:
    """segment-anything's own classes, small: 64 px, patches of 16."""
    torch.manual_seed(0)
    return Sam(
        image_encoder=ImageEncoderViT(
            img_size=64, patch_size=16, embed_dim=32, depth=2, num_heads=2, out_chans=256, window_size=2,
            use_rel_pos=True, global_attn_indexes=(1,),
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=256, image_embedding_size=(4, 4), input_image_size=(64, 64), mask_in_chans=16
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=64, num_heads=8),
            transformer_dim=256,
        ),
    ).eval()  # fmt: skip


@torch.no_grad()
def test_an_official_sam_answers_as_in_its_own_package() -> None:
    sam = tiny_official_sam()
    image = torch.randn((1, 3, 64, 64), generator=torch.Generator().manual_seed(2))
    prompts = make_prompts(6, 64, 64)
    found = from_official(sam)(image, prompts)
    sparse = sam.prompt_encoder._embed_points(prompts.coords.clone(), prompts.labels.clone(), pad=False)
    wanted, iou = sam.mask_decoder.predict_masks(
        image_embeddings=sam.image_encoder(image),
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=sam.prompt_encoder.mask_downscaling(prompts.mask),
    )
    assert torch.allclose(found.low, wanted, atol=1e-4)
    assert torch.allclose(found.iou, iou, atol=1e-4)
    assert found.full is None


@torch.no_grad()
def test_a_file_gives_back_the_student(tmp_path: Path, image: torch.Tensor) -> None:
    path = save_tiny_student(tmp_path / "weights.pt")
    prompts = make_prompts(4, count=2)
    assert torch.equal(load_student(path)(image, prompts).iou, make_student()(image, prompts).iou)


def test_files_that_hold_no_student_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScalpScopeError, match="no file"):
        load_student(tmp_path / "none.pt")
    torch.save({"weights": {}}, tmp_path / "other.pt")
    with pytest.raises(ScalpScopeError, match="holds no student"):
        load_student(tmp_path / "other.pt")
    whole = save_tiny_student(tmp_path / "weights.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ScalpScopeError, match="cannot be read"):
        load_student(tmp_path / "cut.pt")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"width": 100}, "multiples of 16"),
        ({"backbone": "no_such_model"}, "cannot be used"),
        ({"backbone": "vit_tiny_patch16_224", "backbone_options": {}}, "cannot be used"),
        ({"backbone_options": {"no_such_option": 1}}, "cannot be used"),
    ],
)
def test_impossible_students_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ScalpScopeError, match=said):
        make_student(replace(TINY, **change))  # type: ignore[arg-type]
