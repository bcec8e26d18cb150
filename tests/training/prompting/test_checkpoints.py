"""Official checkpoints, made on the spot under the official names and shapes, and files that are none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from segment_anything.modeling import Sam
from support.plain_tiny_vit import encode
from torch import Tensor, nn

from calibration.errors import ScalpScopeError
from training.prompting.checkpoints import CHECKPOINTS, Variant, build, digest_of_weights, official, open_checkpoint
from training.prompting.tiny_vit import TinyVitEncoder

# Of each variant: how many tensors its file holds, and shapes that tell it from the others.
SHAPES: dict[Variant, tuple[int, dict[str, tuple[int, ...]]]] = {
    Variant.VIT_B: (
        314,
        {
            "image_encoder.pos_embed": (1, 64, 64, 768),
            "image_encoder.blocks.11.attn.qkv.weight": (2304, 768),
            "image_encoder.blocks.0.attn.rel_pos_h": (27, 64),  # windows of 14 cells
            "image_encoder.blocks.2.attn.rel_pos_h": (127, 64),  # the whole grid of 64
            "image_encoder.neck.2.weight": (256, 256, 3, 3),
        },
    ),
    Variant.VIT_L: (
        482,
        {
            "image_encoder.patch_embed.proj.weight": (1024, 3, 16, 16),
            "image_encoder.blocks.23.mlp.lin1.weight": (4096, 1024),
            "image_encoder.blocks.5.attn.rel_pos_w": (127, 64),
        },
    ),
    Variant.VIT_H: (
        594,
        {
            "image_encoder.patch_embed.proj.weight": (1280, 3, 16, 16),
            "image_encoder.blocks.31.mlp.lin2.weight": (1280, 5120),
            "image_encoder.blocks.31.attn.rel_pos_w": (127, 80),
        },
    ),
    Variant.MOBILE_SAM: (
        439,
        {
            "image_encoder.patch_embed.seq.2.c.weight": (64, 32, 3, 3),
            "image_encoder.layers.0.blocks.1.conv2.c.weight": (256, 1, 3, 3),
            "image_encoder.layers.0.downsample.conv3.bn.running_var": (128,),
            "image_encoder.layers.1.blocks.0.attn.attention_biases": (4, 49),
            "image_encoder.layers.2.blocks.5.attn.attention_biases": (5, 196),
            "image_encoder.layers.2.downsample.conv2.c.weight": (320, 1, 3, 3),
            "image_encoder.layers.3.blocks.1.local_conv.c.weight": (320, 1, 3, 3),
            "image_encoder.layers.3.blocks.1.mlp.fc1.weight": (1280, 320),
            "image_encoder.norm_head.weight": (320,),
            "image_encoder.head.weight": (1000, 320),
            "image_encoder.neck.0.weight": (256, 320, 1, 1),
        },
    ),
}
OF_ALL: dict[str, tuple[int, ...]] = {
    "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": (2, 128),
    "prompt_encoder.point_embeddings.3.weight": (1, 256),
    "mask_decoder.transformer.layers.1.mlp.lin1.weight": (2048, 256),
    "mask_decoder.output_hypernetworks_mlps.3.layers.2.weight": (32, 256),
    "mask_decoder.iou_prediction_head.layers.2.weight": (4, 256),
}


def _on_meta(variant: Variant) -> dict[str, Tensor]:
    with torch.device("meta"):
        return build(variant).state_dict()


def _randomised(model: nn.Module, seed: int) -> nn.Module:
    """All weights and statistics drawn, so that none is a 0 or 1 that hides a mistake."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if "running_var" in name or name.endswith("bn.weight"):
                value.uniform_(0.7, 1.3, generator=generator)
            elif value.is_floating_point():
                value.normal_(0, 0.1, generator=generator)
    return model


@pytest.fixture(scope="module")
def mobile() -> Sam:
    sam = _randomised(build(Variant.MOBILE_SAM), 7)
    assert isinstance(sam, Sam)
    return sam


@pytest.fixture(scope="module")
def mobile_file(mobile: Sam, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole file, as `mobile_sam.pt` is one."""
    path = tmp_path_factory.mktemp("sam") / "mobile_sam.pt"
    torch.save(mobile.state_dict(), path)
    return path


@pytest.mark.parametrize("variant", list(Variant))
def test_official_names_and_shapes(variant: Variant) -> None:
    weights = _on_meta(variant)
    count, shapes = SHAPES[variant]
    assert len(weights) == count
    for name, shape in {**shapes, **OF_ALL}.items():
        assert tuple(weights[name].shape) == shape, name


@pytest.mark.parametrize("variant", list(Variant))
def test_the_official_files_have_room_for_just_these_weights(variant: Variant) -> None:
    """An archive adds a few hundred bytes to each tensor; one weight more or less would show."""
    weights = _on_meta(variant)
    own = sum(value.numel() * value.element_size() for value in weights.values())
    spare = official(variant.value).size_bytes - own
    assert 300 <= spare / len(weights) <= 400


def test_the_table_is_whole() -> None:
    assert {checkpoint.variant for checkpoint in CHECKPOINTS} == set(Variant)
    for checkpoint in CHECKPOINTS:
        assert checkpoint.url.startswith("https://") and checkpoint.url.endswith("/" + checkpoint.file)
        assert len(checkpoint.sha256) == 64 and int(checkpoint.sha256, 16)


def test_a_file_comes_back_as_the_network_it_was(mobile: Sam, mobile_file: Path) -> None:
    # The same file as the official one but for the archive's inner folder names.
    assert abs(mobile_file.stat().st_size - official("mobile_sam").size_bytes) < 5000
    opened = open_checkpoint(mobile_file)
    assert isinstance(opened, Sam) and not opened.training
    assert digest_of_weights(opened) == digest_of_weights(mobile)
    picture = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        assert torch.equal(opened.image_encoder(picture), mobile.image_encoder(picture))
    with torch.no_grad():
        opened.mask_decoder.iou_token.weight[0, 0] += 1e-3
    assert digest_of_weights(opened) != digest_of_weights(mobile)
    assert opened.pixel_mean.flatten().tolist() == pytest.approx([123.675, 116.28, 103.53])


def test_half_precision_is_read_as_float32(mobile: Sam, tmp_path: Path) -> None:
    path = tmp_path / "half.pt"
    halves = {name: value.half() if value.is_floating_point() else value for name, value in mobile.state_dict().items()}
    torch.save(halves, path)
    opened = open_checkpoint(path).state_dict()
    assert all(value.dtype == torch.float32 for value in opened.values() if value.is_floating_point())
    name = "image_encoder.neck.0.weight"
    assert torch.equal(opened[name], halves[name].float())


def test_a_vit_is_told_from_its_shapes_and_takes_its_weights_from_the_file(tmp_path: Path) -> None:
    """ViT-B whole: its 375 MB are one stored byte-run, as every tensor is a view of one value."""
    weights = {name: torch.zeros(1).expand(value.shape) for name, value in _on_meta(Variant.VIT_B).items()}
    weights["image_encoder.pos_embed"] = torch.arange(768.0).expand(1, 64, 64, 768)
    path = tmp_path / "any_name.bin"
    torch.save(weights, path)
    assert path.stat().st_size < 1e6
    sam = open_checkpoint(path)
    assert len(sam.image_encoder.blocks) == 12
    assert not any(value.is_meta for value in [*sam.parameters(), *sam.buffers()])
    assert sam.image_encoder.pos_embed is not None
    assert sam.image_encoder.pos_embed[0, 3, 5].tolist() == list(range(768))


def test_tiny_vit_answers_as_its_papers_say(mobile: Sam) -> None:
    """Neither side of the picture is a whole number of windows, and padding must not leak."""
    weights = mobile.image_encoder.state_dict()
    picture = torch.randn(2, 3, 160, 208, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, plain = mobile.image_encoder(picture), encode(picture, weights)
    assert ours.shape == (2, 256, 10, 13)
    assert plain.abs().max() > 0.1
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)


def test_tiny_vit_gives_the_grid_of_sam() -> None:
    with torch.device("meta"):  # shapes alone
        assert TinyVitEncoder().eval()(torch.empty(1, 3, 1024, 1024)).shape == (1, 256, 64, 64)


@pytest.mark.parametrize("keep", [0.5, 0.999999])
def test_a_truncated_file(mobile_file: Path, tmp_path: Path, keep: float) -> None:
    content = mobile_file.read_bytes()
    path = tmp_path / "copied.pt"
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(ScalpScopeError, match=r"copied\.pt is cut short: its end is missing\. Copy or fetch it again"):
        open_checkpoint(path)


def test_a_truncated_file_under_its_official_name(tmp_path: Path) -> None:
    path = tmp_path / "sam_vit_b_01ec64.pth"
    path.write_bytes(b"PK\x03\x04" + bytes(996))
    with pytest.raises(ScalpScopeError, match="cut short: 1,000 bytes of 375,042,383"):
        open_checkpoint(path)


def test_one_wrong_byte_anywhere_in_the_weights_is_found(mobile_file: Path, tmp_path: Path) -> None:
    content = bytearray(mobile_file.read_bytes())
    content[len(content) // 2] ^= 1
    path = tmp_path / "copied.pt"
    path.write_bytes(content)
    with pytest.raises(ScalpScopeError, match=r"copied\.pt is damaged: its part '.*' is not what was written"):
        open_checkpoint(path)


@pytest.mark.parametrize(
    "content", [b"", b"<html>404</html>", b"PK\x03\x04", b"\x80\x02}q\x00.", b"\x80\x02c", bytes(99)]
)
def test_no_file_of_weights(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "sam.pth"
    path.write_bytes(content)
    with pytest.raises(ScalpScopeError, match=r"sam\.pth"):
        open_checkpoint(path)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ScalpScopeError, match=r"There is no file .*prompting fetch"):
        open_checkpoint(tmp_path / "none.pth")
    with pytest.raises(ScalpScopeError, match="is a folder"):
        open_checkpoint(tmp_path)


class _Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("trapped",)


def test_a_file_that_would_run_a_program_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"image_encoder": _Trap()}, "sam.pth")
    with pytest.raises(ScalpScopeError, match="might run programs"):
        open_checkpoint(Path("sam.pth"))
    assert not Path("trapped").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"stage1.weight": torch.zeros(2)}, "no official SAM: its first weights are 'stage1.weight'"),
        ({"student": {"width": 640}, "weights": {}, "step": 1}, "but a student of this project"),
        ({"model": {"a": torch.zeros(1)}}, "but something else"),
        ([torch.zeros(1)], "but something else"),
        ({}, "its first weights are 'nothing'"),
        ({"image_encoder.patch_embed.proj.weight": torch.zeros(96, 3, 16, 16)}, "no official SAM"),
    ],
)
def test_weights_of_something_else(tmp_path: Path, content: object, says: str) -> None:
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    with pytest.raises(ScalpScopeError, match=says):
        open_checkpoint(path)


def test_a_sam_that_lacks_has_more_or_other_weights(mobile: Sam, tmp_path: Path) -> None:
    weights, name = mobile.state_dict(), "mask_decoder.iou_token.weight"
    path = tmp_path / "sam.pt"
    wrong: list[tuple[dict[str, Tensor], str]] = [
        ({key: value for key, value in weights.items() if key != name}, f"1 weights are missing, the first '{name}'"),
        (
            {**weights, "mask_decoder.hf_token.weight": torch.zeros(1, 256)},
            "1 weights are none of it, the first 'mask_d",
        ),
        ({**weights, name: torch.zeros(2, 256)}, rf"'{name}' has the shape \(2, 256\), not \(1, 256\)"),
    ]
    for content, says in wrong:
        torch.save(content, path)
        with pytest.raises(ScalpScopeError, match=f"begins like mobile_sam, but {says}"):
            open_checkpoint(path)
