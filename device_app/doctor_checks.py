"""The checks of `scalpscope doctor`, from the machine up to the network. See `device_app.doctor`."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from calibration.errors import ScalpScopeError
from device_app.bench.latency.jetson import find_jetson
from device_app.doctor import Check, Finding, State, nearest_folder
from device_app.doctor_engines import check_accelerator, check_cache, check_networks
from device_app.settings import DeviceSettings

_REINSTALL = "Install again: pip install 'scalpscope[device]'."
_GL_PACKAGES = "libgl1 libgl1-mesa-dri libegl1 libgles2 libmtdev1"
_OPENGL_WAIT_S = 60
_RUNTIME_RANGE = ((1, 23), (1, 29))


def check_system(settings: DeviceSettings) -> Sequence[Finding]:
    """Python, operating system, processor, and JetPack where there is one."""
    python = f"Python {platform.python_version()}"
    supported = (3, 10) <= sys.version_info[:2] <= (3, 12)
    findings = [
        Finding("python", State.OK, python)
        if supported
        else Finding("python", State.WARN, f"{python} is not tested", "Use Python 3.10, 3.11 or 3.12.")
    ]
    try:
        system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        system = platform.system()
    findings.append(Finding("system", State.OK, f"{system}, {platform.machine()}, {os.cpu_count()} processors"))
    if (jetson := find_jetson()) is not None:
        release = "JetPack unknown" if jetson.jetpack is None else f"JetPack {jetson.jetpack}"
        findings.append(Finding("jetpack", State.OK, f"{jetson.board}, L4T {jetson.l4t} ({release})"))
    return findings


def check_memory(settings: DeviceSettings) -> Sequence[Finding]:
    """Free memory: the app takes about half a gigabyte, both processes together."""
    memory = psutil.virtual_memory()
    found = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    if memory.available < 0.5 * 2**30:
        return [Finding("memory", State.WARN, found, "Close other programs; ScalpScope wants 0.5 GiB.")]
    return [Finding("memory", State.OK, found)]


def check_disk(settings: DeviceSettings) -> Sequence[Finding]:
    """Whether the folder for records can be written, and how much fits."""
    folder = nearest_folder(settings.records.expanduser())
    free = psutil.disk_usage(str(folder)).free
    found = f"{free / 2**30:.1f} GiB free for {settings.records}"
    if not os.access(folder, os.W_OK | os.X_OK):
        remedy = "Set records in the settings file to a folder of your own, or scalpscope run --records DIR."
        return [Finding("records", State.WARN, f"{settings.records} may not be written", remedy)]
    if free < 2**30:
        return [Finding("records", State.WARN, found, "Free some space: nothing can be saved on a full disk.")]
    return [Finding("records", State.OK, found)]


def check_display(settings: DeviceSettings) -> Sequence[Finding]:
    """Whether there is a screen that somebody can see, and an OpenGL that opens a window on it."""
    display = find_display()
    return [display] if display.state is State.FAIL else [display, _opengl()]


def find_display() -> Finding:
    """Where a window would appear. A `FAIL` means nowhere: SDL then draws one that nobody sees, without a word."""
    driver = os.environ.get("SDL_VIDEODRIVER", "")
    shown = {name: os.environ[name] for name in ("WAYLAND_DISPLAY", "DISPLAY") if os.environ.get(name)}
    if driver in ("offscreen", "dummy"):
        found = f"SDL_VIDEODRIVER={driver}: the window is drawn, nobody sees it"
        return Finding("display", State.WARN, found, "Unset SDL_VIDEODRIVER.")
    if shown:
        return Finding("display", State.OK, ", ".join(f"{name}={value}" for name, value in shown.items()))
    if any(Path("/dev/dri").glob("card*")):
        return Finding("display", State.OK, "no desktop; the window is drawn straight to the screen (/dev/dri)")
    return Finding(
        "display",
        State.FAIL,
        "no display: neither DISPLAY nor WAYLAND_DISPLAY is set and there is no /dev/dri",
        "Start from a desktop session; over ssh set DISPLAY=:0; on a machine without a screen "
        "use scalpscope run --headless, or xvfb-run.",
    )


def _opengl() -> Finding:
    try:
        probe = subprocess.run(
            [sys.executable, "-m", "device_app.screens.opengl_probe"],
            capture_output=True,
            text=True,
            timeout=_OPENGL_WAIT_S,
            check=False,
        )
        found = json.loads(probe.stdout.strip().splitlines()[-1])
        text = f"{found['version']} by {found['renderer']}"
    except subprocess.TimeoutExpired:
        return Finding("opengl", State.FAIL, f"no window within {_OPENGL_WAIT_S} s", "Restart the desktop session.")
    except (IndexError, ValueError, KeyError):
        lines = probe.stderr.strip().splitlines() or [f"the window process ended with code {probe.returncode}"]
        remedy = f"On Debian or Ubuntu: apt-get install {_GL_PACKAGES}; check that DISPLAY names a screen that is on."
        return Finding("opengl", State.FAIL, f"no window could be opened: {lines[-1]}", remedy)
    if re.search(r"llvmpipe|softpipe|swrast", found["renderer"]):
        remedy = "It works, by the processor; for a smoother picture install the graphics driver."
        return Finding("opengl", State.WARN, text, remedy)
    return Finding("opengl", State.OK, text)


def check_onnxruntime(settings: DeviceSettings) -> Sequence[Finding]:
    """The version of ONNX Runtime, its providers, and that its telemetry is off."""
    try:
        import onnxruntime
    except ImportError as error:
        return [Finding("onnxruntime", State.FAIL, f"cannot be imported: {error}", _REINSTALL)]
    version = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
    text = f"{onnxruntime.__version__}, providers {', '.join(onnxruntime.get_available_providers())}"
    findings = [
        Finding("onnxruntime", State.OK, text)
        if _RUNTIME_RANGE[0] <= version < _RUNTIME_RANGE[1]
        else Finding("onnxruntime", State.WARN, text, "Install 'onnxruntime>=1.23,<1.29', the tested versions.")
    ]
    if os.environ.get("ORT_DISABLE_TELEMETRY") == "1":
        findings.append(Finding("telemetry", State.OK, "ORT_DISABLE_TELEMETRY=1: ONNX Runtime reports nothing"))
    else:
        value = os.environ.get("ORT_DISABLE_TELEMETRY")
        remedy = "Unset ORT_DISABLE_TELEMETRY; ScalpScope then sets it to 1."
        findings.append(Finding("telemetry", State.WARN, f"ORT_DISABLE_TELEMETRY is {value!r}", remedy))
    return findings


def check_bundle(settings: DeviceSettings) -> Sequence[Finding]:
    """The bundle, every file of it, and the engines that will run, proved by the goldens."""
    from device_app.bundle import Task, default_bundle_path, load_bundle

    path = settings.bundle or default_bundle_path()
    try:
        bundle = load_bundle(path)
    except ScalpScopeError as error:
        return [Finding("bundle", State.FAIL, error.what, error.remedy)]
    model = bundle.model(Task.HAIR)
    precisions = ", ".join(precision.value for precision in model.files)
    tasks = ", ".join(task.value for task in bundle.tasks)
    text = f"{bundle.name} {bundle.version} ({tasks}; {precisions}), every file as its manifest says"
    findings = [
        Finding("bundle", State.WARN, f"{text}; for demonstration only", "Do not use its figures on people.")
        if bundle.demonstration_only
        else Finding("bundle", State.OK, text)
    ]
    return [*findings, *check_networks(bundle, settings)]


def check_profile(settings: DeviceSettings) -> Sequence[Finding]:
    """Whether there is a scale: without one no physical figure is given."""
    from calibration.optics.profile import Profile, list_profiles

    if settings.um_per_px is not None:
        return [Finding("scale", State.OK, f"{settings.um_per_px:g} µm per pixel, typed in, no uncertainty known")]
    if settings.profile is None:
        known = ", ".join(path.stem for path in list_profiles())
        remedy = "Calibrate on the screen or with scalpscope-calibrate, then run with --profile."
        if known:
            remedy = f"Run with --profile; known profiles: {known}."
        return [Finding("scale", State.WARN, "no profile: figures in pixels only, no µm, no density", remedy)]
    try:
        profile = Profile.load(settings.profile)
    except ScalpScopeError as error:
        return [Finding("scale", State.FAIL, error.what, error.remedy)]
    text = f"{profile.name}: {profile.scale_um_per_px:.4g} µm per pixel at {profile.width_px} x {profile.height_px}"
    return [Finding("scale", State.OK, text)]


def check_cameras(settings: DeviceSettings) -> Sequence[Finding]:
    """The cameras, whether they may be opened, and the picture formats they offer."""
    from device_app.camera.uvc import list_cameras

    cameras = list_cameras()
    if not cameras:
        remedy = "Plug in the microscope, and look again; the app shows the demo scalp meanwhile."
        return [Finding("camera", State.WARN, "no camera", remedy)]
    findings = []
    for camera in cameras:
        name = f"camera:{camera.index}"
        if not os.access(camera.path, os.R_OK | os.W_OK):
            remedy = "sudo usermod -aG video $USER, then log out and in again."
            findings.append(
                Finding(name, State.WARN, f"{camera.path} ({camera.name}) may not be opened by you", remedy)
            )
            continue
        formats = "; ".join(str(offered) for offered in camera.formats) or "formats unknown"
        findings.append(Finding(name, State.OK, f"{camera.name}: {formats}"))
    return findings


CHECKS: dict[str, Check] = {
    "system": check_system,
    "memory": check_memory,
    "records": check_disk,
    "display": check_display,
    "camera": check_cameras,
    "onnxruntime": check_onnxruntime,
    "accelerator": check_accelerator,
    "engine cache": check_cache,
    "bundle": check_bundle,
    "scale": check_profile,
}
