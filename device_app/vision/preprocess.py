"""From a picture to a network's input, exactly as the bundle's manifest says. Training uses these same functions.

SAM's side of it too: points travel to the input with the picture, and masks back. A pixel centre is at .0 in every
frame, so both go by half-pixel rules: what lies on an edge of the picture lies on the edge of the input.
"""

from __future__ import annotations

import cv2
import numpy as np

from device_app.manifest_classifiers import ClassifierEntry
from device_app.manifest_parts import ColourOrder, PictureEntry, ResizeRule

Size = tuple[int, int]


def picture_part(size: Size, input_size: Size, resize: ResizeRule) -> Size:
    """(width, height) of the part of the input that shows the picture: all of it, or with `ResizeRule.FIT` less.

    Args:
        size: (width, height) of the picture.
        input_size: (width, height) of the network's input.
        resize: how the picture is brought there.
    """
    if resize is ResizeRule.STRETCH:
        return input_size
    scale = min(input_size[0] / size[0], input_size[1] / size[1])
    width, height = (min(most, max(1, int(side * scale + 0.5))) for side, most in zip(size, input_size, strict=True))
    return width, height


def to_network_input(image: np.ndarray, model: PictureEntry) -> np.ndarray:
    """Resize and normalise a picture; what the picture leaves free (`ResizeRule.FIT`) is 0 afterwards.

    Args:
        image: (H, W, 3) uint8 RGB, any size from 1x1.
        model: says the input size, the resize rule, colour order, mean and std (on values of 0..1).

    Returns:
        (1, 3, height, width) float32, C-contiguous, channels in the model's colour order.
    """
    tensor = _empty_input(image, model, 3)
    _put_colours(tensor, _fitted(image, model), model)
    return tensor


def to_classifier_input(image: np.ndarray, model: ClassifierEntry, hair_mask: np.ndarray | None = None) -> np.ndarray:
    """The same for a classifier: its colours are those of `to_network_input`, further planes follow as it wants them.

    Hue, saturation and value are those of the resized picture, each on 0..1 (hue is an angle: 0 and 1 are one red). The
    hair mask is averaged over the area of a pixel where it shrinks: a value between is the share that is hair.

    Args:
        image: (H, W, 3) uint8 RGB, any size from 1x1.
        model: says the planes, the input size, the resize rule, mean and std of each plane.
        hair_mask: (H, W) uint8 or bool, not 0 where there is hair. Looked at only if the classifier takes a mask.

    Returns:
        (1, planes, height, width) float32, C-contiguous; what the picture leaves free is 0.

    Raises:
        ValueError: the classifier takes a mask, and there is none or one of another size than the picture.
    """
    tensor = _empty_input(image, model, model.input_shape[1])
    fitted = _fitted(image, model)
    _put_colours(tensor, fitted, model)
    further: list[np.ndarray] = []
    if model.hsv:
        hsv = cv2.cvtColor(fitted.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2HSV)
        further += [hsv[..., 0] / np.float32(360), hsv[..., 1], hsv[..., 2]]
    if model.mask:
        if hair_mask is None or hair_mask.shape != image.shape[:2]:
            given = "none" if hair_mask is None else f"one of {hair_mask.shape}"
            raise ValueError(f"this classifier takes the hair mask of a picture of {image.shape[:2]}, not {given}")
        further.append(_fitted((hair_mask > 0).astype(np.float32), model))
    height, width = fitted.shape[:2]
    for place, plane in enumerate(further, start=3):
        tensor[0, place, :height, :width] = (plane - np.float32(model.mean[place])) / np.float32(model.std[place])
    return tensor


def _empty_input(image: np.ndarray, model: PictureEntry, planes: int) -> np.ndarray:
    """(1, planes, height, width) float32 to be filled by a picture; 0 where it will leave the input free."""
    width, height = model.input_size
    whole = picture_part((image.shape[1], image.shape[0]), model.input_size, model.resize) == model.input_size
    return (np.empty if whole else np.zeros)((1, planes, height, width), np.float32)


def _fitted(image: np.ndarray, model: PictureEntry) -> np.ndarray:
    """A picture, (H, W) or (H, W, 3), brought to the part of the input that shows it."""
    width, height = picture_part((image.shape[1], image.shape[0]), model.input_size, model.resize)
    if image.shape[:2] == (height, width):
        return image
    # Area averaging where the picture shrinks, so that thin hairs fade instead of breaking up.
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _put_colours(tensor: np.ndarray, fitted: np.ndarray, model: PictureEntry) -> None:
    """Normalise a fitted picture into the first three planes of an input."""
    height, width = fitted.shape[:2]
    channels = (0, 1, 2) if model.colour_order is ColourOrder.RGB else (2, 1, 0)
    for place, channel in enumerate(channels):
        scale = 1.0 / (255.0 * model.std[place])
        # One pass per plane: bytes in, normalised floats out, nothing in between.
        table = (np.arange(256, dtype=np.float32) * np.float32(scale)) - np.float32(
            model.mean[place] / model.std[place]
        )
        plane = cv2.extractChannel(fitted, channel)
        if tensor.shape[2:] == (height, width):
            cv2.LUT(plane, table, dst=tensor[0, place])
        else:
            tensor[0, place, :height, :width] = cv2.LUT(plane, table)


def points_to_input(points: np.ndarray, size: Size, model: PictureEntry) -> np.ndarray:
    """Where points of a picture lie in the network's input.

    Args:
        points: (P, 2) x and y in pixels of the picture.
        size: (width, height) of the picture.
        model: says the input size and the resize rule.

    Returns:
        (P, 2) float32, in pixels of the input.
    """
    part = picture_part(size, model.input_size, model.resize)
    scale = np.array([part[0] / size[0], part[1] / size[1]])
    return ((np.asarray(points, np.float64).reshape(-1, 2) + 0.5) * scale - 0.5).astype(np.float32)


def mask_from_input(mask: np.ndarray, size: Size, model: PictureEntry) -> np.ndarray:
    """Cut what the picture leaves free from a mask of the whole input.

    Args:
        mask: (h, w) float32, of the whole input, of any resolution.
        size: (width, height) of the picture.
        model: says the input size and the resize rule.

    Returns:
        (h', w') float32 of about the same resolution: the picture, from edge to edge. Enlarge it to the picture's size.
    """
    part = picture_part(size, model.input_size, model.resize)
    if part == model.input_size:
        return mask
    height, width = mask.shape
    seen = np.array([part[0] / model.input_size[0] * width, part[1] / model.input_size[1] * height])
    out = np.maximum(1, np.ceil(seen)).astype(int)
    scale_x, scale_y = seen / out
    # The picture may end within a pixel of the mask: half-pixel centres of `out` to those of `mask`.
    matrix = np.array([[scale_x, 0, scale_x / 2 - 0.5], [0, scale_y, scale_y / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(
        mask, matrix, (int(out[0]), int(out[1])), flags=flags, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.float32, copy=False)


def mask_to_input(mask: np.ndarray, size: Size, model: PictureEntry, out: Size, outside: float) -> np.ndarray:
    """Bring a mask of the picture to the network's input: the way back of `mask_from_input`.

    Args:
        mask: (h, w) float32, of the picture from edge to edge, of any resolution.
        size: (width, height) of the picture.
        model: says the input size and the resize rule.
        out: (width, height) of what is wanted, standing for the whole input.
        outside: value where the picture leaves the input free.

    Returns:
        (out height, out width) float32.
    """
    part = picture_part(size, model.input_size, model.resize)
    width, height = (max(1, round(p / s * o)) for p, s, o in zip(part, model.input_size, out, strict=True))
    shrinks = mask.shape[0] >= height and mask.shape[1] >= width
    seen = cv2.resize(
        np.asarray(mask, np.float32), (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    if (width, height) == tuple(out):
        return seen
    whole = np.full((out[1], out[0]), outside, np.float32)
    whole[:height, :width] = seen
    return whole
