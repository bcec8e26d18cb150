"""From a checkpoint to a bundle, with everything measured on the way."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from calibration.errors import ScalpScopeError
from calibration.files import make_folder
from device_app.bench.precision import PrecisionReport
from device_app.bundle import Bundle
from device_app.engines.engine import Precision
from device_app.vision.preprocess import to_network_input
from export.bundle_writer import LEAST_DICE, NetworkFacts, hair_network, preprocessing_of, write_bundle
from export.frames import choose_frame_set, golden_pictures
from export.graph import shapes_of
from export.onnx import export_onnx, to_fp16
from export.parity import measure_parity, quality_of, write_parity
from export.quantise import Quantised, choose_and_quantise
from training.segmentation.checkpoint import load_network


@dataclass(frozen=True)
class BuildSettings:
    """What to make.

    Attributes:
        checkpoint: weights of a training run, or public U²-Net weights.
        out: the bundle's folder.
        frames: real pictures to calibrate and measure on; None: pseudo-images only.
        name, version: of the bundle.
        facts: what the manifest says; its quality is filled in from the measurements.
        calibration, held_out: numbers of real frames.
        seed: of the choice of frames.
        quick: quantise without a search.
        least_dice: what each precision must reach on the goldens.
        overwrite: replace a bundle that is there.
        report: folder of the parity report; None leaves it beside the bundle, as ``OUT-parity``.
    """

    checkpoint: Path
    out: Path
    frames: Path | None
    name: str
    version: str
    facts: NetworkFacts
    calibration: int = 16
    held_out: int = 12
    seed: int = 0
    quick: bool = False
    least_dice: float = LEAST_DICE
    overwrite: bool = False
    report: Path | None = None


@dataclass(frozen=True)
class Built:
    """A finished bundle and what was measured."""

    bundle: Bundle
    parity: PrecisionReport
    quantised: Quantised
    report_folder: Path


def build_bundle(settings: BuildSettings, advance: Callable[[str], None] = lambda _: None) -> Built:
    """Export, choose frames, quantise, measure, write. Nothing appears at `settings.out` before all of it is proved.

    Args:
        settings: what to make.
        advance: told what is being done, once per step.

    Raises:
        ScalpScopeError: the checkpoint, a picture or the output folder is not usable.
    """
    if settings.out.exists() and not settings.overwrite:
        raise ScalpScopeError(f"{settings.out} is already there.", "Give another folder, or --overwrite.")
    height, width = settings.facts.input_shape[2:]
    advance("reading the checkpoint")
    network = load_network(settings.checkpoint)
    frames = choose_frame_set(
        settings.frames, width, height, settings.calibration, settings.held_out, settings.seed, advance
    )
    goldens = golden_pictures(width, height)
    advance("torch to ONNX")
    fp32, difference = export_onnx(network, width, height)
    with tempfile.TemporaryDirectory(prefix="scalpscope-export-") as folder:
        scratch = Path(folder)

        def bundle_of(
            models: dict[Precision, onnx.ModelProto], out: Path, facts: NetworkFacts, replaces: bool
        ) -> Bundle:
            files = {}
            for precision, model in models.items():
                files[precision] = scratch / f"{precision.value}.onnx"
                onnx.save(model, str(files[precision]))
            network = hair_network(facts, files, goldens, settings.least_dice)
            return write_bundle(out, settings.name, settings.version, [network], replaces)

        entry = preprocessing_of(settings.facts)
        quantised = choose_and_quantise(
            fp32,
            [to_network_input(image, entry) for image in frames.calibration],
            [to_network_input(image, entry) for image in frames.held_out],
            settings.facts.threshold,
            settings.quick,
            advance,
        )
        models = {Precision.FP32: fp32, Precision.FP16: to_fp16(fp32), **quantised.models}
        measured = bundle_of(models, scratch / "measured", settings.facts, False)
        advance("measuring parity")
        named = [(f"held out {i + 1}", image) for i, image in enumerate(frames.held_out)]
        parity = measure_parity(measured, named)
        advance("writing the bundle")
        facts = replace(settings.facts, quality={**settings.facts.quality, **quality_of(parity)})
        bundle = bundle_of(models, settings.out, facts, settings.overwrite)
    report_folder = make_folder(settings.report or settings.out.with_name(f"{settings.out.name}-parity"))
    write_parity(report_folder, parity, difference, quantised)
    return Built(bundle, parity, quantised, report_folder)


def quantise_file(
    path: Path,
    frames_folder: Path | None,
    facts: Callable[[int, int], NetworkFacts],
    calibration: int,
    held_out: int,
    seed: int,
    quick: bool = False,
    advance: Callable[[str], None] = lambda _: None,
) -> Quantised:
    """Quantise an FP32 ONNX file of `export_onnx`.

    Args:
        path: the file.
        frames_folder: real pictures; None: pseudo-images only.
        facts: makes the network's facts from its input's width and height.
        calibration, held_out, seed, quick: as in `BuildSettings`.
        advance: told what is being done.

    Raises:
        ScalpScopeError: the file cannot be read, or a picture.
    """
    try:
        model = onnx.load(path)
        height, width = shapes_of(model)[model.graph.input[0].name][2:]
    except Exception as error:  # protobuf has its own kinds of exceptions, with no public base class
        raise ScalpScopeError(
            f"{path} cannot be read as ONNX: {error}.", "Give a file of the onnx sub-command."
        ) from error
    frames = choose_frame_set(frames_folder, width, height, calibration, held_out, seed, advance)
    entry = preprocessing_of(facts(width, height))
    return choose_and_quantise(
        model,
        [to_network_input(image, entry) for image in frames.calibration],
        [to_network_input(image, entry) for image in frames.held_out],
        entry.threshold,
        quick,
        advance,
    )
