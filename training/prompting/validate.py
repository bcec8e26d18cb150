"""How the student does on held-out examples, asked as the device asks it: whole pictures, Algorithm 1's points."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from device_app.vision.masks import clean_mask
from device_app.vision.prompts import draw_prompts
from training.evaluation.mask_metrics import MaskCounts, count_mask, mean_scores
from training.prompting.examples import Example
from training.prompting.sampling import mask_prompt
from training.prompting.student import PATCH, Masks, Prompts, Student
from training.report import write_samples
from training.segmentation.dataset import normalise

SCORES = (
    "jaccard",  # of M_AP, points and mask prompt
    "jaccard_points",  # of M_AP, points alone, as in the paper
    "jaccard_low",  # of SAM's own mask, a quarter of the resolution
    "jaccard_coarse",  # of M̂
    "jaccard_product",  # of M̂ and M_AP
    "jaccard_mean",  # of the mean of both probabilities
    "iou_error",  # of the predicted IoU of the chosen mask, absolute
)
_SHEET_ROWS = 6


def ask(student: Student, example: Example, device: torch.device | str = "cpu") -> tuple[Masks, Masks]:
    """The student's answers for a whole picture of the size of its input: with the mask prompt, and by points alone."""
    coarse = clean_mask(cv2.compare(example.coarse, 127, cv2.CMP_GT))
    coords, labels = draw_prompts(coarse).coords_and_labels()
    height, width = example.coarse.shape
    prompts = Prompts(
        torch.from_numpy(coords)[None],
        torch.from_numpy(labels)[None],
        torch.from_numpy(mask_prompt(example.coarse, 4 * height // PATCH, 4 * width // PATCH))[None, None],
        torch.ones(1),
    )
    prompts = Prompts(*(one.to(device) for one in prompts))
    seen = student.image_encoder(normalise(example.image)[None].to(device, memory_format=torch.channels_last))
    points_alone = prompts._replace(has_mask=torch.zeros_like(prompts.has_mask))
    return student.decode(*seen, prompts), student.decode(*seen, points_alone)


@torch.no_grad()
def validate(
    student: Student, examples: Iterable[Example], device: torch.device | str, sheet: Path
) -> dict[str, float]:
    """The ``SCORES``: means over the examples; the first few are drawn to ``sheet`` (picture, truth, M_AP)."""
    student.eval()
    counts: dict[str, list[MaskCounts]] = {name: [] for name in SCORES if name.startswith("jaccard")}
    errors, shown = [], []
    for example in examples:
        truth = example.coverage > 127
        coarse = example.coarse / np.float32(255)
        found: dict[str, np.ndarray] = {"jaccard_coarse": coarse}
        for name, masks in zip(("jaccard", "jaccard_points"), ask(student, example, device), strict=True):
            best = 1 + int(masks.iou[0, 1:].argmax())
            low = F.interpolate(masks.low[:, best : best + 1].float(), size=truth.shape, mode="bilinear")
            full = low if masks.full is None else masks.full[:, best : best + 1].float()
            found[name] = torch.sigmoid(full)[0, 0].cpu().numpy()
            if name == "jaccard":
                found["jaccard_low"] = torch.sigmoid(low)[0, 0].cpu().numpy()
                true_iou = mean_scores([count_mask(found[name] >= 0.5, truth)]).jaccard
                errors.append(abs(float(masks.iou[0, best]) - true_iou))
        refined = found["jaccard"]
        found["jaccard_product"] = np.minimum(coarse, refined)  # both at least 0.5
        found["jaccard_mean"] = (coarse + refined) / 2
        for name, probability in found.items():
            counts[name].append(count_mask(probability >= 0.5, truth))
        if len(shown) < _SHEET_ROWS:
            shown.append((example.image, example.coverage / np.float32(255), refined))
    write_samples(sheet, *zip(*shown, strict=True))
    scores = {name: mean_scores(counts[name]).jaccard for name in counts}
    return {**scores, "iou_error": float(np.mean(errors))}
