"""The one console that commands of this floor write progress and log lines to."""

from rich.console import Console

console = Console(stderr=True)
