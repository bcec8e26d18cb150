"""The `scalpscope` command: what each sub-command is called, and what its errors look like.

Importing this module is quick; a sub-command loads OpenCV, networks and windows when it runs.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from calibration.errors import ScalpScopeError
from device_app import __version__
from device_app.commands import analyse, bench, bundle, doctor, run, stage

EXIT_USER = 2
"""Something the user can mend: a wrong option, a bad file, a full disk. Said in one line on stderr."""
EXIT_INTERNAL = 70
"""A fault of ScalpScope itself (EX_SOFTWARE of sysexits.h)."""

# Plain help and plain errors: they read the same on a terminal, in a log, and through ssh to a kiosk.
app = typer.Typer(
    name="scalpscope",
    help="Find, measure and count the hairs in pictures of a scalp microscope. No medical device, no diagnosis.",
    epilog=(
        "\b\nExamples:\n"
        "  scalpscope run                                    the app, on a camera or the demo scalp\n"
        "  scalpscope analyse photos/ --out results          measure pictures that were taken before\n"
        "  scalpscope stage head.jpg                         the stage of hair loss in overview photographs\n"
        "  scalpscope doctor                                 what this machine has and lacks\n\n"
        "Exit codes: 0 done, 1 partly done or not fit, 2 something to mend (said in one line), 70 our fault."
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
app.command("run")(run.command)
app.command("analyse")(analyse.command)
app.command("stage")(stage.command)
app.command("doctor")(doctor.command)
app.add_typer(bench.app, name="bench")
app.add_typer(bundle.app, name="bundle")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"scalpscope {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log what is being done to stderr. May stand anywhere.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="With an error, print where it came from. May stand anywhere.")
    ] = False,
) -> None:
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s" if verbose else "scalpscope: %(message)s",
        stream=sys.stderr,
    )
    logging.captureWarnings(True)  # what libraries warn programmers of is no message for the user
    logging.getLogger("py.warnings").setLevel(logging.WARNING if verbose else logging.CRITICAL)


def call(argv: Sequence[str], program: typer.Typer = app) -> int:
    """Run one command line (without the program's name) and return its exit code; errors become one line on stderr."""
    argv = _global_options_first(list(argv))
    try:
        program(args=argv, prog_name="scalpscope")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except ScalpScopeError as error:
        return _report(str(error), EXIT_USER, debug="--debug" in argv)
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # the last line of defence: whatever it is, the user gets one line
        text = f"a fault of ScalpScope: {type(error).__name__}: {error} (run again with --debug to see where)"
        return _report(text, EXIT_INTERNAL, debug="--debug" in argv)
    return 0


def main() -> None:
    """Entry point of the console script."""
    code = call(sys.argv[1:])
    sys.stdout.flush()
    sys.exit(code)


def _global_options_first(argv: list[str]) -> list[str]:
    """Let --verbose and --debug stand behind the sub-command as well."""
    end = argv.index("--") if "--" in argv else len(argv)
    moved = [word for word in argv[:end] if word in ("--verbose", "--debug")]
    return moved + [word for word in argv[:end] if word not in moved] + argv[end:]


def _report(text: str, code: int, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    typer.echo(f"scalpscope: {' '.join(text.split())}", err=True)
    return code


if __name__ == "__main__":
    main()
