"""Fetching checkpoints from a real server on this machine: whole, in parts, cut off, and when other bytes come."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration.errors import ScalpScopeError
from training.cli import call
from training.prompting.checkpoints import CHECKPOINTS, OfficialCheckpoint, Variant, official
from training.prompting.download import download

CONTENT = np.random.default_rng(5).bytes(3_000_017)


@dataclass
class Server:
    """What the server does, and what it was asked."""

    content: bytes = CONTENT
    ranges: bool = True  # sends parts of files
    breaks_off_after: int | None = None  # bytes of the body; the header promises all of them
    says_length: bool = True
    shifted: int = 0  # sends the part that begins so many bytes later than asked
    status: int = 200
    url: str = ""
    asked: list[str | None] = field(default_factory=list)  # the Range header of each request


class _Handler(BaseHTTPRequestHandler):
    plan: Server

    def do_GET(self) -> None:
        plan = self.plan
        wanted = self.headers["Range"]
        plan.asked.append(wanted)
        if plan.status != 200:
            self.send_error(plan.status)
            return
        first = 0
        if wanted and plan.ranges:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if first >= len(plan.content):
                self.send_error(416)
                return
            first += plan.shifted
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(plan.content) - 1}/{len(plan.content)}")
        else:
            self.send_response(200)
        body = plan.content[first:]
        if plan.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the client may have seen enough
            self.wfile.write(body if plan.breaks_off_after is None else body[: plan.breaks_off_after])

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    plan = Server()
    handler = type("Handler", (_Handler,), {"plan": plan})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        plan.url = f"http://127.0.0.1:{running.server_port}/sam.pth"
        yield plan
        running.shutdown()
        thread.join()


def _checkpoint(server: Server) -> OfficialCheckpoint:
    """One that consists of `CONTENT`, whatever the server sends."""
    return OfficialCheckpoint(
        Variant.VIT_B, "sam.pth", server.url, len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), "nobody"
    )


def _files(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}


def test_a_whole_download(server: Server, tmp_path: Path) -> None:
    told: list[int] = []
    path = download(_checkpoint(server), tmp_path / "new" / "folder", told.append)
    assert path == tmp_path / "new" / "folder" / "sam.pth"
    assert path.read_bytes() == CONTENT
    assert _files(path.parent) == {"sam.pth": len(CONTENT)}
    assert told == sorted(told) and told[-1] == len(CONTENT)


def test_a_file_that_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    download(_checkpoint(server), tmp_path)
    download(_checkpoint(server), tmp_path)
    assert len(server.asked) == 1


@pytest.mark.parametrize("other", [b"mine", CONTENT[:-1] + b"?"], ids=["other length", "other bytes"])
def test_another_file_of_that_name_is_left_alone(server: Server, tmp_path: Path, other: bytes) -> None:
    (tmp_path / "sam.pth").write_bytes(other)
    with pytest.raises(ScalpScopeError, match="not the official file"):
        download(_checkpoint(server), tmp_path)
    assert (tmp_path / "sam.pth").read_bytes() == other
    assert server.asked == []


@pytest.mark.parametrize("says_length", [True, False])
def test_a_download_that_breaks_off_goes_on_where_it_was(server: Server, tmp_path: Path, says_length: bool) -> None:
    server.breaks_off_after, server.says_length = 1_200_000, says_length
    with pytest.raises(ScalpScopeError, match=r"broke off after 1,200,000 of 3,000,017 bytes.*goes on"):
        download(_checkpoint(server), tmp_path)
    assert _files(tmp_path) == {"sam.pth.part": 1_200_000}
    server.breaks_off_after = None
    assert download(_checkpoint(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1200000-"]
    assert _files(tmp_path) == {"sam.pth": len(CONTENT)}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(have=st.integers(0, len(CONTENT)), ranges=st.booleans())
def test_any_part_that_is_there_ends_as_the_whole_file(
    server: Server, tmp_path_factory: pytest.TempPathFactory, have: int, ranges: bool
) -> None:
    folder = tmp_path_factory.mktemp("part")
    (folder / "sam.pth.part").write_bytes(CONTENT[:have])
    server.ranges = ranges
    assert download(_checkpoint(server), folder).read_bytes() == CONTENT
    assert _files(folder) == {"sam.pth": len(CONTENT)}


def test_a_server_without_ranges_begins_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "sam.pth.part").write_bytes(CONTENT[:1000])
    server.ranges = False
    assert download(_checkpoint(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-"]


def test_a_part_that_is_too_long_is_not_built_on(server: Server, tmp_path: Path) -> None:
    (tmp_path / "sam.pth.part").write_bytes(CONTENT + b"more")
    assert download(_checkpoint(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None]


def test_other_bytes_of_the_right_length_are_not_kept(server: Server, tmp_path: Path) -> None:
    server.content = bytes(len(CONTENT))
    with pytest.raises(ScalpScopeError, match=r"not the official file: its SHA-256 is [0-9a-f]{64}, not [0-9a-f]{64}"):
        download(_checkpoint(server), tmp_path)
    assert _files(tmp_path) == {}


def test_a_part_of_another_file_is_found_out_and_not_kept(server: Server, tmp_path: Path) -> None:
    (tmp_path / "sam.pth.part").write_bytes(bytes(5000))
    with pytest.raises(ScalpScopeError, match="not the official file"):
        download(_checkpoint(server), tmp_path)
    assert _files(tmp_path) == {}
    assert download(_checkpoint(server), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("says_length", [True, False])
def test_a_longer_file_is_refused(server: Server, tmp_path: Path, says_length: bool) -> None:
    server.content, server.says_length = CONTENT * 2, says_length
    with pytest.raises(ScalpScopeError, match=r"offers 6,000,034 bytes|sent more than"):
        download(_checkpoint(server), tmp_path)
    assert _files(tmp_path) == {}


def test_a_shorter_file_is_refused_before_it_is_written(server: Server, tmp_path: Path) -> None:
    server.content = b"<html>Please sign in</html>"
    with pytest.raises(ScalpScopeError, match="offers 27 bytes, the official file has 3,000,017"):
        download(_checkpoint(server), tmp_path)
    assert _files(tmp_path) == {}


def test_another_part_than_asked_for_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "sam.pth.part").write_bytes(CONTENT[:1000])
    server.shifted = 7
    with pytest.raises(ScalpScopeError, match="another part"):
        download(_checkpoint(server), tmp_path)
    assert _files(tmp_path) == {"sam.pth.part": 1000}


def test_a_part_that_the_server_has_no_more_of(server: Server, tmp_path: Path) -> None:
    (tmp_path / "sam.pth.part").write_bytes(CONTENT[:1000])
    server.content = CONTENT[:500]
    with pytest.raises(ScalpScopeError, match="fewer bytes"):
        download(_checkpoint(server), tmp_path)
    assert _files(tmp_path) == {}


def test_an_answer_that_is_no_file(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(ScalpScopeError, match="answered 404 Not Found"):
        download(_checkpoint(server), tmp_path)


def test_nobody_there(server: Server, tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as closed:
        server.url = f"http://127.0.0.1:{closed.server_port}/sam.pth"
    with pytest.raises(ScalpScopeError, match=r"cannot be reached: .*refused"):
        download(_checkpoint(server), tmp_path)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "sam.pth", "http://:x/"])
def test_no_web_address(server: Server, tmp_path: Path, url: str) -> None:
    server.url = url
    with pytest.raises(ScalpScopeError, match=r"no web address|cannot be reached"):
        download(_checkpoint(server), tmp_path)


def test_a_folder_that_is_a_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(ScalpScopeError, match="cannot be written to"):
        download(_checkpoint(server), tmp_path / "taken")


def test_the_list_says_all_that_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["prompting", "fetch", "--list"]) == 0
    shown = capsys.readouterr().out
    for checkpoint in CHECKPOINTS:
        for fact in (checkpoint.file, f"{checkpoint.size_bytes:,}", checkpoint.licence, checkpoint.url):
            assert fact in shown
        assert f"SHA-256  {checkpoint.sha256}" in shown


def test_the_command_shows_what_it_will_fetch_and_refuses_another_file(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["prompting", "fetch", "mobile_sam", "--out", str(tmp_path), "--url", server.url]) == 2
    out, err = capsys.readouterr()
    known = official("mobile_sam")
    assert known.sha256 in out and "40,728,226 bytes" in out and "Apache-2.0" in out and server.url in out
    assert err.count("\n") == 1 and "offers 3,000,017 bytes, the official file has 40,728,226" in err
    assert _files(tmp_path) == {}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nothing", "--out", "x"], "no checkpoint named 'nothing'. Use one of mobile_sam, vit_b, vit_l, vit_h"),
        (["vit_b"], "Add --out DIR"),
        ([], "No checkpoint was named"),
    ],
)
def test_a_command_that_lacks_something(capsys: pytest.CaptureFixture[str], words: list[str], says: str) -> None:
    assert call(["prompting", "fetch", *words]) == 2
    assert says in capsys.readouterr().err
