"""The AI-Hub scalp set (유형별 두피 이미지, no. 216): pictures, one JSON file each, six findings graded 0 to 3.

Nobody but a registered user can download it, so this was written from what others published about it:

- README and label lists of the ScalpVision authors (github.com/winston1214/ScalpVision): the six findings and their
  order, how they are merged to three, names of the pictures, and that Training and Validation share pictures (below);
- other public code that reads the set: the JSON keys ``image_id``, ``image_file_name``, ``value_1`` to ``value_6``,
  with the grades as strings; archives per finding and grade such as ``[원천]탈모_3.중증`` and ``[라벨]탈모_3.중증``
  below ``Training`` and ``Validation``, ``원천데이터/1.미세각질/0.양호`` in the sample; the same picture below several
  findings; ``Meta/META_DATA/<picture>_META.json`` with ``gender`` and ``age``.

**Assumed**, for nobody wrote it down: a name such as ``0013_A2LEBJJDE00060O_1602578303771_2_TH.jpg`` is the site, the
microscope, the time of the sitting in ms, the number of the picture and the place on the head (top, left, right, back).
The pictures of one sitting are taken to be one person's, and stay together. That a person came twice cannot be told.

Which archive a file was in is not looked at, nor are the Korean folder names, which many unpackers garble: only whether
it lies below ``Training`` or ``Validation``. The official Validation is the paper's test set.

**The official split leaks.** Some pictures lie in both folders (of the first site in the authors' lists about one in
seven test pictures is also in their training or validation list), and one sitting is often spread over both. Here the
Validation folder stays whole, and what Training holds of its sittings is refused.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from calibration.errors import ScalpScopeError
from device_app.images import IMAGE_SUFFIXES
from device_app.manifest_parts import Task
from training.data.example_set import Example, ExampleSet, RefusedFile, Split, Three, presence_from
from training.data.layouts.files import files_below

FINDINGS = ("fine scales", "sebum", "erythema between follicles", "pustules", "dandruff", "hair loss")
"""What ``value_1`` to ``value_6`` grade."""

_SPLITS = {"training": Split.TRAIN, "validation": Split.TEST}
_META = "_META"
_NAME = re.compile(r"(?P<sitting>.+)_(?P<number>\d+)_(?P<place>[A-Z]{2})")
_DEVICE = re.compile(r"\d+_(?P<device>[0-9A-Z]{6,})_\d{10,}")
_KNOWN_META = ("gender", "age")


@dataclass
class _Found:
    """What lies below one of the two folders, by the picture's name without suffix."""

    pictures: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    labels: dict[str, list[tuple[Path, tuple[int, ...]]]] = field(default_factory=lambda: defaultdict(list))


def looks_like(folder: Path) -> bool:
    """Whether there is a folder Training or Validation with JSON files or archives below it."""
    return any(
        next(below.rglob("*.json"), None) is not None or next(below.rglob("*.zip"), None) is not None
        for below in _split_folders(folder)
    )


def merge(values: tuple[int, ...]) -> Three:
    """The paper's three conditions from the six findings: dandruff max(v1, v5), sebum v2, erythema max(v3, v4).

    v6, hair loss, is graded 0 to 3 on pictures of a microscope. It is not the hair-loss stage, which is 0 to 4 on
    photographs of a head, and is not used.
    """
    return max(values[0], values[4]), values[1], max(values[2], values[3])


def read(folder: Path, task: Task) -> ExampleSet:
    """Every picture that has a label below Training or Validation.

    Raises:
        ScalpScopeError: another task than the conditions, or archives that have not been unpacked.
    """
    if task is not Task.CONDITIONS:
        raise ScalpScopeError(
            f"The AI-Hub scalp set has no labels for {task.value}.",
            "Its sixth finding grades hair loss 0 to 3 under a microscope; use it for the task conditions.",
        )
    refused: list[RefusedFile] = []
    found: dict[Split, _Found] = {split: _Found() for split in _SPLITS.values()}
    meta: dict[str, dict[str, str]] = {}
    for below in _split_folders(folder):
        _gather(below, found[_SPLITS[below.name.lower()]], meta, refused)
    for path in folder.rglob(f"*{_META}.json"):
        meta.setdefault(_key(path.name.removesuffix(f"{_META}.json")), _read_meta(path))
    copies = 0
    examples: list[Example] = []
    for split, one in found.items():
        made, more = _pair(one, split, meta, refused)
        examples += made
        copies += more
    examples, left_out = _without_test_sittings(examples)
    refused += left_out
    warnings = []
    if copies:
        warnings.append(f"{copies} further copies of pictures that lie below several findings are passed over.")
    if left_out:
        warnings.append(
            f"{len(left_out)} pictures of Training are left out: pictures of the same sittings are in Validation, the "
            "official test set. The paper kept them."
        )
    return ExampleSet(task, folder.name, tuple(examples), tuple(refused), (), tuple(warnings))


def _split_folders(folder: Path) -> list[Path]:
    """The folders Training and Validation, however deep the download put them; the outermost of each branch."""
    found: list[Path] = []
    for path in sorted(p for pattern in ("*", "*/*", "*/*/*") for p in folder.glob(pattern)):
        inside_another = any(other in path.parents for other in found)
        if path.name.lower() in _SPLITS and path.is_dir() and not inside_another:
            found.append(path)
    return found


def _key(name: str) -> str:
    """A name to compare by: unpackers on a Mac write Korean letters in another form of Unicode."""
    return unicodedata.normalize("NFC", name)


def _gather(below: Path, found: _Found, meta: dict[str, dict[str, str]], refused: list[RefusedFile]) -> None:
    files = files_below(below)
    archives = [path for path in files if path.suffix.lower() == ".zip"]
    if archives and len(archives) == len(files):
        raise ScalpScopeError(
            f"'{below}' holds archives only, such as {archives[0].name}.", "Unpack them where they lie, and try again."
        )
    for path in files:
        suffix = path.suffix.lower()
        if suffix in IMAGE_SUFFIXES:
            found.pictures[_key(path.stem)].append(path)
        elif suffix == ".json" and path.stem.endswith(_META):
            meta[_key(path.stem.removesuffix(_META))] = _read_meta(path)
        elif suffix == ".json":
            label = _read_label(path)
            if isinstance(label, str):
                refused.append(RefusedFile(path, label))
            else:
                found.labels[label[0]].append((path, label[1]))


def _read_label(path: Path) -> tuple[str, tuple[int, ...]] | str:
    """The picture's name without suffix and its six grades; or what is wrong."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        return f"no JSON: {error}"
    if not isinstance(content, dict):
        return "no JSON object"
    keys = ["image_file_name", *(f"value_{number}" for number in range(1, 7))]
    missing = [key for key in keys if key not in content]
    if missing:
        return f"no {', '.join(missing)}; it has {', '.join(map(str, content)) or 'nothing'}"
    values = []
    for key, finding in zip(keys[1:], FINDINGS):
        grade = content[key]
        if isinstance(grade, bool) or str(grade).strip() not in {"0", "1", "2", "3"}:
            return f"unknown grade: {key} ({finding}) is {grade!r}, not 0 to 3"
        values.append(int(grade))
    name = content["image_file_name"]
    if not isinstance(name, str) or not Path(name).stem:
        return f"image_file_name is {name!r}"
    return _key(Path(name).stem), tuple(values)


def _read_meta(path: Path) -> dict[str, str]:
    """What is known of the person, for results by sex and age; what cannot be read is not known."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {key: str(content[key]) for key in _KNOWN_META if content.get(key) not in (None, "")}


def _pair(
    found: _Found, split: Split, meta: dict[str, dict[str, str]], refused: list[RefusedFile]
) -> tuple[list[Example], int]:
    """The examples of one folder, and how many further copies of their pictures it holds."""
    examples, copies = [], 0
    for key in sorted(found.pictures.keys() | found.labels.keys()):
        pictures, labels = found.pictures.get(key, []), found.labels.get(key, [])
        if not pictures:
            refused += [RefusedFile(path, f"label without its picture {key}") for path, _ in labels]
        elif not labels:
            refused += [RefusedFile(path, "picture without a label") for path in pictures]
        elif len({values for _, values in labels}) > 1:
            listed = ", ".join(f"{path.parent.name} {values}" for path, values in labels)
            refused += [RefusedFile(path, f"its labels contradict each other: {listed}") for path in pictures]
        else:
            copies += len(pictures) - 1
            severity = merge(labels[0][1])
            group, attributes = _what_the_name_says(key)
            attributes |= meta.get(key, {})
            presence = presence_from(severity)
            examples.append(Example(pictures[0], group, split, presence, severity, attributes=attributes))
    return examples, copies


def _what_the_name_says(stem: str) -> tuple[str, dict[str, str]]:
    """The sitting, and the attributes microscope and place, as far as the name has them."""
    name = _NAME.fullmatch(stem)
    if name is None:
        return stem, {}
    attributes = {"place": name["place"]}
    device = _DEVICE.fullmatch(name["sitting"])
    if device is not None:
        attributes["microscope"] = device["device"]
    return name["sitting"], attributes


def _without_test_sittings(examples: list[Example]) -> tuple[list[Example], list[RefusedFile]]:
    """Leave out what Training holds of the sittings, or pictures, that are in the official test set."""
    tested = {one.group for one in examples if one.split is Split.TEST}
    kept, left_out = [], []
    for one in examples:
        if one.split is Split.TRAIN and one.group in tested:
            left_out.append(RefusedFile(one.path, f"its sitting {one.group} is in Validation, the official test set"))
        else:
            kept.append(one)
    return kept, left_out
