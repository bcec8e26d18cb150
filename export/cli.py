"""The `scalpscope-export` command: from a checkpoint to a bundle, from a bundle to the engines of a device.

Heavy libraries load when a sub-command runs: `engines` runs on the device, where neither torch nor onnx is installed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from calibration.errors import ScalpScopeError
from device_app.manifest_parts import Combination
from export.engines_command import engines

if TYPE_CHECKING:
    from export.bundle_writer import NetworkFacts

app = typer.Typer(
    name="scalpscope-export",
    help=(
        "Turn trained networks into a bundle: ONNX, FP16, two kinds of int8, each compared with the original. "
        "And a bundle's networks into the TensorRT engines of this device."
    ),
    epilog=(
        "\b\nExamples:\n"
        "  scalpscope-export bundle --checkpoint RUN/best.pt --frames PICTURES --out device_app/bundles/default\n"
        "  scalpscope-export classifier --checkpoint RUN/calibrated.pt --bundle OLD --frames PICTURES --out NEW\n"
        "  scalpscope-export verify device_app/bundles/default\n"
        "  scalpscope-export parity device_app/bundles/default --frames PICTURES --out report\n"
        "  scalpscope-export engines device_app/bundles/default\n"
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

Checkpoint = Annotated[
    Path, typer.Option("--checkpoint", metavar="FILE", help="best.pt or weights.pt of a run, or public U²-Net weights.")
]
Frames = Annotated[
    Path | None, typer.Option("--frames", metavar="DIR", help="Real pictures. Without it, pseudo-images only.")
]
Width = Annotated[int, typer.Option("--width", min=32, help="Width of the network's input, pixels.")]
Height = Annotated[int, typer.Option("--height", min=32, help="Height of the network's input, pixels.")]
Quick = Annotated[
    bool, typer.Option("--quick", help="Quantise without the search for the best ranges and float layers.")
]
Calibration = Annotated[int, typer.Option("--calibration", min=1, help="Real frames for the ranges.")]
HeldOut = Annotated[int, typer.Option("--held-out", min=1, help="Real frames that loss is measured on.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the choice of frames.")]
Source = Annotated[Path, typer.Option("--bundle", metavar="DIR", help="The bundle whose other networks stay.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="The new bundle's folder.")]
Licence = Annotated[str, typer.Option("--licence", help="Of the weights.")]
Credit = Annotated[str, typer.Option("--credit", help="Whom to name.")]
Demonstration = Annotated[
    bool,
    typer.Option(
        "--demonstration/--no-demonstration", help="Mark it as demonstration only on every screen and report."
    ),
]
Fp32 = Annotated[
    Path | None,
    typer.Option("--fp32", metavar="FILE", help="The hair network's FP32 file, for a bundle that ships without it."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


@app.command()
def bundle(
    checkpoint: Checkpoint,
    out: Out,
    frames: Frames = None,
    name: Annotated[str, typer.Option("--name", help="The bundle's name.")] = "default",
    version: Annotated[str, typer.Option("--version", help="The bundle's version.")] = "1",
    width: Width = 640,
    height: Height = 480,
    threshold: Annotated[float, typer.Option("--threshold", help="Probability from which a pixel is hair.")] = 0.5,
    calibration: Calibration = 16,
    held_out: HeldOut = 12,
    seed: Seed = 0,
    trained_on: Annotated[str, typer.Option("--trained-on", help="What the network has seen, for the manifest.")] = (
        "pseudo-images over hair-free scalp, found automatically and drawn; no hand-drawn masks"
    ),
    licence: Licence = "Apache-2.0",
    credit: Credit = "ScalpScope",
    demonstration: Demonstration = True,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="DIR", help="Folder of the parity report. [default: OUT-parity]")
    ] = None,
    quick: Quick = False,
    least_dice: Annotated[
        float,
        typer.Option("--least-dice", min=0, max=1, help="Refuse a precision whose golden masks agree less with FP32."),
    ] = 0.9,
    overwrite: Overwrite = False,
) -> None:
    """Export, calibrate, quantise, compare and write a bundle: everything from a checkpoint to what a device runs."""
    from export.build import BuildSettings, build_bundle
    from export.quantise import steps

    settings = BuildSettings(
        checkpoint=checkpoint,
        out=out,
        frames=frames,
        name=name,
        version=version,
        facts=_facts(width, height, threshold, trained_on, licence, credit, demonstration),
        calibration=calibration,
        held_out=held_out,
        seed=seed,
        quick=quick,
        least_dice=least_dice,
        overwrite=overwrite,
        report=report,
    )
    with _progress(steps(calibration + max(2, round(calibration / 3))) + 6) as advance:
        built = build_bundle(settings, advance)
    typer.echo(built.parity.to_markdown())
    kept = ", ".join(built.quantised.sensitivity.chosen) or "nothing"
    typer.echo(f"int8 ranges: {built.quantised.rule.name}; left in float: {kept}")
    size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    typer.echo(f"Bundle {out}, {size:.1f} MB; report in {built.report_folder}")


@app.command()
def sam(
    checkpoint: Annotated[
        Path,
        typer.Option("--checkpoint", metavar="FILE", help="best.pt or weights.pt of a student's run, or official SAM."),
    ],
    source: Source,
    out: Out,
    frames: Frames = None,
    version: Annotated[str, typer.Option("--version", help="The new bundle's version.")] = "2",
    combination: Annotated[
        Combination, typer.Option("--combination", help="How the device makes the hair mask of the coarse and SAM's.")
    ] = Combination.PRODUCT,
    mask_prompt: Annotated[
        bool, typer.Option("--mask-prompt/--points-only", help="Give SAM the coarse mask beside the points.")
    ] = False,
    calibration: Calibration = 16,
    held_out: HeldOut = 12,
    seed: Seed = 0,
    trained_on: Annotated[str, typer.Option("--trained-on", help="What the network has seen, for the manifest.")] = (
        "pseudo-images over hair-free scalp, found automatically and drawn; no hand-drawn masks, no teacher"
    ),
    licence: Licence = "Apache-2.0",
    credit: Credit = "ScalpScope",
    demonstration: Demonstration = True,
    quick: Quick = False,
    overwrite: Overwrite = False,
) -> None:
    """Put SAM beside the hair network of a bundle: encoder and decoder, each precision kept or refused by its masks."""
    from export.quantise import steps
    from export.sam import SamBuildSettings, build_sam

    settings = SamBuildSettings(
        checkpoint=checkpoint,
        bundle=source,
        out=out,
        frames=frames,
        version=version,
        trained_on=trained_on,
        licence=licence,
        credit=credit,
        demonstration_only=demonstration,
        combination=combination,
        mask_prompt=mask_prompt,
        calibration=calibration,
        held_out=held_out,
        seed=seed,
        quick=quick,
        overwrite=overwrite,
    )
    with _progress(steps(calibration + max(2, round(calibration / 3))) + 6) as advance:
        built = build_sam(settings, advance)
    for one in built.agreements:
        told = "kept" if one.kept else "refused"
        ious = f"mask IoU with FP32 {one.mean_iou:.4f}, worst {one.worst_iou:.4f}"
        typer.echo(f"{one.part} {one.precision}: {ious}; {told}")
    size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    typer.echo(f"Bundle {out}, {size:.1f} MB; report in {built.report}")


@app.command()
def classifier(
    checkpoint: Annotated[
        Path, typer.Option("--checkpoint", metavar="FILE", help="calibrated.pt of a run, of any of the three tasks.")
    ],
    source: Source,
    out: Out,
    frames: Annotated[
        Path | None,
        typer.Option("--frames", metavar="DIR", help="Real pictures. [default: training pictures of --labelled]"),
    ] = None,
    labelled: Annotated[
        Path | None,
        typer.Option("--labelled", metavar="DIR", help="A set with labels: loss on its validation pictures counts."),
    ] = None,
    layout: Annotated[
        str | None, typer.Option("--layout", help="Of --labelled: aihub, csv, folders, yolo. [default: found out]")
    ] = None,
    version: Annotated[str, typer.Option("--version", help="The new bundle's version.")] = "3",
    calibration: Calibration = 24,
    held_out: HeldOut = 24,
    judged: Annotated[
        int, typer.Option("--judged", min=8, help="Drawn pictures, and at most so many labelled ones, for the loss.")
    ] = 240,
    seed: Seed = 0,
    trained_on: Annotated[
        str | None, typer.Option("--trained-on", help="For the manifest. [default: what the checkpoint says]")
    ] = None,
    licence: Licence = "Apache-2.0",
    credit: Credit = "ScalpScope",
    demonstration: Demonstration = True,
    with_fp32: Annotated[bool, typer.Option("--with-fp32", help="Ship the FP32 file as well.")] = False,
    leave_out: Annotated[
        list[str] | None,
        typer.Option("--leave-out", metavar="FILE", help="Of the old bundle, such as hair_fp32; may be repeated."),
    ] = None,
    quick: Quick = False,
    overwrite: Overwrite = False,
) -> None:
    """Put a classifier beside the networks of a bundle, int8 kept or refused by its grades."""
    from export.conditions import ClassifierBuildSettings, build_classifier
    from export.quantise import steps

    settings = ClassifierBuildSettings(
        checkpoint=checkpoint,
        bundle=source,
        out=out,
        frames=frames,
        labelled=labelled,
        layout=layout,
        version=version,
        trained_on=trained_on,
        licence=licence,
        credit=credit,
        demonstration_only=demonstration,
        with_fp32=with_fp32,
        leave_out=tuple(leave_out or ()),
        calibration=calibration,
        held_out=held_out,
        judged=judged,
        seed=seed,
        quick=quick,
        overwrite=overwrite,
    )
    with _progress(steps(2 * calibration) + 8) as advance:
        built = build_classifier(settings, advance)
    typer.echo(built.report.with_suffix(".md").read_text(encoding="utf-8"))
    size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    typer.echo(f"Bundle {out}, {size:.1f} MB; report in {built.report}")


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle's folder.")],
    precision: Annotated[str | None, typer.Option("--precision", help="Run this one only: fp32, int8_u8s8 ...")] = None,
) -> None:
    """Check a bundle: manifest, every file's SHA-256, and every network against its goldens on this machine."""
    from device_app.bundle import load_bundle
    from device_app.engines.engine import Precision
    from device_app.engines.select import open_engine

    loaded = load_bundle(path)
    if precision is not None and precision not in [p.value for p in Precision]:
        raise ScalpScopeError(
            f"There is no precision '{precision}'.", f"Use one of: {', '.join(p.value for p in Precision)}."
        )
    wanted = [
        (task, each)
        for task in loaded.tasks
        for each in loaded.model(task).files
        if precision is None or each.value == precision
    ]
    if not wanted:
        raise ScalpScopeError(f"No network of {path} has a {precision} file.", "Leave --precision out.")
    for task, each in wanted:
        engine = open_engine(loaded, task, each)
        typer.echo(f"{task.value} {each.value}: good on {engine.backend} ({engine.goldens})")
        engine.close()
    note = " For demonstration only." if loaded.demonstration_only else ""
    typer.echo(f"Bundle {loaded.name} {loaded.version} is whole.{note}")


@app.command("onnx")
def onnx_command(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option("--out", metavar="FILE.onnx", help="The file to write.")],
    width: Width = 640,
    height: Height = 480,
    half: Annotated[bool, typer.Option("--fp16", help="Compute in FP16; input and output stay FP32.")] = False,
) -> None:
    """Write one ONNX file, compared with torch."""
    from calibration.files import write_bytes_atomically
    from export.onnx import describe, export_onnx, to_fp16
    from training.segmentation.checkpoint import load_network

    model, difference = export_onnx(load_network(checkpoint), width, height)
    write_bytes_atomically(out, (to_fp16(model) if half else model).SerializeToString())
    typer.echo(describe(out))
    typer.echo(f"FP32 against torch: largest difference of a probability {difference:.2g}")


@app.command()
def quantise(
    source: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="An FP32 file of the onnx sub-command.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the two int8 files; made if needed.")],
    frames: Frames = None,
    calibration: Calibration = 16,
    held_out: HeldOut = 12,
    seed: Seed = 0,
    quick: Quick = False,
) -> None:
    """Write both int8 files of an FP32 ONNX file."""
    from calibration.files import make_folder, write_bytes_atomically
    from export.build import quantise_file
    from export.quantise import steps

    with _progress(steps(calibration + max(2, round(calibration / 3))) + 2) as advance:
        quantised = quantise_file(source, frames, _facts, calibration, held_out, seed, quick, advance)
    for precision, model in quantised.models.items():
        path = make_folder(out) / f"{source.stem}_{precision.value}.onnx"
        write_bytes_atomically(path, model.SerializeToString())
        typer.echo(f"{path}, {path.stat().st_size / 1e6:.2f} MB")
    kept = ", ".join(quantised.sensitivity.chosen) or "nothing"
    typer.echo(f"ranges: {quantised.rule.name}; left in float: {kept}")


@app.command()
def parity(
    path: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle's folder.")],
    frames: Annotated[Path, typer.Option("--frames", metavar="DIR", help="Real pictures.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of parity.json and parity.md.")],
    count: Annotated[int, typer.Option("--count", min=1, help="At most this many, spread over the folder.")] = 60,
    um_per_px: Annotated[float | None, typer.Option("--um-per-px", help="Scale, for diameters in micrometres.")] = None,
    fp32: Fp32 = None,
) -> None:
    """Compare every precision of a bundle's hair network with FP32 on real pictures."""
    from calibration.files import make_folder
    from device_app.bundle import load_bundle
    from device_app.images import find_images, read_image
    from export.parity import measure_parity, write_parity

    files = find_images([frames])
    every = max(1, -(-len(files) // count))
    chosen = [(file.name, read_image(file)) for file in files[::every]]
    with _progress(len(chosen)) as advance:
        report = measure_parity(
            load_bundle(path), chosen, scale_um_per_px=um_per_px, advance=lambda: advance("comparing"), fp32=fp32
        )
    write_parity(make_folder(out), report)
    typer.echo(report.to_markdown())


app.command()(engines)


def main() -> None:
    """Run the command; what a user can mend is said in one line, exit code 2."""
    try:
        app()
    except ScalpScopeError as error:
        typer.echo(f"scalpscope-export: {error}", err=True)
        sys.exit(2)


def _facts(
    width: int,
    height: int,
    threshold: float = 0.5,
    trained_on: str = "",
    licence: str = "",
    credit: str = "",
    demonstration: bool = True,
) -> NetworkFacts:
    """What the manifest says of a network of ours, with the normalisation its training used."""
    from export.bundle_writer import NetworkFacts
    from training.segmentation.dataset import MEAN, STD

    return NetworkFacts(
        input_shape=(1, 3, height, width),
        mean=MEAN,
        std=STD,
        trained_on=trained_on,
        licence=licence,
        credit=credit,
        demonstration_only=demonstration,
        threshold=threshold,
    )


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str], None]]:
    """A bar that counts steps and names the one being done. `total` may be too many: the bar is filled at the end."""
    console = Console(stderr=True)
    if not console.is_terminal:
        # A log file gets a line for each new thing instead of a bar.
        last = ""

        def say(what: str) -> None:
            nonlocal last
            if what != last:
                typer.echo(f"{time.strftime('%H:%M:%S')} {what}", err=True)
            last = what

        yield say
        return
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}")
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("starting", total=total)

        def advance(what: str) -> None:
            progress.update(task, advance=1, description=what)

        yield advance
        progress.update(task, completed=total, description="done")
