"""`scalpscope run`: the app on a live source, or the same loop without a window."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calibration.errors import ScalpScopeError
from device_app.commands.options import BundlePath, ChosenPrecision, ChosenProfile, Classes, UmPerPx, one_scale
from device_app.settings import DeviceSettings, load_settings

if TYPE_CHECKING:
    from calibration.optics.profile import Profile
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
    window: Annotated[
        str | None, typer.Option("--window", metavar="WxH", help="Size of the window. [default: 1280x800]")
    ] = None,
    fullscreen: Annotated[
        bool | None, typer.Option("--fullscreen/--no-fullscreen", help="Fill the screen, without a frame.")
    ] = None,
    records: Annotated[
        Path | None, typer.Option("--records", metavar="DIR", help="Where Save writes to. [default: ~/ScalpScope]")
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
    one_scale(profile, um_per_px)
    chosen = load_settings(settings).overridden(
        source=source,
        profile=profile,
        bundle=bundle,
        um_per_px=um_per_px,
        classes=classes,
        precision=None if precision is None else precision.value,
        window=window,
        fullscreen=fullscreen,
        records=records,
    )
    loaded_profile = one_scale(chosen.profile, None)
    spec = chosen.source or _first_camera_or_demo()
    if headless:
        _run_headless(spec, chosen, loaded_profile, seconds or 0.0, report)
    else:
        _run_window(spec, chosen, loaded_profile)


def _first_camera_or_demo() -> str:
    from device_app.camera.uvc import list_cameras

    cameras = list_cameras()
    if cameras:
        return f"camera:{cameras[0].index}"
    typer.echo("scalpscope: no camera found, so this is the demo scalp; name a camera with --source camera:N", err=True)
    return "demo"


def pipeline_settings(chosen: DeviceSettings, profile: Profile | None) -> PipelineSettings:
    """How frames are analysed, from what was chosen and the loaded profile."""
    from device_app.bundle import default_bundle_path
    from device_app.engines.engine import Precision
    from device_app.live.settings import PipelineSettings

    return PipelineSettings(
        bundle_path=chosen.bundle or default_bundle_path(),
        scale_um_per_px=chosen.um_per_px if profile is None else profile.scale_um_per_px,
        scale_uncertainty_um_per_px=0.0 if profile is None else profile.scale_uncertainty_um_per_px,
        classes=chosen.classes.cuts,
        precision=None if chosen.precision is None else Precision(chosen.precision),
        flat_field=None if profile is None else profile.illumination(),
    )


def _run_headless(
    spec: str, chosen: DeviceSettings, profile: Profile | None, seconds: float, report: Path | None
) -> None:
    raise NotImplementedError


def _run_window(spec: str, chosen: DeviceSettings, profile: Profile | None) -> None:
    raise NotImplementedError
