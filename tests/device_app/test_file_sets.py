"""Sets of files: whole or absent, whatever happens while they are written."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from device_app.file_sets import CannotWrite, clear_abandoned, write_file_set

ROOT = Path(__file__).resolve().parents[2]

WRITER = """
import sys
from pathlib import Path
from device_app.file_sets import write_file_set
folder, n = Path(sys.argv[1]), 0
while True:
    n += 1
    content = f"{n:08d}".encode() * 20_000
    write_file_set(folder, {"a.bin": content, "b.bin": content, "mark.json": content})
    print(n, flush=True)
"""


def test_every_file_is_written_and_nothing_else(tmp_path: Path) -> None:
    write_file_set(tmp_path / "new" / "folder", {"a": b"1", "b": b"2"})
    assert {path.name: path.read_bytes() for path in (tmp_path / "new" / "folder").iterdir()} == {"a": b"1", "b": b"2"}


def test_an_earlier_set_is_replaced(tmp_path: Path) -> None:
    write_file_set(tmp_path, {"a": b"old", "b": b"old"})
    write_file_set(tmp_path, {"a": b"new", "b": b"new"})
    assert [(tmp_path / name).read_bytes() for name in ("a", "b")] == [b"new", b"new"]


def test_a_set_that_does_not_fit_leaves_the_earlier_one_alone(tmp_path: Path) -> None:
    write_file_set(tmp_path, {"a": b"old", "b": b"old"})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(CannotWrite, match=r"disk|too large"):
            write_file_set(tmp_path, {"a": b"new", "b": b"x" * 50_000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old", "b": b"old"}


def test_a_file_where_the_folder_should_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(CannotWrite, match="taken"):
        write_file_set(tmp_path / "taken", {"a": b"1"})
    assert (tmp_path / "taken").read_text() == "x"


def test_a_folder_in_the_place_of_a_file_is_said_and_nothing_stays(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(CannotWrite):
        write_file_set(tmp_path, {"a": b"1", "b": b"2"})
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_writer_killed_at_any_moment_leaves_only_whole_sets(tmp_path: Path) -> None:
    for delay_s in (0.0, 0.003, 0.011, 0.017, 0.029):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT, text=True
        )
        assert writer.stdout is not None
        assert writer.stdout.readline()  # one whole set is there
        time.sleep(delay_s)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        for name in ("a.bin", "b.bin"):
            content = (tmp_path / name).read_bytes()
            assert content == content[:8] * 20_000
        if (tmp_path / "mark.json").exists():  # the mark promises the whole set
            assert len({(tmp_path / name).read_bytes() for name in ("a.bin", "b.bin", "mark.json")}) == 1
        clear_abandoned(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} <= {"a.bin", "b.bin", "mark.json"}


def test_what_a_living_process_writes_is_not_cleared(tmp_path: Path) -> None:
    mine = tmp_path / f".scalpscope-{os.getpid()}-abcd.partial"
    mine.mkdir()
    clear_abandoned(tmp_path)
    assert mine.is_dir()
