"""Small made-up sets of labelled pictures, in the exact layouts that training reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

FINDINGS = ("미세각질", "피지과다", "모낭사이홍반", "모낭홍반농포", "비듬", "탈모")
GRADES = ("양호", "경증", "중등도", "중증")


def hairy_picture(seed: int, size: tuple[int, int] = (128, 96)) -> np.ndarray:
    """(height, width, 3) uint8: dark lines on skin, other ones for every seed."""
    rng = np.random.default_rng(seed)
    width, height = size
    picture = np.full((height, width, 3), (190, 160, 145), np.uint8)
    for _ in range(8):
        ends = rng.integers(0, (width, height), (2, 2))
        cv2.line(
            picture, ends[0].tolist(), ends[1].tolist(), rng.integers(20, 110, 3).tolist(), int(rng.integers(2, 7))
        )
    return picture


def write_picture(path: Path, seed: int) -> Path:
    """Write `hairy_picture` and return its path."""
    return write_pixels(path, hairy_picture(seed))


def write_pixels(path: Path, pixels: np.ndarray, quality: int = 92) -> Path:
    """Write a picture, also below folders with Korean names, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=quality)
    return path


def write_aihub(
    root: Path, part: str, name: str, values: Sequence[int], seed: int, findings: Sequence[int] = (0,)
) -> list[Path]:
    """One picture of the AI-Hub set with its label, below each of some findings; the paths of the pictures.

    Args:
        part: Training or Validation.
        name: of the picture, without suffix.
        values: grades of the six findings.
    """
    pictures = []
    for finding in findings:
        archive = f"{FINDINGS[finding]}_{values[finding]}.{GRADES[values[finding]]}"
        pictures.append(write_picture(root / part / f"[원천]{archive}" / f"{name}.jpg", seed))
        label = {"image_id": name.rpartition("_")[0], "image_file_name": f"{name}.jpg"}
        label |= {f"value_{number}": str(value) for number, value in enumerate(values, start=1)}
        path = root / part / f"[라벨]{archive}" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(label, ensure_ascii=False), encoding="utf-8")
    return pictures


def write_yolo(root: Path, part: str, name: str, lines: str, seed: int) -> Path:
    """One picture with its outlines below ``part/images`` and ``part/labels``; the path of the picture."""
    label = root / part / "labels" / f"{name}.txt"
    label.parent.mkdir(parents=True, exist_ok=True)
    label.write_text(lines, encoding="utf-8")
    return write_picture(root / part / "images" / f"{name}.jpg", seed)
