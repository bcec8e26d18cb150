"""Whether a picture that is measured on was also learnt from: the same patient, the same file, the same picture again.

A fingerprint of a picture is made from 12 x 12 of its lowest frequencies. Mirroring a picture or turning it by quarters
only changes their signs and swaps rows with columns, so that their absolute values, each added to its mirror image
across the diagonal, are the same for all eight ways to lay a picture. Pictures with nearly the same fingerprint are
then compared point by point, small, in all eight ways.

Encoding a picture again, scaling, brightening, blurring or mirroring it does not hide it. A cropped copy, or one turned
by another angle, is not found.

The two limits were set on augmented copies (mirrored, brightened or darkened by up to 25 %, blurred by up to 2.5 px) of
164 real pictures of the scalp: all of 492 pairs of copies are found, and none of 120,000 pairs of different pictures is
taken for one; the nearest, two frames of nearly the same place, correlate by 0.944.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from calibration.errors import ScalpScopeError
from training.data.example_set import ExampleSet, Progress, Split

_SIDE = 64  # pictures are made this small before anything else
_THUMB = 32
_FREQUENCIES = 12
_LEAST_CONTRAST = 1.5  # grey levels; flat pictures are all alike and say nothing
_ALIKE = 0.97  # cosine of two fingerprints that are looked at more closely
_SAME = 0.96  # correlation of two small pictures that are one
_ROWS = 512  # fingerprints compared at once, to bound the memory
_TOLD = 5  # pairs that are named in the error


def _light() -> np.ndarray:
    """(64 * 64, 6) float32: how light falls off towards the edges; all frames of one microscope share that."""
    y, x = np.mgrid[-1 : 1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j]
    surfaces = [surface.ravel() for surface in (np.ones_like(x), x, y, x * x, x * y, y * y)]
    return np.linalg.qr(np.stack(surfaces, axis=1))[0].astype(np.float32)


_LIGHT = _light()


@dataclass(frozen=True)
class _Prints:
    """What is kept of the pictures of one split; N of them.

    Attributes:
        paths: of the pictures.  content: SHA-256 of each file.
        marks: (N, F) float32, unit vectors, zero for a flat picture.
        thumbs: (N, 32, 32) float16, mean 0 and norm 1, zero for a flat picture.
    """

    paths: Sequence[Path]
    content: Sequence[bytes]
    marks: np.ndarray
    thumbs: np.ndarray


def check_leaks(splits: Mapping[Split, ExampleSet], progress: Progress | None = None) -> None:
    """Make sure that no two splits share a patient, an original, or a picture, be it mirrored or re-encoded.

    Args:
        splits: as `split_examples` makes them.
        progress: called after each picture that was read.

    Raises:
        ScalpScopeError: they do; it names the files.
    """
    for first, second in combinations(splits, 2):
        shared = {one.group for one in splits[first].examples} & {one.group for one in splits[second].examples}
        if shared:
            group = min(shared)
            paths = [next(one.path for one in splits[s].examples if one.group == group) for s in (first, second)]
            raise ScalpScopeError(
                f"{len(shared)} patients or originals are in both {first.value} and {second.value}: '{paths[0]}' and "
                f"'{paths[1]}' are of one.",
                "Put all pictures of one patient or original into one split.",
            )
    total = sum(len(part) for part in splits.values())
    done = 0
    prints = {}
    for split, part in splits.items():
        prints[split] = _prints_of([one.path for one in part.examples], done, total, progress)
        done += len(part)
    found = [
        (first, path, second, other)
        for first, second in combinations(splits, 2)
        for path, other in _same_pictures(prints[first], prints[second])
    ]
    if found:
        named = "; ".join(f"'{path}' ({a.value}) and '{other}' ({b.value})" for a, path, b, other in found[:_TOLD])
        more = f" and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
        raise ScalpScopeError(
            f"{len(found)} pictures are in two splits, as they are or nearly so: {named}{more}.",
            "Keep one of each, or give both the same patient.",
        )


def _prints_of(paths: Sequence[Path], done: int, total: int, progress: Progress | None) -> _Prints:
    content: list[bytes] = []
    marks = np.zeros((len(paths), _FREQUENCIES * (_FREQUENCIES + 1) // 2), np.float32)
    thumbs = np.zeros((len(paths), _THUMB, _THUMB), np.float16)
    with ThreadPoolExecutor() as pool:
        for number, (digest, small) in enumerate(pool.map(_read_small, paths)):
            content.append(digest)
            marks[number], thumbs[number] = _fingerprint(small)
            if progress is not None:
                progress(done + number + 1, total)
    return _Prints(paths, content, marks, thumbs)


def _read_small(path: Path) -> tuple[bytes, np.ndarray]:
    """The file's SHA-256, and the picture (64, 64) float32, grey."""
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as picture:
            picture.draft("L", (_SIDE, _SIDE))  # a JPEG is decoded at a fraction of its size
            grey = np.asarray(picture.convert("L"), np.float32)
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ScalpScopeError(
            f"'{path}' cannot be read: {error}.", "Read the set with all pictures checked."
        ) from error
    return hashlib.sha256(data).digest(), cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)


def _fingerprint(small: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The unit vector that does not change when the picture is mirrored or turned, and the small picture itself."""
    detail = small - (_LIGHT @ (_LIGHT.T @ small.ravel())).reshape(small.shape)
    detail -= cv2.GaussianBlur(detail, (0, 0), _SIDE / 6, borderType=cv2.BORDER_REFLECT)
    if detail.std() < _LEAST_CONTRAST:
        return np.zeros(1, np.float32), np.zeros(1, np.float32)
    low = np.abs(cv2.dct(detail)[:_FREQUENCIES, :_FREQUENCIES])
    low = (low + low.T)[np.triu_indices(_FREQUENCIES)]
    thumb = cv2.resize(detail, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA)
    thumb -= thumb.mean()
    return low / max(float(np.linalg.norm(low)), 1e-9), thumb / max(float(np.linalg.norm(thumb)), 1e-9)


def _same_pictures(first: _Prints, second: _Prints) -> list[tuple[Path, Path]]:
    """Every picture of the first that is also in the second, with one that it is."""
    by_content = {digest: number for number, digest in enumerate(second.content) if second.marks[number].any()}
    found: dict[int, int] = {}
    for number, digest in enumerate(first.content):
        if digest in by_content and first.marks[number].any():
            found[number] = by_content[digest]
    for start in range(0, len(first.paths), _ROWS):
        alike = first.marks[start : start + _ROWS] @ second.marks.T > _ALIKE
        for row, other in zip(*np.nonzero(alike)):
            number = start + int(row)
            if number not in found and _laid_any_way(first.thumbs[number].astype(np.float32), second.thumbs[other]):
                found[number] = int(other)
    return [(first.paths[number], second.paths[other]) for number, other in sorted(found.items())]


def _laid_any_way(thumb: np.ndarray, other: np.ndarray) -> bool:
    """Whether two small pictures are one, be it mirrored or turned by quarters."""
    ways = (np.rot90(flipped, turns) for flipped in (other, other[:, ::-1]) for turns in range(4))
    return any(float(np.sum(thumb * way)) > _SAME for way in ways)
