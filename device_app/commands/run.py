"""`scalpscope run`: the app on a live source, or the same loop without a window."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calibration.errors import ScalpScopeError
from device_app.commands.options import BundlePath, ChosenPrecision, ChosenProfile, Classes, UmPerPx, one_scale
from device_app.settings import DeviceSettings, load_settings

if TYPE_CHECKING:
    from calibration.optics.profile import Profile
    from device_app.camera.source import FrameSource
    from device_app.camera.uvc import CameraSettings
    from device_app.live.settings import PipelineSettings

_log = logging.getLogger(__name__)


def command(
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="demo|camera[:N]|PATH",
            help="What to look at: the demo scalp, a USB camera, a video file, or a folder of pictures. "
            "[default: the first camera, or the demo scalp where there is none]",
        ),
    ] = None,
    profile: ChosenProfile = None,
    bundle: BundlePath = None,
    um_per_px: UmPerPx = None,
    classes: Classes = None,
    precision: ChosenPrecision = None,
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend",
            metavar="NAME",
            help="What runs the networks, and nothing else, such as onnxruntime-cpu or tensorrt; scalpscope doctor "
            "names them. [default: the best for this machine]",
        ),
    ] = None,
    window: Annotated[
        str | None, typer.Option("--window", metavar="WxH", help="Size of the window. [default: 1280x800]")
    ] = None,
    fullscreen: Annotated[
        bool | None, typer.Option("--fullscreen/--no-fullscreen", help="Fill the screen, without a frame.")
    ] = None,
    records: Annotated[
        Path | None, typer.Option("--records", metavar="DIR", help="Where Save writes to. [default: ~/ScalpScope]")
    ] = None,
    refine_still: Annotated[
        bool | None,
        typer.Option(
            "--refine-still/--no-refine-still",
            help="Refine by itself what stands still, where the bundle can. [default: yes; with --headless: no]",
        ),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            "--settings",
            metavar="TOML",
            help="The device's settings; options given here win over it. [default: ~/.config/scalpscope/settings.toml]",
        ),
    ] = None,
    headless: Annotated[
        bool, typer.Option("--headless", help="The same loop without a window; needs --seconds.")
    ] = False,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.1, help="With --headless: for how long. Ctrl-C ends it sooner.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="R.json", help="With --headless: write what happened here.")
    ] = None,
) -> None:
    """Open the app: live picture, hairs outlined and measured.

    Without any option it shows the first camera, or a moving demo scalp where there is no camera.

    \b
    Examples:
      scalpscope run
      scalpscope run --source camera:0 --profile scope-a-50x --fullscreen
      scalpscope run --source visit.mp4 --um-per-px 2.5
      scalpscope run --headless --seconds 60 --report report.json
    """
    if headless and seconds is None:
        raise ScalpScopeError("--headless runs for a stated time.", "Add --seconds N.")
    if not headless and (seconds is not None or report is not None):
        raise ScalpScopeError("--seconds and --report belong to --headless.", "Add --headless, or leave them out.")
    one_scale(profile, um_per_px)  # both on one command line is a mistake; one may replace that of the file
    chosen = load_settings(settings).overridden(
        source=source,
        profile=profile,
        bundle=bundle,
        um_per_px=um_per_px,
        classes=classes,
        precision=None if precision is None else precision.value,
        backend=backend,
        window=window,
        fullscreen=fullscreen,
        records=records,
        # Without a window nobody sees the refined picture, and the report's rates are to be those of the live lane.
        refine_still=bool(refine_still) if headless else refine_still,
    )
    planned = plan(chosen)
    if headless:
        _run_headless(planned, seconds or 0.0, report)
    else:
        _run_window(planned, chosen)


@dataclass(frozen=True)
class LivePlan:
    """All that the live loop needs, from the settings and the command line, with or without a window."""

    source: FrameSource
    pipeline: PipelineSettings
    profile: Profile | None


def plan(chosen: DeviceSettings) -> LivePlan:
    """Load the profile, choose the source, and say how frames are analysed.

    Raises:
        ScalpScopeError: the profile is refused, or the source is nothing that can be shown.
    """
    from device_app.bundle import default_bundle_path
    from device_app.camera.choose import open_source
    from device_app.camera.demo import DemoScalp
    from device_app.engines.engine import Precision
    from device_app.live.settings import PipelineSettings

    profile = one_scale(chosen.profile, chosen.um_per_px)
    source = open_source(chosen.source or first_camera_or_demo(), camera=camera_settings(chosen, profile))
    scale = chosen.um_per_px if profile is None else profile.scale_um_per_px
    if isinstance(source, DemoScalp):
        # The demo scalp is rendered at a known scale; a microscope's calibration says nothing about it.
        if scale is not None:
            _log.warning("the demo scalp has its own scale; the profile or scale that was set is not used")
        profile, scale = None, source.scale_um_per_px
    pipeline = PipelineSettings(
        bundle_path=chosen.bundle or default_bundle_path(),
        scale_um_per_px=scale,
        scale_uncertainty_um_per_px=0.0 if profile is None else profile.scale_uncertainty_um_per_px,
        classes=chosen.classes.cuts,
        precision=None if chosen.precision is None else Precision(chosen.precision),
        backend=chosen.backend,
        flat_field=None if profile is None else profile.illumination(),
        refine_still=chosen.refine_still,
    )
    return LivePlan(source, pipeline, profile)


def first_camera_or_demo() -> str:
    """What to look at when nothing was chosen; says so where it is the demo scalp."""
    from device_app.camera.uvc import list_cameras

    cameras = list_cameras()
    if cameras:
        return f"camera:{cameras[0].index}"
    typer.echo("scalpscope: no camera found, so this is the demo scalp; plug one in and start again", err=True)
    return "demo"


def camera_settings(chosen: DeviceSettings, profile: Profile | None) -> CameraSettings:
    """How a USB camera is set: as the settings say, and at the profile's resolution where they say none."""
    from device_app.camera.uvc import CameraSettings, PixelFormat

    table = chosen.camera
    size = (640, 480) if profile is None else (profile.width_px, profile.height_px)
    return CameraSettings(
        width=table.width or size[0],
        height=table.height or size[1],
        fps=table.fps,
        pixel_format=None if table.pixel_format is None else PixelFormat(table.pixel_format),
        exposure=table.exposure,
        white_balance_k=table.white_balance_k,
    )


def _run_headless(planned: LivePlan, seconds: float, report: Path | None) -> None:
    from device_app.live.headless import run_headless
    from device_app.live.supervisor import LiveSession

    def check_size(session: LiveSession, elapsed_s: float) -> None:
        frame = session.latest_frame()
        if planned.profile is not None and frame is not None:
            planned.profile.check_resolution(frame.image.shape[1], frame.image.shape[0])

    found = run_headless(planned.source, planned.pipeline, seconds, report, on_tick=check_size)
    typer.echo(
        f"{found['source']}: {found['analysed']} of {found['captured']} frames analysed in "
        f"{found['measured_s']:.1f} s, "
        f"{found['analysed_per_s']:.1f} a second, by {found['bundle']} on {found['backend']}."
        + (f" The report is in {report}." if report is not None else "")
    )


def _run_window(planned: LivePlan, chosen: DeviceSettings) -> None:
    from device_app.advice import load_advice
    from device_app.bundle import load_bundle
    from device_app.doctor import State
    from device_app.doctor_checks import find_display
    from device_app.live.supervisor import LiveSession
    from device_app.screens.app import run_app

    display = find_display()
    if display.state is State.FAIL:
        raise ScalpScopeError(f"There is {display.found}.", display.remedy)
    # What nobody at the screen could mend is said before there is a window.
    load_bundle(planned.pipeline.bundle_path)
    if planned.pipeline.backend is not None:
        from device_app.engines.select import backends_named

        backends_named(planned.pipeline.backend)
    advice = load_advice(chosen.advice)
    run_app(
        LiveSession(planned.source, planned.pipeline),
        profile=planned.profile,
        records=chosen.records.expanduser(),
        advice=advice,
        overview_folder=chosen.overview_folder.expanduser(),
        window=chosen.window,
        fullscreen=chosen.fullscreen,
    )
