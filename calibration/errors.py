"""The one kind of error that a user is meant to read."""

from __future__ import annotations


class ScalpScopeError(Exception):
    """Something went wrong that the user can act on.

    Args:
        what: one sentence naming the thing that is wrong (a file, a camera, a setting) and what is wrong with it.
        remedy: one sentence saying what to do next.

    Commands print it as one line and exit with a code other than 0; screens show it and stay alive.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what} {remedy}")
        self.what = what
        self.remedy = remedy
