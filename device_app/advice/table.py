"""Reading a table of advice. Its form is told in `advice.en.toml`, to be copied and edited."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibration.errors import ScalpScopeError
from device_app.vision.conditions import Condition, Severity

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LONGEST_TEXT = 1200
"""Characters of one text: what a person reads standing."""
_HERE = Path(__file__).parent
_KEYS = {"text", "sources"}


@dataclass(frozen=True)
class Advice:
    """What is said about one severity of one condition.

    Attributes:
        text: plain words, one paragraph.
        sources: who says so, each by publisher, title and place; at least one.
    """

    text: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class AdviceTable:
    """A complete table.

    Attributes:
        language: of its texts, such as ``en``.
        entries: of every condition and severity.
    """

    language: str
    entries: Mapping[tuple[Condition, Severity], Advice]

    def of(self, condition: Condition, severity: Severity) -> Advice:
        """What is said about this."""
        return self.entries[condition, severity]


def shipped_languages() -> tuple[str, ...]:
    """The languages that there is a table for."""
    return tuple(sorted(path.name.split(".")[1] for path in _HERE.glob("advice.*.toml")))


def load_advice(path: Path | None = None, language: str = "en") -> AdviceTable:
    """Read a table.

    Args:
        path: a table of one's own, in whatever language it is written; None: the one that ships in `language`.
        language: looked at only without a `path`.

    Raises:
        ScalpScopeError: there is none, or it cannot be read, is no TOML, knows a condition, severity or key that there
            is not, lacks one that there is, or says nothing, too much or nobody's words.
    """
    if path is None:
        path = _HERE / f"advice.{language}.toml"
        if language not in shipped_languages():
            known = ", ".join(shipped_languages())
            raise ScalpScopeError(f"There is no advice in the language '{language}'.", f"There is some in {known}.")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ScalpScopeError(f"The advice {path} cannot be read: {reason}.", "Check the setting 'advice'.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScalpScopeError(f"The advice {path} is not valid TOML: {error}.", "Correct that line.") from error
    return _Reader(path).table(values)


class _Reader:
    """Takes the values of one file apart; every complaint names the file and the place in it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def table(self, values: dict[str, Any]) -> AdviceTable:
        language = values.pop("language", None)
        if not isinstance(language, str) or not language.strip():
            raise self._refused("it does not say its language", 'Begin it with a line like language = "en".')
        sources = self._sources(values.pop("sources", None))
        conditions = {condition.value: condition for condition in Condition}
        severities = {severity.word: severity for severity in Severity}
        entries: dict[tuple[Condition, Severity], Advice] = {}
        for name, rows in values.items():
            if name not in conditions:
                raise self._refused(f"'{name}' is no condition", f"The conditions are {', '.join(conditions)}.")
            for word, row in self._table_at(name, rows).items():
                place = f"{name}.{word}"
                if word not in severities:
                    raise self._refused(f"'{place}' names no severity", f"The severities are {', '.join(severities)}.")
                entries[conditions[name], severities[word]] = self._entry(place, row, sources)
        missing = [
            f"{name}.{word}"
            for name, condition in conditions.items()
            for word, severity in severities.items()
            if (condition, severity) not in entries
        ]
        if missing:
            raise self._refused(f"it says nothing about {', '.join(missing)}", "Write them too; a table is complete.")
        return AdviceTable(language.strip(), entries)

    def _sources(self, values: Any) -> dict[str, str]:
        sources = self._table_at("sources", values or {})
        for name, words in sources.items():
            if not isinstance(words, str) or not words.strip():
                raise self._refused(f"the source '{name}' is empty", "Write publisher, title and address.")
        return {name: " ".join(words.split()) for name, words in sources.items()}

    def _entry(self, place: str, row: Any, sources: dict[str, str]) -> Advice:
        row = self._table_at(place, row)
        unknown = sorted(row.keys() - _KEYS)
        if unknown:
            raise self._refused(f"'{place}.{unknown[0]}' is no key", "The keys of an entry are text and sources.")
        words, named = row.get("text"), row.get("sources")
        if not isinstance(words, str) or not words.strip():
            raise self._refused(f"'{place}' has no text", "Write what is to be said.")
        words = " ".join(words.split())
        if len(words) > LONGEST_TEXT:
            raise self._refused(f"the text of '{place}' has {len(words)} characters", f"At most {LONGEST_TEXT}.")
        if not isinstance(named, list) or not named:
            raise self._refused(f"'{place}' names no source", 'Add sources = ["NAME"], a name of the table [sources].')
        for name in named:
            if name not in sources:
                raise self._refused(f"'{place}' names the source {name!r}, which is not in [sources]", "Add it there.")
        return Advice(words, tuple(sources[name] for name in named))

    def _table_at(self, place: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._refused(f"'{place}' is no table", "Look at advice.en.toml that ships with ScalpScope.")
        return value

    def _refused(self, fault: str, remedy: str) -> ScalpScopeError:
        return ScalpScopeError(f"The advice {self._path} is refused: {fault}.", remedy)
