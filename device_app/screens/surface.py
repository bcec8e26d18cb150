"""Drawing one frame with its overlay: reused textures, the mask tinted in a shader, hair lines as meshes."""

from __future__ import annotations

import cv2
import numpy as np
from kivy.graphics import (
    BindTexture,
    Color,
    InstructionGroup,
    Mesh,
    PopMatrix,
    PushMatrix,
    Rectangle,
    RenderContext,
    Scale,
    Translate,
)
from kivy.graphics.texture import Texture

from calibration.optics.illumination import FlatField
from device_app.live.analysis import Analysis
from device_app.screens import theme
from device_app.screens.choosing import Shown
from device_app.screens.hair_mesh import lines_by_class, ribbons
from device_app.screens.point_marks import PointMarks

# Each shader does what its picture needs and no more: drawn by the processor, every texture read costs a millisecond.
_SHADER = """
$HEADER$
uniform sampler2D mask;
uniform sampler2D light;
uniform sampler2D heat;
uniform vec4 tint;
uniform vec4 heat_colour;
uniform float heat_from;
uniform float heat_to;
uniform vec2 light_nodes;
void main(void) {
    vec3 picture = texture2D(texture0, tex_coord0).rgb;
    %s
    gl_FragColor = vec4(picture, 1.0) * frag_color;
}
"""
_EVEN_OUT = """
    vec2 node = (tex_coord0 * (light_nodes - 1.0) + 0.5) / light_nodes;
    picture = min(picture / max(texture2D(light, node).rgb, 0.05), 1.0);
"""
_TINT = """
    picture = mix(picture, tint.rgb, tint.a * texture2D(mask, tex_coord0).r);
"""
# The picture steps back, grey and half dark, and what was looked at lights up in it: lightness alone says it, so that
# no eye needs to tell colours. The same as `device_app.vision.overlay.draw_heat`.
_HEAT = """
    float looked = texture2D(heat, tex_coord0).r;
    float grey = dot(picture, vec3(0.299, 0.587, 0.114));
    vec3 lit = heat_colour.rgb * (0.7 + 0.3 * grey);
    picture = mix(vec3(0.6 * grey), lit, 0.85 * smoothstep(heat_from, heat_to, looked));
"""
_TOP_LEFT_FIRST = (0, 1, 1, 1, 1, 0, 0, 0)  # rows of a picture run down, those of a texture up
_DIMMED = 0.35


class FrameSurface(InstructionGroup):
    """One frame on the canvas. `show` sets what, `place` sets where; both may be called every tick.

    Args:
        line_px: width of the hair lines on the screen, dark halo included; may be set later.
    """

    def __init__(self, line_px: float = 5.0) -> None:
        super().__init__()
        self.line_px = line_px
        self.shown: Shown | None = None
        self.bare = False
        self._place = (0.0, 0.0, 1.0)
        self._picture: Texture | None = None
        self._mask: Texture | None = None
        self._heat: Texture | None = None
        self._rgba = np.zeros((0, 0, 4), np.uint8)
        self.points = PointMarks()
        self._drawn: tuple[int, np.ndarray | None, np.ndarray | None] | None = None
        self._lined: tuple[Analysis | None, float, float] | None = None
        self._light_of: FlatField | None = None
        self._contexts: dict[tuple[bool, bool, bool], RenderContext] = {}
        self._used: tuple[bool, bool, bool] | None = None
        self._slot = InstructionGroup()
        self._bind_mask, self._bind_light, self._bind_heat = (BindTexture(index=index) for index in (1, 2, 3))
        self._light_nodes = (1.0, 1.0)
        self._rectangle = Rectangle()
        self._brightness = Color(1, 1, 1, 1)
        self._shift, self._scale = Translate(0, 0), Scale(1, 1, 1)
        self._lines = InstructionGroup()
        self._extra = InstructionGroup()
        self._smooth = _line_texture()
        to_corner = Translate(0.5, 0.5)  # pixel centres are at .0, the picture begins half a pixel before
        drawings = (self._lines, self.points, self._extra)
        overlay = (PushMatrix(), self._shift, self._scale, to_corner, *drawings, PopMatrix())
        for instruction in (self._slot, *overlay):
            self.add(instruction)

    def show(self, shown: Shown, bare: bool = False, light: FlatField | None = None) -> bool:
        """Draw this; nothing is uploaded again that is there already.

        Args:
            shown: the frame and the overlay that belongs to it.
            bare: leave the overlay out.
            light: evens out the light of the picture, as the analysis saw it.

        Returns:
            True when pixels were uploaded. Kivy does not notice that by itself: the canvas must be asked to draw.
        """
        frame, mask = shown.frame, None if bare else shown.mask
        heat = None if bare or shown.looked is None else shown.looked.heat
        self.shown, self.bare = shown, bare
        before = self._drawn
        if self._drawn is None or self._drawn[0] != frame.id or self._picture_size() != frame.image.shape[1::-1]:
            self._upload_picture(frame.image)
            self._drawn = None
        if self._drawn is None or self._drawn[1] is not mask or self._drawn[2] is not heat:
            if mask is not None:
                self._upload_mask(mask)
            if heat is not None:
                self._upload_heat(heat)
            self._drawn = (frame.id, mask, heat)
            self._lined = None
        if light is not self._light_of:
            self._use_light(light)
        self._use_shader((mask is not None, light is not None, heat is not None))
        self._draw_lines()
        return self._drawn is not before

    def dim(self, dimmed: bool) -> None:
        """Darken a picture that is not of this moment."""
        level = _DIMMED if dimmed else 1.0
        if self._brightness.r != level:
            self._brightness.rgb = (level, level, level)

    def place(self, x: float, y: float, scale: float) -> None:
        """Where the picture's top left corner lies on the canvas, and how many screen pixels one of its pixels is."""
        if (x, y, scale) == self._place and self._drawn is not None:
            return
        self._place = (x, y, scale)
        self._shift.xy = (x, y)
        self._scale.xyz = (scale, -scale, 1)
        width, height = self._picture_size()
        self._rectangle.pos = (x, y - height * scale)
        self._rectangle.size = (width * scale, height * scale)
        if self._drawn is not None:
            self._draw_lines()

    def to_picture(self, x: float, y: float) -> tuple[float, float]:
        """A point of the canvas in pixels of the picture, centres at .0."""
        left, top, scale = self._place
        return (x - left) / scale - 0.5, (top - y) / scale - 0.5

    def mark_points(self, points: np.ndarray, colour: theme.Colour, size_px: float) -> None:
        """Draw crosses at points (N, 2) of the picture, and nothing else of this kind."""
        self._extra.clear()
        reach = size_px / self._place[2]
        lines = [
            np.array([[x - dx * reach, y - dy * reach], [x + dx * reach, y + dy * reach]])
            for x, y in points
            for dx, dy in ((1, 0), (0, 1))
        ]
        self._add_ribbons(self._extra, ribbons(lines, self.line_px / self._place[2]), colour)

    def mark_line(self, line: np.ndarray | None, colour: theme.Colour) -> None:
        """Draw one polyline (N, 2) of the picture thickly, and nothing else of this kind; None clears."""
        self._extra.clear()
        if line is not None:
            self._add_ribbons(self._extra, ribbons([line], 1.8 * self.line_px / self._place[2]), colour)

    def _picture_size(self) -> tuple[int, int]:
        return (1, 1) if self._picture is None else self._picture.size

    def _upload_picture(self, image: np.ndarray) -> None:
        height, width = image.shape[:2]
        if self._picture is None or self._picture.size != (width, height):
            self._picture = Texture.create(size=(width, height), colorfmt="rgba")
            self._rgba = np.empty((height, width, 4), np.uint8)
            self._rectangle.texture = self._picture  # which resets the coordinates
            self._rectangle.tex_coords = _TOP_LEFT_FIRST
            x, y, scale = self._place
            self._rectangle.pos, self._rectangle.size = (x, y - height * scale), (width * scale, height * scale)
        cv2.cvtColor(image, cv2.COLOR_RGB2RGBA, dst=self._rgba)  # four bytes a pixel upload ten times faster than three
        self._picture.blit_buffer(self._rgba.reshape(-1), colorfmt="rgba", bufferfmt="ubyte")

    def _upload_mask(self, mask: np.ndarray) -> None:
        height, width = mask.shape
        if self._mask is None or self._mask.size != (width, height):
            self._mask = Texture.create(size=(width, height), colorfmt="luminance")
            self._bind_mask.texture = self._mask
        self._mask.blit_buffer(np.ascontiguousarray(mask).reshape(-1), colorfmt="luminance", bufferfmt="ubyte")

    def _upload_heat(self, heat: np.ndarray) -> None:
        height, width = heat.shape
        if self._heat is None or self._heat.size != (width, height):
            self._heat = Texture.create(size=(width, height), colorfmt="luminance")
            self._heat.wrap = "clamp_to_edge"
            self._bind_heat.texture = self._heat
        levels = np.round(255 * np.clip(heat, 0, 1)).astype(np.uint8)
        self._heat.blit_buffer(levels.reshape(-1), colorfmt="luminance", bufferfmt="ubyte")

    def _use_shader(self, needs: tuple[bool, bool, bool]) -> None:
        """Draw the picture with the shader for what it needs: a tinted mask, evened light, a heat map."""
        if self._used == needs:
            return
        context = self._contexts.get(needs)
        if context is None:
            context = self._contexts[needs] = self._made_context(*needs)
        if needs[1]:
            context["light_nodes"] = self._light_nodes
        self._slot.clear()
        self._slot.add(context)
        self._used = needs

    def _made_context(self, overlaid: bool, lit: bool, looked: bool) -> RenderContext:
        context = RenderContext(use_parent_projection=True, use_parent_modelview=True)
        parts = ((_EVEN_OUT, lit), (_TINT, overlaid), (_HEAT, looked))
        context.shader.fs = _SHADER % "".join(part for part, wanted in parts if wanted)
        if not context.shader.success:
            raise RuntimeError("the graphics driver refuses the picture's shader")
        context.add(self._brightness)
        if overlaid:
            context["mask"], context["tint"] = 1, theme.MASK_TINT
            context.add(self._bind_mask)
        if lit:
            context["light"] = 2
            context.add(self._bind_light)
        if looked:
            context["heat"], context["heat_colour"] = 3, theme.HEAT
            context["heat_from"], context["heat_to"] = theme.HEAT_FROM, theme.HEAT_TO
            context.add(self._bind_heat)
        context.add(self._rectangle)
        return context

    def _use_light(self, light: FlatField | None) -> None:
        """The reciprocal of the gains, which fits 8 bits well, spread by the texture unit between the nodes."""
        self._light_of, self._used = light, None
        if light is None:
            return
        gains = light.gains * np.asarray(light.white_balance)
        nodes = cv2.cvtColor(np.clip(np.round(255 / gains), 1, 255).astype(np.uint8), cv2.COLOR_RGB2RGBA)
        rows, columns = nodes.shape[:2]
        texture = Texture.create(size=(columns, rows), colorfmt="rgba")
        texture.wrap = "clamp_to_edge"
        texture.blit_buffer(nodes.reshape(-1), colorfmt="rgba", bufferfmt="ubyte")
        self._bind_light.texture = texture
        self._light_nodes = (float(columns), float(rows))

    def _draw_lines(self) -> None:
        shown, scale = self.shown, self._place[2]
        analysis = None if shown is None or self.bare else shown.lined
        lined = self._lined
        if lined is not None and lined[0] is analysis and lined[1:] == (scale, self.line_px):
            return
        self._lined = (analysis, scale, self.line_px)
        self._lines.clear()
        if analysis is None:
            return
        for kind, mesh in lines_by_class(analysis.measurements, self.line_px / scale).items():
            colour = theme.UNCLASSED if kind is None else theme.CLASS_COLOURS[kind]
            self._add_ribbons(self._lines, mesh, colour)

    def _add_ribbons(self, group: InstructionGroup, mesh: tuple[np.ndarray, np.ndarray], colour: theme.Colour) -> None:
        vertices, indices = mesh
        if len(indices):
            group.add(Color(*colour))
            group.add(Mesh(vertices=vertices, indices=indices, mode="triangles", texture=self._smooth))


def _line_texture() -> Texture:
    """Across a ribbon: clear, dark halo, coloured core, dark halo, clear. Multiplied by the colour of the line."""
    across = np.abs(np.linspace(-1, 1, 32))
    core = np.clip((0.50 - across) / 0.16, 0, 1)
    alpha = np.clip((0.95 - across) / 0.30, 0, 1)
    pixels = np.zeros((1, 32, 4), np.uint8)
    pixels[0, :, :3] = np.round(255 * core)[:, None]
    pixels[0, :, 3] = np.round(255 * np.maximum(alpha * 0.75, core))
    texture = Texture.create(size=(32, 1), colorfmt="rgba")
    texture.wrap = "clamp_to_edge"
    texture.blit_buffer(pixels.reshape(-1), colorfmt="rgba", bufferfmt="ubyte")
    return texture
