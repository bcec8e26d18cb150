"""The demo source: a scalp under a slowly moving microscope, rendered, its every hair known exactly."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from device_app.camera.pacing import Pacer
from device_app.camera.source import ReadTimes, SourceLost

if TYPE_CHECKING:
    from device_app.camera.phantom import HairTruth, Phantom

_SCALP_SIZE = 1.8  # the scalp's sides, in sides of the picture
_ROTATION_DEG = 8.0
_PERIODS_S = (41.0, 29.0, 67.0)  # of the way across, down and round; no two share a beat
_HAIRS_PER_CM2 = 400.0
_LENGTH_UM = (700.0, 2400.0)


@dataclass(frozen=True)
class DemoTruth:
    """What is really there in one picture of the demo source.

    Attributes:
        mask: (H, W) uint8, 255 where a hair covers half of the pixel or more.
        hairs: those of which a part can be seen, in the pixels of the picture.
    """

    mask: np.ndarray
    hairs: tuple[HairTruth, ...]


class DemoScalp:
    """A moving scalp with known truth. The same arguments give the same pictures, picture by picture.

    Args:
        width, height: of the picture, in pixels.
        fps: pictures a second; at `fps` the microscope moves in real time.
        scale_um_per_px: of the rendered scalp.
        seed: which scalp.
        breathing_px: how far the focus drifts off and back: standard deviation of the blur at its worst; 0: never.

    Attributes:
        read_times: see `TellsReads`: from when the picture was due to when it was rendered, in RGB.
    """

    def __init__(
        self,
        width: int = 640,
        height: int = 480,
        fps: float = 30.0,
        scale_um_per_px: float = 3.0,
        seed: int = 7,
        breathing_px: float = 0.0,
    ) -> None:
        self.width, self.height, self.fps, self.scale_um_per_px = width, height, fps, scale_um_per_px
        self._seed = seed
        self._breathing_px = breathing_px
        self._lock = threading.Lock()
        self._scalp: Phantom | None = None
        self._pacer: Pacer | None = None
        self._index = 0
        self.read_times: ReadTimes | None = None

    @property
    def name(self) -> str:
        return "demo"

    def open(self) -> None:
        """Render the scalp (once, some seconds) and start the clock."""
        self._render()
        self._pacer = Pacer(self.fps)

    def read(self) -> np.ndarray:
        """Wait for the next picture. Pictures count on across `close` and `open`. Raises `SourceLost` when closed."""
        pacer = self._pacer
        if pacer is None or not pacer.wait():
            raise SourceLost("The demo source is closed.", "Open it again.")
        began_ns = time.monotonic_ns()
        with self._lock:
            index = self._index
            self._index += 1
        picture = self.picture_at(index)
        self.read_times = ReadTimes(began_ns)
        return picture

    def close(self) -> None:
        """Stop the clock and wake a waiting reader."""
        pacer, self._pacer = self._pacer, None
        if pacer is not None:
            pacer.close()

    def picture_at(self, index: int) -> np.ndarray:
        """The picture that the `index`-th read since the source was made delivers, from 0: (H, W, 3) uint8 RGB."""
        picture = self._view(self._render().image, index)
        blur = self._breathing_px * 0.5 * (1 - math.cos(2 * math.pi * index / self.fps / 5.0))
        return cv2.GaussianBlur(picture, (0, 0), blur) if blur > 0.1 else picture

    def truth_at(self, index: int) -> DemoTruth:
        """What is really there in the `index`-th picture."""
        scalp = self._render()
        to_scalp = self._motion(index)
        to_picture = cv2.invertAffineTransform(to_scalp)
        limit = np.array([self.width - 1, self.height - 1])
        hairs = []
        for hair in scalp.hairs:
            line = hair.centre_line @ to_picture[:, :2].T + to_picture[:, 2]
            inside = np.all((line >= 0) & (line <= limit), axis=1)
            if inside.any():
                diameter = float(np.median(hair.widths_px[inside]))
                ends = (bool(inside[0]), bool(inside[-1]))
                hairs.append(replace(hair, centre_line=line, diameter_px=diameter, ends_inside=ends))
        mask = np.where(self._view(scalp.mask, index) >= 128, 255, 0).astype(np.uint8)
        return DemoTruth(mask, tuple(hairs))

    def _render(self) -> Phantom:
        # The renderer is imported by the thread that opens the source: the worker starts meanwhile.
        from device_app.camera.phantom import PhantomLook, render_phantom

        with self._lock:
            if self._scalp is None:
                width, height = round(self.width * _SCALP_SIZE), round(self.height * _SCALP_SIZE)
                area_cm2 = width * height * self.scale_um_per_px**2 * 1e-8
                look = PhantomLook(noise=1.5, gloss=0.25, taper=0.2, inside_fraction=0.6, length_um=_LENGTH_UM)
                hair_count = max(1, round(_HAIRS_PER_CM2 * area_cm2))
                self._scalp = render_phantom(
                    self._seed, width, height, self.scale_um_per_px, hair_count, (25.0, 95.0), look
                )
            return self._scalp

    def _view(self, scalp: np.ndarray, index: int) -> np.ndarray:
        # Linear, not cubic: a third of the time on the cores that the network wants, and the scalp is smooth enough.
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(scalp, self._motion(index), (self.width, self.height), flags=flags)

    def _motion(self, index: int) -> np.ndarray:
        """(2, 3): from points of the `index`-th picture to points of the scalp; never leaves the scalp."""
        seconds = index / self.fps
        across, down, turn = (math.sin(2 * math.pi * seconds / period) for period in _PERIODS_S)
        angle = math.radians(_ROTATION_DEG) * turn
        cos, sin = math.cos(angle), math.sin(angle)
        most_cos, most_sin = 1.0, math.sin(math.radians(_ROTATION_DEG))
        half = np.array([self.width, self.height]) / 2
        reach = half * (_SCALP_SIZE - most_cos) - half[::-1] * most_sin - 2
        centre = half * _SCALP_SIZE + reach * (across, down)
        turned = np.array([[cos, -sin], [sin, cos]])
        return np.column_stack([turned, centre - turned @ half])
