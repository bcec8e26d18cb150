"""The official SAM checkpoints (arXiv 2304.02643, 2306.14289): which there are, and how a file of one is opened."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor, nn

from calibration.errors import ScalpScopeError
from training.prompting.tiny_vit import TinyVitEncoder

SIDE = 1024
"""Pixels a side of the square that the official encoders look at."""


class Variant(str, Enum):
    """Which image encoder a checkpoint holds; the value is the name in `scalpscope-train prompting fetch`."""

    VIT_B = "vit_b"
    VIT_L = "vit_l"
    VIT_H = "vit_h"
    MOBILE_SAM = "mobile_sam"


@dataclass(frozen=True)
class OfficialCheckpoint:
    """What is published of one checkpoint.

    Attributes:
        file: its official name.
        size_bytes, sha256: of the whole file.
        credit: who made it.
    """

    variant: Variant
    file: str
    url: str
    size_bytes: int
    sha256: str
    credit: str
    licence: str = "Apache-2.0"


# Sources. URLs and licence: README.md of facebookresearch/segment-anything and of ChaoningZhang/MobileSAM (there on the
# branch `master`; here at the commit that others have pinned with this very hash). SHA-256: micro_sam/util.py of
# computational-cell-analytics/micro-sam, which checks all four files. Sizes: public download scripts that state them
# beside these hashes; the weights' own bytes and 316 to 381 bytes of archive for each tensor come to just these sums.
# The publishers state no SHA-256; the six digits in Meta's file names are the first ones of the file's MD5.
_META = "https://dl.fbaipublicfiles.com/segment_anything/"
_MOBILE = "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/f706ad9c4eb7f219c00d9050e46328518ffb65d2/weights/"

CHECKPOINTS = (
    OfficialCheckpoint(
        Variant.MOBILE_SAM,
        "mobile_sam.pt",
        _MOBILE + "mobile_sam.pt",
        40_728_226,
        "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        "MobileSAM, Zhang et al.",
    ),
    OfficialCheckpoint(
        Variant.VIT_B,
        "sam_vit_b_01ec64.pth",
        _META + "sam_vit_b_01ec64.pth",
        375_042_383,
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        "Segment Anything, Meta",
    ),
    OfficialCheckpoint(
        Variant.VIT_L,
        "sam_vit_l_0b3195.pth",
        _META + "sam_vit_l_0b3195.pth",
        1_249_524_607,
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        "Segment Anything, Meta",
    ),
    OfficialCheckpoint(
        Variant.VIT_H,
        "sam_vit_h_4b8939.pth",
        _META + "sam_vit_h_4b8939.pth",
        2_564_550_879,
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        "Segment Anything, Meta",
    ),
)

_PIXEL_MEAN, _PIXEL_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of segment-anything, on 0..255

_ANOTHER = "Give an official SAM file, such as `scalpscope-train prompting fetch mobile_sam --out DIR` gets."
_AGAIN = "Copy or fetch it again."

_FIRST_WEIGHTS = {
    Variant.VIT_B: ("image_encoder.patch_embed.proj.weight", (768, 3, 16, 16)),
    Variant.VIT_L: ("image_encoder.patch_embed.proj.weight", (1024, 3, 16, 16)),
    Variant.VIT_H: ("image_encoder.patch_embed.proj.weight", (1280, 3, 16, 16)),
    Variant.MOBILE_SAM: ("image_encoder.patch_embed.seq.0.c.weight", (32, 3, 3, 3)),
}


def official(name: str) -> OfficialCheckpoint:
    """The checkpoint of this name (``vit_b``, ``vit_l``, ``vit_h``, ``mobile_sam``).

    Raises:
        ScalpScopeError: there is none of that name.
    """
    for checkpoint in CHECKPOINTS:
        if checkpoint.variant.value == name:
            return checkpoint
    names = ", ".join(one.variant.value for one in CHECKPOINTS)
    raise ScalpScopeError(f"There is no checkpoint named '{name}'.", f"Use one of {names}.")


def open_checkpoint(path: Path) -> Sam:
    """The SAM that a file holds, in evaluation mode, float32, on the CPU; its kind is told from the weights alone.

    Args:
        path: a file with the names and shapes of one of `CHECKPOINTS`: the official one, or one trained on from it.

    Raises:
        ScalpScopeError: the file is missing, cut short, damaged, or holds something else.
    """
    weights = _read_weights(path)
    variant = _variant_of(weights, path)
    # A ViT takes all its weights from the file, so none are made first: ViT-H then needs its 2.6 GB of memory once.
    # TinyViT has tables of its own that no file holds.
    with torch.device("cpu" if variant is Variant.MOBILE_SAM else "meta"):
        sam = build(variant)
    _check_names(weights, sam, variant, path)
    sam.load_state_dict({name: _as_float32(value) for name, value in weights.items()}, assign=True)
    sam.pixel_mean, sam.pixel_std = (torch.tensor(values).view(-1, 1, 1) for values in (_PIXEL_MEAN, _PIXEL_STD))
    return sam.eval()


def build(variant: Variant) -> Sam:
    """An untrained SAM of this kind, in evaluation mode, under the official names and shapes."""
    if variant is Variant.MOBILE_SAM:
        return sam_with(TinyVitEncoder(), SIDE)
    return sam_model_registry[variant.value]()


def sam_with(encoder: nn.Module, side: int) -> Sam:
    """An untrained SAM round an image encoder, in evaluation mode, with the official prompt encoder and decoder.

    Args:
        encoder: (N, 3, side, side) -> (N, 256, side / 16, side / 16), and has `img_size`.
        side: pixels a side of its input.
    """
    grid = side // 16
    sam = Sam(
        encoder,
        PromptEncoder(
            embed_dim=256, image_embedding_size=(grid, grid), input_image_size=(side, side), mask_in_chans=16
        ),
        MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
            transformer_dim=256,
        ),
    )
    return sam.eval()


def digest_of_weights(model: nn.Module) -> str:
    """SHA-256 over names, types and values of all weights, in hexadecimal: the same for the same network anywhere."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _as_float32(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        raise ScalpScopeError(f"There is no file {path}.", f"Check the path. {_ANOTHER}")
    if path.is_dir():
        raise ScalpScopeError(f"{path} is a folder.", "Give the checkpoint file in it.")
    try:
        is_archive = _check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ScalpScopeError(
            f"{path} cannot be read: {error.strerror or error}.", "Check the disk it is on."
        ) from error
    except pickle.UnpicklingError as error:
        what = "holds more than weights, and might run programs" if is_archive else "is no file of weights"
        raise ScalpScopeError(f"{path} {what}.", _ANOTHER) from error
    except ScalpScopeError:
        raise
    except Exception as error:  # a damaged file makes the reader raise nearly anything
        raise ScalpScopeError(f"{path} is damaged, or no file of weights.", f"{_AGAIN} {_ANOTHER}") from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        kind = "a student of this project" if isinstance(content, dict) and "student" in content else "something else"
        raise ScalpScopeError(f"{path} holds no official SAM but {kind}.", _ANOTHER)
    return content


def _check_archive(path: Path) -> bool:
    """Whether the file is a zip archive, as torch writes them; raises when it is one that is not whole.

    Torch reads the archive's parts without looking at their checksums.
    """
    if not zipfile.is_zipfile(path):
        size, known = path.stat().st_size, {one.file: one.size_bytes for one in CHECKPOINTS}
        if size < known.get(path.name, 0):
            raise ScalpScopeError(f"{path} is cut short: {size:,} bytes of {known[path.name]:,}.", _AGAIN)
        if _starts_as_archive(path):
            raise ScalpScopeError(f"{path} is cut short: its end is missing.", _AGAIN)
        return False
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ScalpScopeError(f"{path} is damaged: its part '{damaged}' is not what was written.", _AGAIN)
    return True


def _starts_as_archive(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _variant_of(weights: dict[str, Tensor], path: Path) -> Variant:
    for variant, (name, shape) in _FIRST_WEIGHTS.items():
        if name in weights and tuple(weights[name].shape) == shape:
            return variant
    first = next(iter(weights), "nothing")
    raise ScalpScopeError(f"{path} holds no official SAM: its first weights are '{first}'.", _ANOTHER)


def _check_names(weights: dict[str, Tensor], sam: Sam, variant: Variant, path: Path) -> None:
    shapes = {name: tuple(value.shape) for name, value in sam.state_dict().items()}
    begins = f"{path} begins like {variant.value}, but"
    missing, unknown = sorted(shapes.keys() - weights.keys()), sorted(weights.keys() - shapes.keys())
    if missing:
        raise ScalpScopeError(f"{begins} {len(missing)} weights are missing, the first '{missing[0]}'.", _ANOTHER)
    if unknown:
        raise ScalpScopeError(f"{begins} {len(unknown)} weights are none of it, the first '{unknown[0]}'.", _ANOTHER)
    for name, shape in shapes.items():
        if tuple(weights[name].shape) != shape:
            found = tuple(weights[name].shape)
            raise ScalpScopeError(f"{begins} '{name}' has the shape {found}, not {shape}.", _ANOTHER)
