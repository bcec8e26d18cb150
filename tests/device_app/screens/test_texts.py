"""One table of texts: complete in every language, and used for every word."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from device_app.engines.engine import Precision
from device_app.live.health import HealthMessage
from device_app.manifest_parts import STAGES
from device_app.screens import texts
from device_app.screens.calibrating import Way
from device_app.screens.readings import Doubt, Made
from device_app.vision.conditions import Condition, Refusal, Severity
from device_app.vision.hairs import HairClass

FOLDER = Path(texts.__file__).parent
SOURCES = [path for path in FOLDER.iterdir() if path.suffix in (".py", ".kv") and path.name != "texts.py"]


def _fields(words: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(words) if name}


def test_every_language_has_every_key_with_the_same_gaps() -> None:
    english = texts.TEXTS["en"]
    for language, table in texts.TEXTS.items():
        assert table.keys() == english.keys(), language
        for key, words in table.items():
            assert _fields(words) == _fields(english[key]), (language, key)


def test_every_key_that_the_screens_name_is_in_the_table() -> None:
    named = set()
    for path in SOURCES:
        named |= set(re.findall(r"""\btext\(\s*['"]([a-z0-9_]+)['"]""", path.read_text(encoding="utf-8")))
    assert len(named) > 40
    assert named <= texts.TEXTS["en"].keys()


def test_every_state_that_code_can_be_in_has_words() -> None:
    keys = texts.TEXTS["en"].keys()
    assert {doubt.value for doubt in Doubt} <= keys
    assert {made.value for made in Made} <= keys
    assert {way.value for way in Way} <= keys
    assert {f"class_{kind.value}" for kind in HairClass} <= keys
    assert {f"condition_{condition.value}" for condition in Condition} <= keys
    assert {f"severity_{severity.word}" for severity in Severity} <= keys
    assert {f"refusal_{refusal.value}" for refusal in Refusal} <= keys
    assert {f"stage_{stage}" for stage in STAGES} <= keys
    assert {f"precision_{precision.value}" for precision in Precision} <= keys
    assert {message.value for message in HealthMessage if message is not HealthMessage.OK} <= keys


def test_no_word_is_written_into_a_screen_file() -> None:
    for path in FOLDER.glob("*.kv"):
        for words in re.findall(r"^\s*text: *'([^']*)'", path.read_text(encoding="utf-8"), re.MULTILINE):
            assert not re.search(r"[A-Za-z]{2}", words), (path.name, words)


def test_reasons_for_a_dash_are_at_most_four_words() -> None:
    for key, words in texts.TEXTS["en"].items():
        if key.startswith(("doubt_", "reason_", "refusal_")):
            assert len(words.split()) <= 4, words


def test_no_table_has_a_text_that_nobody_reads() -> None:
    everything = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    built = ("doubt_", "method_", "class_", "precision_", "backend_", "hair_diameter_", "hair_along_", "label_")
    built += ("condition_", "severity_", "refusal_", "stage_")
    states = {message.value for message in HealthMessage}
    for key in texts.TEXTS["en"]:
        if not key.startswith(built) and key not in states:
            assert re.search(rf"""['"]{re.escape(key)}['"]""", everything), key


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(KeyError):
        texts.choose_language("xx")
    assert texts.text("freeze") == texts.TEXTS["en"]["freeze"]
