"""From a student or an official SAM to a bundle's two SAM networks, each precision kept or refused by its masks."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import torch
from onnx import ModelProto

from calibration.errors import ScalpScopeError
from calibration.files import make_folder, write_text_atomically
from calibration.quantisation import Loss
from device_app.bundle import (
    Bundle,
    Combination,
    ModelEntry,
    ResizeRule,
    SamDecoderEntry,
    SamEncoderEntry,
    Task,
    TensorSpec,
    load_bundle,
)
from device_app.engines.engine import Precision
from device_app.engines.golden_files import sigmoid
from device_app.engines.goldens import mask_dice
from device_app.engines.select import open_engine
from device_app.vision.masks import CleanUp, drop_small, hair_mask
from device_app.vision.preprocess import points_to_input, to_network_input
from device_app.vision.prompts import draw_prompts
from device_app.vision.sam import choose_mask, mask_prompt
from export.bundle_writer import CarriedNetwork, NetworkFiles, carried_networks, entry_template, write_bundle
from export.frames import choose_frame_set, golden_pictures
from export.golden_writer import decoder_goldens, encoder_goldens
from export.graph import session_of
from export.onnx import to_fp16
from export.quantise import Flavour, search
from export.sam_onnx import export_decoder, export_encoder, nodes_beyond_fp16
from export.sam_onnx import layer_groups as encoder_groups
from training.prompting.checkpoints import open_checkpoint
from training.prompting.student import PromptedSam, from_official, load_student
from training.segmentation.dataset import MEAN, STD

E = TypeVar("E", bound=ModelEntry)

LEAST_IOU = 0.99
"""Mean IoU of the masks with FP32's that a precision must reach to be kept."""


@dataclass(frozen=True)
class SamBuildSettings:
    """What to make.

    Attributes:
        checkpoint: ``best.pt`` or ``weights.pt`` of a prompting run, or an official checkpoint.
        bundle: the bundle that has the hair network.
        out: the new bundle's folder: what that one has, with this SAM.
        frames: real pictures to calibrate and measure on; None: pseudo-images only.
        version: of the bundle; its name stays.
        trained_on, licence, credit, demonstration_only: of the weights, for the manifest.
        combination, mask_prompt: how the device is to use it; see `SamDecoderEntry`.
        calibration, held_out: numbers of real frames; seed: of their choice.
        quick: quantise without a search.
        overwrite: replace a bundle that is there.
    """

    checkpoint: Path
    bundle: Path
    out: Path
    frames: Path | None
    version: str
    trained_on: str
    licence: str
    credit: str
    demonstration_only: bool
    combination: Combination = Combination.PRODUCT
    mask_prompt: bool = False
    calibration: int = 16
    held_out: int = 12
    seed: int = 0
    quick: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Agreement:
    """How well a precision's masks agree with FP32's on the held-out frames: IoUs, and whether it ships."""

    part: str
    precision: str
    mean_iou: float
    worst_iou: float
    kept: bool


@dataclass(frozen=True)
class SamBuilt:
    """The bundle and what was measured on the way."""

    bundle: Bundle
    agreements: tuple[Agreement, ...]
    report: Path


def build_sam(settings: SamBuildSettings, advance: Callable[[str], None] = lambda _: None) -> SamBuilt:
    """Export, quantise, measure, write. Nothing appears at `settings.out` before all of it is proved.

    The encoder ships in both kinds of int8, or in FP16 when its int8 masks do not agree; the decoder in FP16, or in
    FP32 when those do not.

    Raises:
        ScalpScopeError: the checkpoint, the bundle, a picture or the output folder is not usable.
    """
    if settings.out.exists() and not settings.overwrite:
        raise ScalpScopeError(f"{settings.out} is already there.", "Give another folder, or --overwrite.")
    advance("reading the checkpoint")
    sam, official = _open(settings.checkpoint)
    hair = load_bundle(settings.bundle)
    height, width = sam.input_size
    frames = choose_frame_set(
        settings.frames, width, height, settings.calibration, settings.held_out, settings.seed, advance
    )
    advance("torch to ONNX")
    with torch.no_grad():
        encoder, features = export_encoder(sam)
        decoder, masks_shape = export_decoder(sam, features)
    entry = _encoder_entry(settings, sam, features, official)
    advance("asking the hair network")
    asker = _Asker(hair, entry, settings.mask_prompt)
    prompts = [asker.prompts(image) for image in frames.held_out]
    tensors = [to_network_input(image, entry) for image in frames.held_out]
    judge = _Judge(encoder, decoder, tensors, prompts)

    quantised = None  # a vision transformer's int8 is a matter of its own; it ships in FP16
    if not official:
        groups = encoder_groups(encoder)
        neck = groups.pop("neck")[0]  # layer normalisation of 256 values a cell: a hundredth of the work, and fragile
        quantised = search(
            encoder,
            [to_network_input(image, entry) for image in frames.calibration],
            groups,
            "fine" if "fine" in groups else max(groups, key=lambda name: groups[name][1]),
            lambda candidate: judge.loss(candidate, decoder),
            settings.quick,
            advance,
            always_float=neck,
        )
    advance("measuring masks")
    int8_models = {} if quantised is None else quantised.models
    encoders = {**int8_models, Precision.FP16: to_fp16(encoder, None)}
    agreements = [judge.agreement("encoder", precision, model, decoder) for precision, model in encoders.items()]
    int8 = [one.precision for one in agreements if one.kept and one.precision.startswith("int8")]
    shipped = {precision: model for precision, model in encoders.items() if precision.value in int8}
    if len(shipped) < len(Flavour):
        shipped |= {Precision.FP16: encoders[Precision.FP16]} if agreements[-1].kept else {Precision.FP32: encoder}
    float_nodes = nodes_beyond_fp16(decoder, judge.questions[: max(2, len(judge.questions) // 2)])
    half = to_fp16(decoder, None, float_nodes)
    agreements.append(judge.agreement("decoder", Precision.FP16, encoder, half))
    decoders = {Precision.FP16: half} if agreements[-1].kept else {Precision.FP32: decoder}

    advance("writing the bundle")
    goldens = golden_pictures(width, height, 1)
    with tempfile.TemporaryDirectory(prefix="scalpscope-export-") as folder:
        scratch = Path(folder)
        networks: list[NetworkFiles | CarriedNetwork] = [
            *carried_networks(hair, {Task.SAM_ENCODER, Task.SAM_DECODER}),
            NetworkFiles(
                _with_quality(entry, agreements, "encoder"),
                _save(scratch, "encoder", shipped),
                encoder_goldens(goldens),
                reference=_save(scratch, "encoder", {Precision.FP32: encoder})[Precision.FP32],
            ),
            NetworkFiles(
                _with_quality(_decoder_entry(settings, features, masks_shape), agreements, "decoder"),
                _save(scratch, "decoder", decoders),
                decoder_goldens(
                    _questions(
                        encoder,
                        [to_network_input(image, entry) for image in goldens],
                        [asker.prompts(image) for image in goldens],
                    )
                ),
                reference=_save(scratch, "decoder", {Precision.FP32: decoder})[Precision.FP32],
            ),
        ]  # fmt: skip
        bundle = write_bundle(settings.out, hair.name, settings.version, networks, settings.overwrite)
    report = make_folder(settings.out.with_name(f"{settings.out.name}-parity")) / "sam.json"
    content = {
        "agreements": [asdict(one) for one in agreements],
        "int8_rule": None if quantised is None else quantised.rule.name,
        "int8_left_in_float": [] if quantised is None else ["neck", *quantised.sensitivity.chosen],
        "decoder_nodes_left_in_fp32": sorted(float_nodes),
        "frames": list(frames.real_names),
    }
    write_text_atomically(report, json.dumps(content, indent=2) + "\n")
    return SamBuilt(bundle, tuple(agreements), report)


class _Asker:
    """The prompts the device would make for a picture."""

    def __init__(self, bundle: Bundle, encoder: SamEncoderEntry, with_mask: bool) -> None:
        self._model = bundle.model(Task.HAIR)
        self._engine = open_engine(bundle, Task.HAIR)
        self._encoder, self._with_mask = encoder, with_mask

    def prompts(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """The decoder's inputs by name, features apart; (H, W, 3) uint8 RGB in."""
        size = image.shape[1], image.shape[0]
        tensor = {self._model.input_name: to_network_input(image, self._model)}
        probability = self._engine.run(tensor)[self._model.output_name][0, 0]
        mask = drop_small(hair_mask(probability, size, self._model.threshold), CleanUp().least_before(None, size))
        coords, labels = draw_prompts(mask).coords_and_labels()
        if not len(coords):  # a picture without hair still asks something, so that it can be compared
            coords, labels = np.float32([[size[0] / 2, size[1] / 2]]), np.float32([0])
        grid = self._encoder.features[0].shape
        out = 4 * int(grid[3]), 4 * int(grid[2])
        return {
            "point_coords": points_to_input(coords, size, self._encoder)[None],
            "point_labels": labels[None],
            "mask_input": mask_prompt(probability, size, self._encoder, out),
            "has_mask_input": np.float32([self._with_mask]),
        }


class _Judge:
    """Compares masks of any encoder and decoder with those of both in FP32, on the held-out frames."""

    def __init__(
        self,
        encoder: ModelProto,
        decoder: ModelProto,
        tensors: Sequence[np.ndarray],
        prompts: Sequence[dict[str, np.ndarray]],
    ) -> None:
        self._tensors, self._prompts = tensors, prompts
        self.questions = _questions(encoder, tensors, prompts)
        self._wanted = _answers(decoder, self.questions)

    def loss(self, encoder: ModelProto, decoder: ModelProto) -> Loss:
        """The loss of the chosen masks, in the form that the search for float layers compares."""
        found = _answers(decoder, _questions(encoder, self._tensors, self._prompts))
        pairs = list(zip(found, self._wanted, strict=True))
        return Loss(
            tuple(mask_dice(a >= 0.5, b >= 0.5) for a, b in pairs),
            tuple(float(np.mean(np.abs(a - b))) for a, b in pairs),
        )

    def agreement(self, part: str, precision: Precision, encoder: ModelProto, decoder: ModelProto) -> Agreement:
        """IoU of the chosen masks with FP32's."""
        ious = [dice / (2 - dice) for dice in self.loss(encoder, decoder).mask_dice]
        mean = float(np.mean(ious))
        return Agreement(part, precision.value, mean, min(ious), mean >= LEAST_IOU)


def _questions(
    encoder: ModelProto, tensors: Sequence[np.ndarray], prompts: Sequence[dict[str, np.ndarray]]
) -> list[dict[str, np.ndarray]]:
    """Everything the decoder is asked with, for each picture: what the encoder gives, and its prompts."""
    session = session_of(encoder)
    names = [value.name for value in session.get_outputs()]
    return [
        {**dict(zip(names, session.run(names, {"image": tensor}), strict=True)), **own}
        for tensor, own in zip(tensors, prompts, strict=True)
    ]


def _answers(decoder: ModelProto, questions: Sequence[dict[str, np.ndarray]]) -> list[np.ndarray]:
    """The probability of the chosen mask for each question, (h, w) float32."""
    session = session_of(decoder)
    answers = []
    for question in questions:
        masks, ious = session.run(["masks", "iou_predictions"], question)
        answers.append(sigmoid(masks[0, choose_mask(ious[0])]))
    return answers


def _open(path: Path) -> tuple[PromptedSam, bool]:
    """The network, and whether it is an official SAM, which pads its pictures."""
    try:
        return load_student(path), False
    except ScalpScopeError as error:
        if "holds no student" not in error.what:
            raise
    return from_official(open_checkpoint(path)), True


def _encoder_entry(
    settings: SamBuildSettings, sam: PromptedSam, features: tuple[TensorSpec, ...], official: bool
) -> SamEncoderEntry:
    height, width = sam.input_size
    return entry_template(
        SamEncoderEntry,
        input_name="image",
        input_shape=(1, 3, height, width),
        resize=ResizeRule.FIT if official else ResizeRule.STRETCH,
        mean=MEAN,
        std=STD,
        features=features,
        **_origin(settings),
    )


def _decoder_entry(
    settings: SamBuildSettings, features: tuple[TensorSpec, ...], masks_shape: tuple[int, ...]
) -> SamDecoderEntry:
    return entry_template(
        SamDecoderEntry,
        features=features,
        masks_shape=masks_shape,
        combination=settings.combination,
        mask_prompt=settings.mask_prompt,
        **_origin(settings),
    )


def _origin(settings: SamBuildSettings) -> dict[str, object]:
    return {
        "trained_on": settings.trained_on,
        "licence": settings.licence,
        "credit": settings.credit,
        "demonstration_only": settings.demonstration_only,
    }


def _with_quality(entry: E, agreements: Sequence[Agreement], part: str) -> E:
    measured = {
        f"{one.precision}_mask_iou_{kind}": round(value, 5)
        for one in agreements
        if one.part == part and one.kept
        for kind, value in (("mean", one.mean_iou), ("worst", one.worst_iou))
    }
    return entry.model_copy(update={"quality": measured})


def _save(folder: Path, part: str, models: Mapping[Precision, ModelProto]) -> dict[Precision, Path]:
    files = {}
    for precision, model in models.items():
        files[precision] = folder / f"{part}_{precision.value}.onnx"
        onnx.save(model, str(files[precision]))
    return files
