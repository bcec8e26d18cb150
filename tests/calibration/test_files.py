"""Writing files: whole or not at all, also when the disk is full."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from calibration.errors import ScalpScopeError
from calibration.files import make_folder, write_bytes_atomically, write_text_atomically


def test_what_is_written_is_there(tmp_path: Path) -> None:
    write_text_atomically(tmp_path / "a.txt", "µm und 두피\n")
    assert (tmp_path / "a.txt").read_bytes() == "µm und 두피\n".encode()
    write_bytes_atomically(tmp_path / "a.txt", b"new")
    assert (tmp_path / "a.txt").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_the_file_has_ordinary_permissions(tmp_path: Path) -> None:
    write_bytes_atomically(tmp_path / "a", b"")
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def _exit_code_of(action: Callable[[], int]) -> int:
    """Run in a child process, which may limit or demote itself."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = action()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_when_no_more_can_be_written_the_old_file_stays(tmp_path: Path) -> None:
    """A limit on file size stands in for a full disk: the kernel refuses in the middle of the write."""
    path = tmp_path / "result.json"
    path.write_bytes(b"old")

    def write_too_much() -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            write_bytes_atomically(path, b"x" * 100_000)
        except ScalpScopeError as error:
            return 0 if "disk is full" in error.what and "Free space" in error.remedy else 1
        return 2

    assert _exit_code_of(write_too_much) == 0
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root, and only where mounting is allowed, can make a small disk to fill")
    try:
        write_bytes_atomically(disk / "small", b"fits")
        with pytest.raises(ScalpScopeError, match=r"disk is full.*Free space"):
            write_bytes_atomically(disk / "large", b"x" * 200_000)
        assert [path.name for path in disk.iterdir()] == ["small"]
        assert (disk / "small").read_bytes() == b"fits"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_folders_that_are_missing_or_forbidden(tmp_path: Path) -> None:
    with pytest.raises(ScalpScopeError, match=r"does not exist.*Make that folder"):
        write_bytes_atomically(tmp_path / "none" / "a", b"")
    (tmp_path / "file").touch()
    with pytest.raises(ScalpScopeError, match=r"does not exist|is a file"):
        write_bytes_atomically(tmp_path / "file" / "a", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ScalpScopeError, match="a folder has that name"):
        write_bytes_atomically(tmp_path / "folder", b"")
    with pytest.raises(ScalpScopeError, match="name is too long"):
        write_bytes_atomically(tmp_path / ("x" * 300), b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_folder_one_may_not_write_to(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)

    def write_as_somebody() -> int:
        if os.geteuid() == 0:
            os.setuid(65534)
        try:
            write_bytes_atomically(tmp_path / "a", b"")
        except ScalpScopeError as error:
            return 0 if "may not write" in error.what else 1
        return 2

    try:
        assert _exit_code_of(write_as_somebody) == 0
    finally:
        tmp_path.chmod(0o755)


def test_folders_are_made_with_their_parents(tmp_path: Path) -> None:
    assert make_folder(tmp_path / "a" / "b").is_dir()
    assert make_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(ScalpScopeError, match="is a file"):
        make_folder(tmp_path / "file")


def test_a_reader_sees_the_old_or_the_new_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state"
    versions = [bytes([letter]) * 200_000 for letter in b"ab"]
    path.write_bytes(versions[0])
    stop, seen = threading.Event(), set()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(40):
        write_bytes_atomically(path, versions[turn % 2])
    stop.set()
    reader.join()
    assert seen <= set(versions)


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"a" * 300_000)
    program = (
        "import sys; from pathlib import Path; from calibration.files import write_bytes_atomically\n"
        "while True:\n"
        "    for letter in b'ab':\n"
        "        write_bytes_atomically(Path(sys.argv[1]), bytes([letter]) * 300_000)\n"
        "        print(flush=True)\n"
    )
    root = Path(__file__).resolve().parents[2]
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", program, str(path)], cwd=root, stdout=subprocess.PIPE)
        assert child.stdout is not None
        for _ in range(3):
            child.stdout.readline()
        child.kill()
        child.wait()
        child.stdout.close()
        content = path.read_bytes()
        assert content in (b"a" * 300_000, b"b" * 300_000)
