"""Bundles with something wrong, and that they are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from calibration.errors import ScalpScopeError
from device_app.bundle import MANIFEST_NAME, load_bundle


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / MANIFEST_NAME
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def refusal(folder: Path) -> str:
    with pytest.raises(ScalpScopeError) as caught:
        load_bundle(folder)
    assert caught.value.remedy.strip()
    assert "\n" not in str(caught.value)
    return caught.value.what


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path, *(place for key, item in inner for place in _places(item, (*path, key)))]


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)


def check_that_damage_is_refused(folder: Path, data: st.DataObject, replacement: Any) -> None:
    path = folder / MANIFEST_NAME
    text = path.read_text()
    content = json.loads(text)
    *parents, last = data.draw(st.sampled_from(_places(content)[1:]))
    place = content
    for key in parents:
        place = place[key]
    place[last] = replacement
    path.write_text(json.dumps(content))
    try:
        load_bundle(folder)
    except ScalpScopeError as error:
        assert error.what and error.remedy
    finally:
        path.write_text(text)
