"""The `scalpscope-train` command: what each group of sub-commands is called, and what its errors look like."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.logging import RichHandler

from calibration.errors import ScalpScopeError
from training.commands import classification, prompting, segmentation
from training.progress import console

EXIT_USER = 2
"""Something the user can mend; said in one line on stderr."""

app = typer.Typer(
    name="scalpscope-train",
    help="Train and measure ScalpScope's networks.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
app.add_typer(segmentation.app, name="segmentation")
app.add_typer(prompting.app, name="prompting")
app.add_typer(classification.app, name="classification")


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="With an error, print where it came from.")] = False,
) -> None:
    handler: logging.Handler
    if console.is_terminal:  # through the console of the progress bar, so that lines stand above it
        handler = RichHandler(console=console, show_path=False)
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("training").setLevel(logging.INFO)


def call(argv: Sequence[str]) -> int:
    """Run one command line (without the program's name) and return its exit code; errors become one line on stderr."""
    try:
        # The words go along, for commands that write down how a result was made.
        app(args=list(argv), prog_name="scalpscope-train", obj=list(argv))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except ScalpScopeError as error:
        if "--debug" in argv:
            traceback.print_exc()
        typer.echo(f"scalpscope-train: {' '.join(str(error).split())}", err=True)
        return EXIT_USER
    except KeyboardInterrupt:
        typer.echo("scalpscope-train: interrupted; a training run goes on with --resume.", err=True)
        return 130
    return 0


def main() -> None:
    """Entry point of the console script."""
    sys.exit(call(sys.argv[1:]))


if __name__ == "__main__":
    main()
