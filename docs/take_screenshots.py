"""Takes the pictures of docs/images from the running app: ``make screenshots``.

    python docs/take_screenshots.py [--bundle FOLDER] [--out FOLDER]

Each picture is the real app in a process of its own, on the demonstration scalp, driven as the tests drive it.
Needs a display of 1920x1080 or more, such as Xvfb's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SIZES = ((1920, 1080), (800, 480))
DEMO_SCALE_UM_PER_PX = 3.0
MEASURED: dict[str, Any] = {"expect": {"picture": True, "density_not": "–", "diameter_not": "–"}}
WAYS: dict[str, list[dict[str, Any]]] = {
    "live": [MEASURED, {"wait": 3}],
    "frozen": [MEASURED, {"press": "freeze"}, {"expect": {"frozen": True, "overlay": True}}, {"tap_hair": None}],
    "calibrate": [MEASURED, {"press": "calibrate"}, {"expect": {"screen": "calibrate"}}, {"wait": 1}],
}
"""What the fingers do before each picture."""


def take(bundle: Path, out: Path, way: str, size: tuple[int, int]) -> None:
    """Start the app at one size, go one way through it, and keep what the window then shows."""
    picture = out / f"{way}_{size[0]}x{size[1]}.png"
    with tempfile.TemporaryDirectory() as scratch:
        plan = {
            "bundle": str(bundle),
            "records": f"{scratch}/records",
            "window": size,
            "demo": {"scale_um_per_px": DEMO_SCALE_UM_PER_PX},
            "scale": DEMO_SCALE_UM_PER_PX,
            "steps": [*WAYS[way], {"picture": str(picture)}],
        }
        plan_file = Path(scratch) / "plan.json"
        plan_file.write_text(json.dumps(plan), encoding="utf-8")
        command = [sys.executable, "-m", "tests.support.screen_child", str(plan_file)]
        # A home of its own: no settings or profiles of this machine in the pictures.
        environment = {**os.environ, "HOME": scratch, "XDG_CONFIG_HOME": scratch}
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
    print(picture)


def main() -> None:
    parser = argparse.ArgumentParser(description="Take the pictures of docs/images from the running app.")
    parser.add_argument("--bundle", type=Path, default=ROOT / "device_app" / "bundles" / "default")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for way in WAYS:
        for size in SIZES:
            take(options.bundle.resolve(), options.out.resolve(), way, size)


if __name__ == "__main__":
    main()
