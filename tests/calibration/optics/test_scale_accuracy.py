"""How well the ruler is measured over everything at once. With ``-s`` it prints the figures of docs/calibration.md."""

from __future__ import annotations

import numpy as np
from support.rulers import RulerScene, render_ruler

from calibration.errors import ScalpScopeError
from calibration.optics.scale import find_ruler

SCENES = 30


def random_scene(rng: np.random.Generator) -> RulerScene:
    """Any angle; 6 to 150 px between ticks; noise, blur, uneven light; numbers, base line, cross, missing ticks."""
    spacing = float(np.exp(rng.uniform(np.log(6.0), np.log(150.0))))
    width, height = (1280, 1024) if spacing > 80 else (640, 480)
    return RulerScene(
        width=width,
        height=height,
        spacing=spacing,
        angle_deg=float(rng.uniform(0, 180)),
        phase=float(rng.random()),
        tick_width_fraction=float(rng.uniform(0.25 if spacing < 15 else 0.1, 0.4)),
        tick_length=float(rng.uniform(0.12, 0.4)) * height,
        centred_ticks=bool(rng.random() < 0.3),
        offset=float(rng.uniform(-0.1, 0.1)) * height,
        first_tick=-10_000 if rng.random() < 0.7 else -int(rng.integers(4, 12)),
        missing=frozenset(int(k) for k in rng.integers(-20, 20, rng.integers(0, 4))),
        baseline=bool(rng.random() < 0.4),
        numbers=bool(rng.random() < 0.5),
        light_on_dark=bool(rng.random() < 0.3),
        uneven=float(rng.uniform(0, 0.5)),
        blur=float(rng.uniform(0.4, min(4.0, 0.18 * spacing))),
        noise=float(rng.choice([0.0, 3.0, 8.0, 12.0])),
        reticle=bool(rng.random() < 0.2),
        seed=int(rng.integers(1 << 30)),
    )


def test_accuracy_over_random_rulers() -> None:
    rng = np.random.default_rng(20)
    errors, z, refused = [], [], 0
    for _ in range(SCENES):
        scene = random_scene(rng)
        try:
            fit = find_ruler(render_ruler(scene), 100.0)
        except ScalpScopeError:
            refused += 1
            continue
        true_scale = 100.0 / scene.spacing
        errors.append(abs(fit.scale_um_per_px / true_scale - 1.0))
        z.append(abs(fit.scale_um_per_px - true_scale) / fit.uncertainty_um_per_px)
    percent = 100.0 * np.array(errors)
    print(
        f"\n{SCENES} rulers: {refused} refused; error of the scale, %: median {np.median(percent):.4f}, "
        f"95th percentile {np.percentile(percent, 95):.4f}, worst {percent.max():.4f}; "
        f"within 3 standard deviations: {np.mean(np.array(z) < 3):.1%}"
    )
    assert refused <= 0.05 * SCENES
    assert percent.max() < 0.3
    assert np.mean(np.array(z) < 3) >= 0.97
