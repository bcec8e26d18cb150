"""The table of advice: what ships is complete, and a table of one's own is read strictly."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.errors import ScalpScopeError
from device_app.advice import AdviceTable, load_advice, shipped_languages
from device_app.advice import table as advice_module
from device_app.screens.texts import TEXTS
from device_app.vision.conditions import Condition, Severity

SHIPPED = Path(advice_module.__file__).with_name("advice.en.toml")
PLACES = [f"{condition.value}.{severity.word}" for condition, severity in product(Condition, Severity)]


def _write(path: Path, places: list[str], more: str = "", head: str = 'language = "xx"') -> Path:
    rows = "\n".join(f'[{place}]\ntext = "about {place}"\nsources = ["book"]' for place in places)
    path.write_text(f'{head}\n[sources]\nbook = "A Society: A leaflet"\n{rows}\n{more}\n', encoding="utf-8")
    return path


def _refusal(path: Path) -> str:
    with pytest.raises(ScalpScopeError) as refused:
        load_advice(path)
    assert str(path) in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("language", shipped_languages())
def test_every_table_that_ships_is_complete_and_refers_the_severe_to_a_dermatologist(language: str) -> None:
    table = load_advice(language=language)
    assert table.language == language
    assert table.entries.keys() == set(product(Condition, Severity))
    for (_, severity), advice in table.entries.items():
        assert advice.sources and all(len(source) > 20 for source in advice.sources)
        if language == "en" and severity is Severity.SEVERE:
            assert "see a dermatologist" in advice.text.lower()


def test_the_screens_have_advice_in_every_language_they_speak() -> None:
    assert set(TEXTS) <= set(shipped_languages())


def test_english_advice_neither_diagnoses_nor_prescribes() -> None:
    for advice in load_advice().entries.values():
        assert not re.search(r"\byou have\b|\bdiagnos|\btake \d|\bmg\b|\bapply\b|\bcure", advice.text, re.IGNORECASE)


def test_a_table_of_ones_own_is_taken_as_it_stands(tmp_path: Path) -> None:
    table = load_advice(_write(tmp_path / "own.toml", PLACES))
    assert isinstance(table, AdviceTable)
    assert table.language == "xx"
    advice = table.of(Condition.EXCESS_SEBUM, Severity.MODERATE)
    assert (advice.text, advice.sources) == ("about excess_sebum.moderate", ("A Society: A leaflet",))


@given(st.sets(st.sampled_from(PLACES), min_size=1))
def test_what_is_missing_is_named(tmp_path_factory: pytest.TempPathFactory, missing: set[str]) -> None:
    path = tmp_path_factory.mktemp("advice") / "own.toml"
    words = _refusal(_write(path, [place for place in PLACES if place not in missing]))
    assert set(re.findall(r"[a-z_]+\.[a-z]+(?=[,.] )", words)) == missing


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('[baldness.mild]\ntext = "x"\nsources = ["book"]', "'baldness' is no condition"),
        ('[dandruff.terrible]\ntext = "x"\nsources = ["book"]', "'dandruff.terrible' names no severity"),
        ('[dandruff.mild]\ntext = "x"\nsources = ["book"]\nurl = "y"', "'dandruff.mild.url' is no key"),
        ('[dandruff.mild]\ntext = " "\nsources = ["book"]', "'dandruff.mild' has no text"),
        ('[dandruff.mild]\ntext = "x"', "'dandruff.mild' names no source"),
        ('[dandruff.mild]\ntext = "x"\nsources = []', "'dandruff.mild' names no source"),
        ('[dandruff.mild]\ntext = "x"\nsources = ["hearsay"]', "'hearsay', which is not in [sources]"),
        (f'[dandruff.mild]\ntext = "{"x" * 1201}"\nsources = ["book"]', "has 1201 characters"),
        ("[dandruff]\nmild = 3", "'dandruff.mild' is no table"),
    ],
)
def test_a_faulty_entry_is_refused_by_its_place(tmp_path: Path, more: str, said: str) -> None:
    others = [place for place in PLACES if not place.startswith("dandruff")]
    assert said in _refusal(_write(tmp_path / "own.toml", others, more))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "does not say its language"),
        ('language = "en"', "says nothing about dandruff.good, dandruff.mild"),
        ("language = ", "not valid TOML"),
        ('language = "en"\nsources = 3', "'sources' is no table"),
        ('language = "en"\n[sources]\nbook = ""', "the source 'book' is empty"),
    ],
)
def test_a_faulty_file_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(content, encoding="utf-8")
    assert said in _refusal(path)


def test_no_file_and_no_text_file_are_told_apart(tmp_path: Path) -> None:
    assert "cannot be read" in _refusal(tmp_path / "none.toml")
    binary = tmp_path / "picture.toml"
    binary.write_bytes(b"\xff\xd8\xff")
    assert "not valid TOML" in _refusal(binary)


def test_a_language_without_a_table_is_refused() -> None:
    with pytest.raises(ScalpScopeError, match="no advice in the language 'de'"):
        load_advice(language="de")
