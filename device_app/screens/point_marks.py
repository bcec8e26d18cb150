"""Prompt points and corrections on the picture: crosses where hair is said to be, rings where scalp is.

The shape says it, the colour says it again. A clinician's corrections are twice as large as the points of Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from kivy.graphics import Color, InstructionGroup, Mesh
from kivy.graphics.texture import Texture

from device_app.live.refinement import Correction
from device_app.screens import theme
from device_app.screens.hair_mesh import sprites
from device_app.vision.prompts import PromptPoints

_TEXTURE_PX = 48
_CORRECTION_SIZE = 2.0


class PointMarks(InstructionGroup):
    """Draws points in pixels of the picture; the group around it places them."""

    def __init__(self) -> None:
        super().__init__()
        self._told: tuple[PromptPoints | None, tuple[Correction, ...], float] = (None, (), 1.0)
        self._crosses: Texture | None = None
        self._rings: Texture | None = None

    def tell(self, prompts: PromptPoints | None, corrections: Sequence[Correction], reach_px: float) -> bool:
        """Draw these from now on; nothing is built again that is there already.

        Args:
            prompts: what SAM was asked; None: not drawn.
            corrections: always drawn.
            reach_px: from the middle of a prompt point's mark to its sides, in pixels of the picture.

        Returns:
            True when something changed.
        """
        before, corrections = self._told, tuple(corrections)
        if before[0] is prompts and before[1:] == (corrections, reach_px):
            return False
        self._told = (prompts, corrections, reach_px)
        self.clear()
        if prompts is not None:
            self._add(prompts, reach_px)
        said = [np.array([(c.x, c.y) for c in corrections if c.hair is hair]) for hair in (True, False)]
        self._add(PromptPoints(*said), _CORRECTION_SIZE * reach_px)
        return True

    def _add(self, points: PromptPoints, reach_px: float) -> None:
        if self._crosses is None:
            self._crosses, self._rings = _texture(_cross, theme.HAIR_POINT), _texture(_ring, theme.SCALP_POINT)
        for places, texture in ((points.negative, self._rings), (points.positive, self._crosses)):
            if len(places):
                vertices, indices = sprites(places, reach_px)
                self.add(Color(1, 1, 1, 1))
                self.add(Mesh(vertices=vertices, indices=indices, mode="triangles", texture=texture))


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far from the middle line of a cross, in halves of the square."""
    beyond = np.maximum(np.maximum(np.abs(x), np.abs(y)) - 0.62, 0)
    return np.hypot(np.minimum(np.abs(x), np.abs(y)), beyond)


def _ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The same of a ring."""
    return np.abs(np.hypot(x, y) - 0.6)


def _texture(distance_from: Callable[[np.ndarray, np.ndarray], np.ndarray], colour: theme.Colour) -> Texture:
    """A coloured stroke in a white halo: seen on hair and on skin."""
    across = (np.arange(_TEXTURE_PX) + 0.5) / _TEXTURE_PX * 2 - 1
    distance = distance_from(*np.meshgrid(across, across))
    core, halo = (np.clip((width - distance) / 0.06 + 0.5, 0, 1) for width in (0.18, 0.34))
    pixels = np.ones((_TEXTURE_PX, _TEXTURE_PX, 4))
    pixels[..., :3] = 1 - core[..., None] * (1 - np.array(colour[:3]))
    pixels[..., 3] = np.maximum(core, 0.9 * halo)
    texture = Texture.create(size=(_TEXTURE_PX, _TEXTURE_PX), colorfmt="rgba", mipmap=True)
    texture.blit_buffer(np.round(255 * pixels).astype(np.uint8).reshape(-1), colorfmt="rgba", bufferfmt="ubyte")
    return texture
