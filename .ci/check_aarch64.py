"""Proves that every device dependency has a wheel for aarch64: fetches them, unpacks them and looks into them.

    python .ci/check_aarch64.py --uv UV PYTHON:GLIBC[:EXTRA]...     such as 3.10:2.35:jetpack6 for JetPack 6

For each Python the pins of constraints.txt for the device extra are resolved as that machine would resolve them, from
wheels only, and unpacked into a scratch folder; then what the JetPack's own extra adds, which is not pinned there. Then
every compiled file there must be for aarch64.
"""

from __future__ import annotations

import argparse
import configparser
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ELF_AARCH64 = 0xB7  # e_machine of the ELF header, two bytes at offset 18


def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def device_requirements() -> str:
    """What ``pip install .[device]`` asks for, one requirement a line."""
    return setup()["options"]["install_requires"] + "\n" + setup()["options.extras_require"]["device"]


def added_requirements(extra: str) -> str:
    """What an extra asks for beside the other extras that it names, one requirement a line."""
    lines = setup()["options.extras_require"][extra].splitlines()
    return "\n".join(line for line in lines if not line.strip().startswith("scalpscope["))


def foreign_files(folder: Path) -> list[Path]:
    """The compiled files under `folder` that an aarch64 machine cannot load."""
    wrong = []
    for path in folder.rglob("*.so*"):
        head = path.open("rb").read(20)
        if head[:4] == b"\x7fELF" and int.from_bytes(head[18:20], "little") != ELF_AARCH64:
            wrong.append(path.relative_to(folder))
    return wrong


def check(uv: str, python: str, glibc: str, extra: str = "") -> bool:
    """Install the device extra, and another one, for one Python into a scratch folder; True when every file there fits
    the machine."""
    title = f"aarch64, Python {python}, glibc {glibc}" + (f", {extra}" if extra else "")
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "site-packages"
        command = [uv, "pip", "install", "--quiet", "--no-progress", "--only-binary", ":all:"]
        command += ["--python-version", python, "--python-platform", f"aarch64-manylinux_{glibc.replace('.', '_')}"]
        command += ["--target", str(target)]
        steps = [(device_requirements(), ["--constraints", str(ROOT / "constraints.txt")])]
        steps += [(added_requirements(extra), [])] if extra else []
        for number, (lines, options) in enumerate(steps):
            requirements = Path(scratch) / f"{number}.txt"
            requirements.write_text(lines, encoding="utf-8")
            if subprocess.run([*command, *options, "-r", str(requirements)], check=False).returncode != 0:
                print(f"{title}: NOT installable from wheels (the reason stands above)")
                return False
        wrong = foreign_files(target)
        packages = sorted(path.name.removesuffix(".dist-info") for path in target.glob("*.dist-info"))
        compiled = sum(1 for _ in target.rglob("*.so*"))
    print(f"{title}: {len(packages)} packages, {compiled} compiled files")
    print("    " + ", ".join(packages))
    for path in wrong:
        print(f"    not for aarch64: {path}")
    return compiled > 0 and not wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uv", required=True, help="the uv program")
    parser.add_argument("machines", nargs="+", metavar="PYTHON:GLIBC[:EXTRA]")
    options = parser.parse_args()
    results = [check(options.uv, *machine.split(":")) for machine in options.machines]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
