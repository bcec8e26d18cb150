"""The ``scalpscope-calibrate`` command: make, show and list the profiles of a microscope."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from calibration.errors import ScalpScopeError
from calibration.optics.illumination import FlatField
from calibration.optics.profile import Profile, ScaleMethod, find_profile, list_profiles, profile_path
from calibration.optics.scale import find_ruler, scale_from_points, typed_scale
from calibration.pictures import read_image

app = typer.Typer(
    help="Tell ScalpScope how many micrometres a pixel of your microscope is, and how its light falls.\n\n"
    "One profile holds one microscope at one magnification and one picture size. Start with: "
    "scalpscope-calibrate ruler PICTURE --tick-um 100 --name my-scope-50x",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_console = Console(soft_wrap=True, highlight=False)
_errors = Console(stderr=True, soft_wrap=True, highlight=False)

_Name = Annotated[str, typer.Option(help="What to call the profile, such as scope-a-50x.")]
_Microscope = Annotated[str, typer.Option(help="Maker and model of the microscope.")]
_Magnification = Annotated[str, typer.Option(help="Magnification that it is set to, such as 50x.")]
_Out = Annotated[
    Path | None,
    typer.Option(help="Where to write the profile; by default among your own, where --profile NAME finds it."),
]
_Replace = Annotated[bool, typer.Option("--replace", help="Replace a profile of that name.")]


def main() -> None:
    """Run the command; a `ScalpScopeError` becomes one line on standard error and exit code 1."""
    try:
        app()
    except ScalpScopeError as error:
        _errors.print(f"[bold red]Error:[/] {escape(str(error))}")
        raise SystemExit(1) from error


@app.command()
def ruler(
    picture: Annotated[
        Path, typer.Argument(help="Picture of a stage micrometer or a printed ruler, from the microscope.")
    ],
    tick_um: Annotated[float, typer.Option(help="Distance between two neighbouring ticks in micrometres.")],
    name: _Name,
    microscope: _Microscope = "",
    magnification: _Magnification = "",
    out: _Out = None,
    replace: _Replace = False,
) -> None:
    """Find the ruler in PICTURE, measure all its ticks, and save the scale as a profile."""
    path = _free_path(name, out, replace)
    image = read_image(picture)
    fit = find_ruler(image, tick_um)
    _console.print(
        f"Ruler found: {len(fit.ticks)} ticks, {fit.spacing_px:.3f} pixels apart, at {fit.angle_deg:.1f} degrees, "
        f"each within {fit.residual_px:.2f} pixels of its place."
    )
    _save(
        Profile.make(
            name=name,
            microscope=microscope,
            magnification=magnification,
            width_px=image.shape[1],
            height_px=image.shape[0],
            scale_um_per_px=fit.scale_um_per_px,
            scale_uncertainty_um_per_px=fit.uncertainty_um_per_px,
            method=ScaleMethod.RULER,
        ),
        path,
    )


@app.command()
def points(
    picture: Annotated[
        Path, typer.Argument(help="Picture in which the two points were read off; tells the picture size.")
    ],
    first: Annotated[tuple[float, float], typer.Option(metavar="X Y", help="First point in pixels.")],
    second: Annotated[tuple[float, float], typer.Option(metavar="X Y", help="Second point in pixels.")],
    distance_um: Annotated[float, typer.Option(help="True distance between the points in micrometres.")],
    name: _Name,
    click_sd_px: Annotated[float, typer.Option(min=0.01, help="How well each point is known, in pixels.")] = 1.0,
    microscope: _Microscope = "",
    magnification: _Magnification = "",
    out: _Out = None,
    replace: _Replace = False,
) -> None:
    """Take the scale from two points whose distance you know, and save it as a profile."""
    path = _free_path(name, out, replace)
    height, width = read_image(picture).shape[:2]
    for x, y in (first, second):
        if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
            raise ScalpScopeError(
                f"The point {x:g} {y:g} lies outside the picture of {width} x {height} pixels.",
                "Read both points off again.",
            )
    estimate = scale_from_points(first, second, distance_um, click_sd_px)
    _save(
        Profile.make(
            name=name,
            microscope=microscope,
            magnification=magnification,
            width_px=width,
            height_px=height,
            scale_um_per_px=estimate.scale_um_per_px,
            scale_uncertainty_um_per_px=estimate.uncertainty_um_per_px,
            method=ScaleMethod.POINTS,
        ),
        path,
    )


@app.command()
def typed(
    um_per_px: Annotated[float, typer.Option(help="Micrometres per pixel.")],
    width: Annotated[int, typer.Option(min=1, help="Width in pixels of the pictures that it holds for.")],
    height: Annotated[int, typer.Option(min=1, help="Height in pixels.")],
    name: _Name,
    uncertainty: Annotated[
        float | None,
        typer.Option(help="One standard deviation in micrometres per pixel; 2 % of the scale if not given."),
    ] = None,
    microscope: _Microscope = "",
    magnification: _Magnification = "",
    out: _Out = None,
    replace: _Replace = False,
) -> None:
    """Save a scale that you know from elsewhere as a profile."""
    path = _free_path(name, out, replace)
    estimate = typed_scale(um_per_px, uncertainty)
    _save(
        Profile.make(
            name=name,
            microscope=microscope,
            magnification=magnification,
            width_px=width,
            height_px=height,
            scale_um_per_px=estimate.scale_um_per_px,
            scale_uncertainty_um_per_px=estimate.uncertainty_um_per_px,
            method=ScaleMethod.TYPED,
        ),
        path,
    )


@app.command()
def white(
    picture: Annotated[
        Path, typer.Argument(help="Picture of plain white paper, slightly out of focus, from the microscope.")
    ],
    profile: Annotated[str, typer.Option(help="The profile to add it to: its name, or a file.")],
) -> None:
    """Measure how the light falls and what white is, and add both to a profile."""
    path = find_profile(profile)
    known = Profile.load(path)
    image = read_image(picture)
    known.check_resolution(image.shape[1], image.shape[0])
    field = FlatField.from_white_picture(image)
    known.with_illumination(field).save(path)
    red, green, blue = field.white_balance
    _console.print(
        f"Light evened out by up to {field.gains.max():.2f} times; white balance red {red:.3f}, green {green:.3f}, "
        f"blue {blue:.3f}. Saved in {escape(str(path))}"
    )


@app.command()
def show(profile: Annotated[str, typer.Argument(help="Name of a profile, or its file.")]) -> None:
    """Show what a profile says."""
    path = find_profile(profile)
    known = Profile.load(path)
    table = Table(show_header=False, box=None)
    for label, value in _facts(known, path).items():
        table.add_row(label, escape(value))
    _console.print(table)


@app.command("list")
def list_all() -> None:
    """List your profiles."""
    paths = list_profiles()
    if not paths:
        _console.print("No profiles yet. Make one with: scalpscope-calibrate ruler PICTURE --tick-um 100 --name NAME")
        return
    table = Table("Name", "µm per pixel", "Pictures", "Microscope", "Magnification", box=None)
    for path in paths:
        try:
            known = Profile.load(path)
        except ScalpScopeError as error:
            table.add_row(escape(path.stem), f"[red]{escape(error.what)}[/]")
            continue
        size = f"{known.width_px} x {known.height_px}"
        table.add_row(escape(path.stem), _scale(known), size, escape(known.microscope), escape(known.magnification))
    _console.print(table)


def _facts(profile: Profile, path: Path) -> dict[str, str]:
    light = "none; add it with: scalpscope-calibrate white PICTURE --profile " + path.stem
    field = profile.illumination()
    if field is not None:
        light = f"evened out by up to {field.gains.max():.2f} times"
    return {
        "Profile": profile.name,
        "Microscope": profile.microscope or "not given",
        "Magnification": profile.magnification or "not given",
        "Pictures": f"{profile.width_px} x {profile.height_px} pixels",
        "Scale": f"{_scale(profile)} µm per pixel ({100 * profile.relative_uncertainty:.2f} %, one standard deviation)",
        "Found by": profile.method.value,
        "Made": profile.created.isoformat(" "),
        "Light": light,
        "File": str(path),
    }


def _scale(profile: Profile) -> str:
    return f"{profile.scale_um_per_px:.4f} ± {profile.scale_uncertainty_um_per_px:.4f}"


def _free_path(name: str, out: Path | None, replace: bool) -> Path:
    """Where the profile goes; refuses, before any work is done, to write over another one unasked."""
    path = profile_path(name) if out is None else out
    if path.exists() and not replace:
        raise ScalpScopeError(f"There is already a profile '{path}'.", "Choose another --name, or add --replace.")
    return path


def _save(profile: Profile, path: Path) -> None:
    profile.save(path)
    _console.print(f"{_scale(profile)} µm per pixel at {profile.width_px} x {profile.height_px}.")
    _console.print(f"Saved in {escape(str(path))}")
    _console.print(
        "Use it with: scalpscope run --profile "
        + escape(str(path) if path != profile_path(profile.name) else profile.name)
    )


if __name__ == "__main__":
    main()
