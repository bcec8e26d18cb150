"""From a calibrated classifier, of any of the three tasks, to a bundle: int8 kept or refused by its grades."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto

from calibration.errors import ScalpScopeError
from calibration.files import make_folder, write_text_atomically
from device_app.bundle import Bundle, load_bundle
from device_app.engines.engine import Precision
from device_app.engines.select import open_engine
from device_app.manifest_classifiers import ClassEntry, ClassifierEntry, ConditionsEntry
from device_app.manifest_parts import Task
from device_app.vision.masks import CleanUp, drop_small, hair_mask
from device_app.vision.preprocess import to_classifier_input, to_network_input
from export.bundle_writer import CarriedNetwork, NetworkFiles, carried_networks, entry_template, write_bundle
from export.classifier_onnx import after_the_features, convolution_share, export_classifier, layer_groups
from export.frames import choose_frame_set
from export.golden_writer import logit_goldens
from export.grading import LEAST_AGREEMENT, MOST_F1_LOSS, GradeParity, Grader
from export.onnx import INPUT, to_fp16
from export.quantise import Flavour, Quantised, search
from training.classification.checkpoint import Judgement, load_calibrated
from training.classification.examine import spread
from training.classification.inputs import PLANE_MEAN, PLANE_STD
from training.classification.network import Classifier, ClassifierConfig
from training.classification.pictures import DrawnPictures, LabelledPictures, Picture
from training.data.examples import ExampleSet, Split, read_examples, split_examples
from training.data.graded_scalp import TEST_SEEDS, VALIDATION_SEEDS, render_graded

# Between the seeds of the test and of the validation, both of which others use, and below all of training's.
_JUDGED_SEED, _CALIBRATION_SEED, _GOLDEN_SEED = 100_000, 200_000, 300_000
assert TEST_SEEDS.stop <= _JUDGED_SEED and _GOLDEN_SEED < VALIDATION_SEEDS.start

_GOLDEN_GRADES = ((2, 0, 1), (0, 3, 2))
"""Severities of the golden pictures: every output is then asked for something, and answers differ."""

_LEAST_CONVOLUTIONS = (
    0.5  # of the weights: of a transformer int8 would change little and promise much; it ships in FP16
)
_SEARCHED = 80  # pictures that the search looks at each time; more would only take longer


@dataclass(frozen=True)
class ClassifierBuildSettings:
    """What to make.

    Attributes:
        checkpoint: ``calibrated.pt`` of a run, or the run's folder.
        bundle: whose other networks are taken over.
        out: the new bundle's folder.
        frames: real pictures to calibrate on, and whose grades are compared; None: the training pictures of `labelled`,
            and without that drawn ones only.
        labelled: a set with labels, in one of the layouts that training reads. Loss is measured on its validation
            pictures, split as training splits it. A task with classes needs one.
        layout: of `labelled`; None: found out.
        version: of the bundle; its name stays.
        licence, credit, demonstration_only: of the weights, for the manifest.
        trained_on: likewise; None: what the checkpoint says.
        with_fp32: ship FP32 as well.
        leave_out: files of `bundle` that are not taken over, such as ``hair_fp32``.
        calibration, held_out: numbers of real frames.
        judged: pictures with known truth that loss is measured on: so many drawn ones, at most so many of `labelled`.
        seed: of the choice of frames.
        quick: quantise without a search.
        overwrite: replace a bundle that is there.
    """

    checkpoint: Path
    bundle: Path
    out: Path
    frames: Path | None
    version: str
    licence: str
    credit: str
    demonstration_only: bool
    labelled: Path | None = None
    layout: str | None = None
    trained_on: str | None = None
    with_fp32: bool = False
    leave_out: tuple[str, ...] = ()
    calibration: int = 24
    held_out: int = 24
    judged: int = 240
    seed: int = 0
    quick: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class ClassifierBuilt:
    """The bundle and what was measured on the way."""

    bundle: Bundle
    parities: tuple[GradeParity, ...]
    report: Path


def build_classifier(
    settings: ClassifierBuildSettings, advance: Callable[[str], None] = lambda _: None
) -> ClassifierBuilt:
    """Export, quantise, measure, write. Nothing appears at `settings.out` before all of it is proved.

    Both kinds of int8 ship. One whose grades do not hold (`export.grading`) does not; FP16 ships beside or instead of
    it, or FP32 when FP16 does not hold either.

    Raises:
        ScalpScopeError: the checkpoint, the bundle, a picture or the output folder is not usable.
    """
    if settings.out.exists() and not settings.overwrite:
        raise ScalpScopeError(f"{settings.out} is already there.", "Give another folder, or --overwrite.")
    advance("reading the checkpoint")
    network, judgement, recipe = load_calibrated(settings.checkpoint)
    task = network.config.task
    old = load_bundle(settings.bundle)
    carried = carried_networks(old, {task}, settings.leave_out)
    entry = _entry(settings, network, judgement)
    calibration, judged = _pictures(settings, network.config, recipe, old, advance)
    advance("torch to ONNX")
    fp32, difference = export_classifier(network, judgement.unlikeness)
    advance("grading in FP32")
    grader = Grader(entry, judged, fp32)
    looked_at = Grader(entry, judged[:: max(1, len(judged) // _SEARCHED)], fp32)

    groups, later = layer_groups(fp32), after_the_features(fp32)
    quantised = None
    if convolution_share(fp32) >= _LEAST_CONVOLUTIONS:
        quantised = search(
            fp32,
            [to_classifier_input(one.image, entry, one.hair_mask) for one in calibration],
            groups,
            next(iter(groups)),  # the stem: it alone sees the picture's own values
            looked_at.loss,
            settings.quick,
            advance,
            always_float=later,
        )
    int8 = {} if quantised is None else quantised.models
    models = {Precision.FP32: fp32, Precision.FP16: to_fp16(fp32, None, later), **int8}
    advance("measuring grades")
    parities = grader.parities(models)
    shipped = _shipped(models, parities, settings.with_fp32)

    advance("writing the bundle")
    goldens = [
        render_graded(_GOLDEN_SEED + i, entry.input_size, None, grades) for i, grades in enumerate(_GOLDEN_GRADES)
    ]
    with tempfile.TemporaryDirectory(prefix="scalpscope-export-") as folder:
        files = {precision: Path(folder) / f"{precision.value}.onnx" for precision in {Precision.FP32, *shipped}}
        for precision, path in files.items():
            onnx.save(models[precision], str(path))
        quality = {**judgement.quality, **_quality(parities, shipped)}
        networks: list[NetworkFiles | CarriedNetwork] = [
            *carried,
            NetworkFiles(
                entry.model_copy(update={"quality": quality}),
                {precision: files[precision] for precision in shipped},
                # Multiples of 8 make the file small and change nothing about what they prove.
                logit_goldens([one.image // 8 * 8 for one in goldens], [one.hair_mask for one in goldens]),
                reference=files[Precision.FP32],
            ),
        ]
        bundle = write_bundle(settings.out, old.name, settings.version, networks, settings.overwrite)
    report = _write_report(settings, task, bundle, parities, shipped, quantised, difference, judged)
    return ClassifierBuilt(bundle, tuple(parities), report)


def _entry(settings: ClassifierBuildSettings, network: Classifier, judgement: Judgement) -> ClassifierEntry:
    """What the manifest will say, files, goldens and the measured quality apart."""
    config = network.config
    facts = {
        "task": config.task,
        "input_name": INPUT,
        "input_shape": (1, config.planes, config.height, config.width),
        "mean": (PLANE_MEAN,) * config.planes,
        "std": (PLANE_STD,) * config.planes,
        "hsv": config.hsv,
        "mask": config.mask,
        "map_size": network.grid,
        "limits": judgement.limits,
        "trained_on": settings.trained_on or judgement.trained_on,
        "licence": settings.licence,
        "credit": settings.credit,
        "demonstration_only": settings.demonstration_only,
    }
    if config.task is Task.CONDITIONS:
        return entry_template(
            ConditionsEntry, calibration=judgement.calibration, claimed=judgement.claimed, **facts
        )  # fmt: skip
    ordered = config.task is Task.HAIR_LOSS_STAGE
    return entry_template(
        ClassEntry, labels=config.labels, ordered=ordered, temperature=judgement.temperature, **facts
    )  # fmt: skip


def _pictures(
    settings: ClassifierBuildSettings,
    config: ClassifierConfig,
    recipe: Mapping[str, Any],
    bundle: Bundle,
    advance: Callable[[str], None],
) -> tuple[list[Picture], list[Picture]]:
    """Those for the ranges and those for the measuring, each with a hair mask if the classifier takes one.

    Real frames stand among the latter without a label: their grades are compared with FP32's.
    """
    conditions, size = config.task is Task.CONDITIONS, (config.width, config.height)
    splits: Mapping[Split, ExampleSet] = {}
    if settings.labelled is not None:
        advance("reading labelled pictures")
        splits = split_examples(
            read_examples(settings.labelled, config.task, settings.layout), recipe["data"]["shares"]
        )
    elif not conditions:
        raise ScalpScopeError(
            "Without labelled pictures nobody knows what int8 loses, and none can be drawn for this task.",
            "Give some with --labelled.",
        )
    frames = choose_frame_set(
        settings.frames or ([one.path for one in splits[Split.TRAIN].examples] if splits else None),
        *size,
        settings.calibration,
        settings.held_out,
        settings.seed,
        advance,
        with_drawn=conditions,
    )
    calibration = [Picture("", "", image) for image in frames.calibration]
    judged = [Picture("", "", image) for image in frames.held_out]
    if conditions:
        advance("drawing graded pictures")
        count = max(4, settings.calibration // 2)
        calibration += list(DrawnPictures(range(_CALIBRATION_SEED, _CALIBRATION_SEED + count), size))
        judged += list(DrawnPictures(range(_JUDGED_SEED, _JUDGED_SEED + settings.judged), size))
    if splits:
        known = _as_numbered(splits[Split.VALIDATION], config.labels)
        unseen = [one for one in known.examples if one.path.name not in frames.calibration_names]
        judged += list(spread(LabelledPictures(known.having(unseen)), settings.judged))
    if config.mask:
        advance("asking the hair network")
        masks = _HairMasks(bundle)
        calibration, judged = [masks.added(one) for one in calibration], [masks.added(one) for one in judged]
    return calibration, judged


def _as_numbered(examples: ExampleSet, labels: tuple[str, ...]) -> ExampleSet:
    """A set whose labels are numbered as the network's are; raises ScalpScopeError for one that it does not know."""
    if unknown := sorted(set(examples.labels) - set(labels)):
        raise ScalpScopeError(
            f"The labelled pictures have the class '{unknown[0]}', and the network knows {', '.join(labels)}.",
            "Give a set with the classes it was trained on.",
        )
    places = [labels.index(label) for label in examples.labels]
    return examples.having(
        replace(one, label=None if one.label is None else places[one.label]) for one in examples.examples
    )


class _HairMasks:
    """The hair masks that the device would give to a classifier."""

    def __init__(self, bundle: Bundle) -> None:
        self._model = bundle.model(Task.HAIR)
        self._engine = open_engine(bundle, Task.HAIR)

    def added(self, picture: Picture) -> Picture:
        size = picture.image.shape[1], picture.image.shape[0]
        feed = {self._model.input_name: to_network_input(picture.image, self._model)}
        probability = self._engine.run(feed)[self._model.output_name][0, 0]
        mask = drop_small(hair_mask(probability, size, self._model.threshold), CleanUp().least_before(None, size))
        return replace(picture, hair_mask=mask)


def _shipped(
    models: Mapping[Precision, ModelProto], parities: Sequence[GradeParity], with_fp32: bool
) -> list[Precision]:
    kept = {one.precision for one in parities if one.kept}
    shipped = [flavour.value for flavour in Flavour if flavour.value.value in kept]
    if len(shipped) < len(Flavour):
        shipped.append(Precision.FP16 if Precision.FP16.value in kept else Precision.FP32)
    if with_fp32 and Precision.FP32 not in shipped:
        shipped.append(Precision.FP32)
    return [precision for precision in models if precision in shipped]


def _quality(parities: Sequence[GradeParity], shipped: Sequence[Precision]) -> dict[str, float]:
    """The figures for the manifest. Speeds stay out: they are a machine's."""
    return {
        f"{one.precision}_{name}": round(value, 5)
        for one in parities
        if Precision(one.precision) in shipped and one.precision != Precision.FP32.value
        for name, value in (("macro_f1_loss", one.macro_f1_loss), ("grade_agreement", one.agreement))
    }


def _write_report(
    settings: ClassifierBuildSettings,
    task: Task,
    bundle: Bundle,
    parities: Sequence[GradeParity],
    shipped: Sequence[Precision],
    quantised: Quantised | None,
    difference: float,
    judged: Sequence[Picture],
) -> Path:
    """`TASK.json` and `TASK.md` beside the bundle; returns the former."""
    report = make_folder(settings.out.with_name(f"{settings.out.name}-parity")) / f"{task.value}.json"
    kinds = {kind: sum(one.kind == kind and bool(one.name) for one in judged) for kind in ("drawn", "real")}
    unlabelled = sum(not one.name for one in judged)
    content = {
        "bundle": f"{bundle.name} {bundle.version}",
        "torch_difference": difference,
        "most_f1_loss": MOST_F1_LOSS,
        "least_agreement": LEAST_AGREEMENT,
        "pictures": {**kinds, "unlabelled": unlabelled},
        "shipped": [precision.value for precision in shipped],
        "parities": [asdict(one) for one in parities],
        "int8": None
        if quantised is None
        else {
            "rule": quantised.rule.name,
            "rule_scores": dict(quantised.rule_scores),
            "left_in_float": ["all after the last feature map", *quantised.sensitivity.chosen],
            "sensitivity": asdict(quantised.sensitivity),
        },
    }
    write_text_atomically(report, json.dumps(content, indent=2) + "\n")
    write_text_atomically(report.with_suffix(".md"), to_markdown(parities, task, f"{bundle.name} {bundle.version}"))
    return report


def to_markdown(parities: Sequence[GradeParity], task: Task, title: str) -> str:
    """A table, one row per precision."""
    rows = [
        f"| {one.precision} | {one.macro_f1:.4f} | {one.macro_f1_loss:+.4f} | {100 * one.agreement:.2f} % "
        f"| {one.probability_mae:.5f} | {one.probability_max:.3f} | {one.latency_ms:.1f} | {one.speed:.2f}x "
        f"| {'kept' if one.kept else 'refused'} |"
        for one in parities
    ]
    head = "| precision | macro-F1 | loss | grades as FP32 | probability MAE | largest | ms | speed | |"
    rule = (
        f"Kept: macro-F1 loss at most {MOST_F1_LOSS:g}, and at least {100 * LEAST_AGREEMENT:g} % of the grades FP32's."
    )
    return "\n".join(
        [f"# {task.value} of bundle {title}", "", head, "|---|---|---|---|---|---|---|---|---|", *rows, "", rule, ""]
    )
