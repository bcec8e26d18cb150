"""The cache of built engines: what was written comes back whole, and nothing else is ever handed out."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import ScalpScopeError
from device_app.bundle import Task, default_bundle_path, load_bundle
from device_app.engines.engine import EngineNotBuilt, Precision
from device_app.engines.engine_cache import EngineCache, EngineKey, EngineOptions, default_cache_folder, options_for

KEY = EngineKey("hair", "a" * 64, Precision.INT8_SYMMETRIC, "10.3.0", "Orin", "8.7", "12.6 (R36.4.3)")
PLAN = b"a plan" * 1000

words = st.text(string.ascii_letters + string.digits + " .-()", min_size=1, max_size=12)
keys = st.builds(
    EngineKey,
    task=st.sampled_from([task.value for task in Task]),
    model_sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    precision=st.sampled_from(Precision),
    tensorrt=words,
    gpu=words,
    compute_capability=words,
    driver=words,
    options=st.builds(
        EngineOptions,
        points=st.none() | st.tuples(*[st.integers(1, 2000)] * 3),
        dla_core=st.none() | st.integers(0, 1),
        optimization_level=st.integers(0, 5),
    ),
)


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    cache = EngineCache(tmp_path / "cache" / "engines")
    cache.write(KEY, PLAN)
    return cache


def refusal(cache: EngineCache, key: EngineKey = KEY) -> str:
    with pytest.raises(EngineNotBuilt) as caught:
        cache.read(key)
    assert "scalpscope-export engines" in caught.value.remedy
    return caught.value.what


def test_what_was_written_comes_back(cache: EngineCache) -> None:
    assert cache.read(KEY) == PLAN
    cache.write(KEY, b"another")
    assert cache.read(KEY) == EngineCache(cache.folder).read(KEY) == b"another"


def test_only_the_owner_has_access(cache: EngineCache) -> None:
    umask = os.umask(0)
    try:
        cache.write(KEY, PLAN)
        cache.write_timing_cache(KEY, b"times")
        other = EngineCache(cache.folder.parent / "other")
        other.check_writable()
    finally:
        os.umask(umask)
    assert stat.S_IMODE(cache.folder.stat().st_mode) == stat.S_IMODE(other.folder.stat().st_mode) == 0o700
    assert list(other.folder.iterdir()) == []
    assert {stat.S_IMODE(path.stat().st_mode) for path in cache.folder.iterdir()} == {0o600}
    assert len(list(cache.folder.iterdir())) == 3


def test_nothing_is_made_by_asking(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "none")
    assert refusal(cache) == "no engine was built yet for hair int8_symmetric"
    assert cache.read_timing_cache(KEY) == b""
    assert not cache.folder.exists()


@settings(max_examples=40, deadline=None)
@given(first=keys, second=keys)
def test_a_key_is_its_parts(first: EngineKey, second: EngineKey) -> None:
    assert (first.digest == second.digest) == (first == second)
    assert dataclasses.replace(first).digest == first.digest
    assert json.loads(json.dumps(first.told())) == first.told()


@pytest.mark.parametrize(
    "change",
    [
        {"model_sha256": "b" * 64},
        {"precision": Precision.FP16},
        {"tensorrt": "10.3.1"},
        {"gpu": "Thor"},
        {"compute_capability": "8.9"},
        {"driver": "12.6 (R36.4.4)"},
        {"options": EngineOptions(dla_core=0)},
        {"options": EngineOptions(points=(1, 2, 3))},
        {"options": EngineOptions(optimization_level=5)},
    ],
)
def test_an_engine_for_anything_else_is_not_this_one(cache: EngineCache, change: dict[str, object]) -> None:
    other = dataclasses.replace(KEY, **change)
    assert "no engine was built yet" in refusal(cache, other)
    cache.write(other, b"for something else")
    assert cache.read(other) == b"for something else"
    if "tensorrt" in change or "driver" in change:
        refusal(cache)  # thrown away: that TensorRT, that driver is gone
    else:
        assert cache.read(KEY) == PLAN


def test_a_stale_engine_is_named_and_thrown_away_by_its_successor(cache: EngineCache) -> None:
    newer = dataclasses.replace(KEY, tensorrt="10.7.0")
    assert "is for TensorRT 10.3.0 and not 10.7.0" in refusal(cache, newer)
    cache.write(newer, b"newer")
    assert sorted(path.suffix for path in cache.folder.iterdir()) == [".json", ".plan"]
    assert "is for TensorRT 10.7.0 and not 10.3.0" in refusal(cache)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_no_damaged_byte_is_ever_handed_out(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = EngineCache(tmp_path_factory.mktemp("c") / "engines")
    cache.write(KEY, b"a small plan")
    path = data.draw(st.sampled_from(sorted(cache.folder.iterdir())))
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(
        data.draw(
            st.sampled_from(
                [
                    whole[:place],
                    whole[:place] + bytes([whole[place] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[place + 1 :],
                    whole + b"x",
                    b"",
                ]
            )
        )
    )
    try:
        assert cache.read(KEY) == b"a small plan"  # what was damaged says nothing about the plan, such as a space
        assert path.suffix == ".json"
    except EngineNotBuilt as error:
        assert "not used" in error.what


def test_an_engine_under_anothers_name_is_not_taken(cache: EngineCache) -> None:
    other = dataclasses.replace(KEY, gpu="Thor")
    for suffix in (".plan", ".json"):
        source, target = (cache.plan_path(key).with_suffix(suffix) for key in (KEY, other))
        target.write_bytes(source.read_bytes())
    assert "another engine's" in refusal(cache, other)


@pytest.mark.parametrize("which", [".plan", ".json"])
def test_a_half_of_an_engine_is_none(cache: EngineCache, which: str) -> None:
    cache.plan_path(KEY).with_suffix(which).unlink()
    refusal(cache)
    cache.write(KEY, PLAN)
    assert cache.read(KEY) == PLAN


@pytest.mark.parametrize("which", [".plan", ".json"])
def test_files_that_others_could_have_written_are_not_read(cache: EngineCache, which: str, tmp_path: Path) -> None:
    path = cache.plan_path(KEY).with_suffix(which)
    path.chmod(0o606)
    assert "others may write it" in refusal(cache)
    path.chmod(0o600)
    assert cache.read(KEY) == PLAN
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert "it is a link" in refusal(cache)
    path.unlink()
    os.mkfifo(path)
    assert "it is no file" in refusal(cache)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_belongs_to_another_user_is_not_used(cache: EngineCache) -> None:
    os.chown(cache.plan_path(KEY), 12345, -1)
    assert "belongs to another user" in refusal(cache)
    os.chown(cache.folder, 12345, -1)
    with pytest.raises(ScalpScopeError, match="belongs to another user"):
        EngineCache(cache.folder)
    with pytest.raises(ScalpScopeError, match="belongs to another user"):
        cache.write(KEY, PLAN)


def test_a_folder_that_others_may_write_is_refused(cache: EngineCache) -> None:
    for mode in (0o777, 0o770, 0o702, 0o1777):
        cache.folder.chmod(mode)
        for action in (
            lambda: EngineCache(cache.folder),
            lambda: cache.read(KEY),
            lambda: cache.write(KEY, PLAN),
            lambda: cache.read_timing_cache(KEY),
        ):
            with pytest.raises(ScalpScopeError, match="others may write into it") as caught:
                action()
            assert not isinstance(caught.value, EngineNotBuilt) and "chmod 700" in caught.value.remedy
    cache.folder.chmod(0o755)
    assert cache.read(KEY) == PLAN


def test_a_folder_that_is_none_or_cannot_be_made(cache: EngineCache, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(cache.folder)
    for folder in (tmp_path / "file", tmp_path / "link", tmp_path / "file" / "below"):
        with pytest.raises(ScalpScopeError, match="no folder"):
            EngineCache(folder)
    with pytest.raises(ScalpScopeError, match="cannot be used") as caught:
        EngineCache(Path("/proc/scalpscope")).write(KEY, PLAN)  # nobody can make one there, not even root
    assert "--cache" in caught.value.remedy


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(cache: EngineCache) -> None:
    cache.folder.chmod(0o500)
    with pytest.raises(ScalpScopeError, match="may not write"):
        cache.check_writable()
    assert cache.read(KEY) == PLAN
    cache.folder.chmod(0o700)


def test_a_write_that_fails_leaves_nothing_behind(cache: EngineCache) -> None:
    path = cache.plan_path(KEY)
    path.unlink()
    path.mkdir()  # so that nothing can take its place
    with pytest.raises(ScalpScopeError):
        cache.write(KEY, PLAN)
    assert not [each for each in cache.folder.iterdir() if each.name.endswith(".part")]


def test_the_kernels_times_are_kept_for_one_device(cache: EngineCache) -> None:
    cache.write_timing_cache(KEY, b"times")
    fp16 = dataclasses.replace(KEY, precision=Precision.FP16, model_sha256="c" * 64)
    assert cache.read_timing_cache(KEY) == cache.read_timing_cache(fp16) == b"times"
    assert cache.read_timing_cache(dataclasses.replace(KEY, tensorrt="11.4.0")) == b""
    path = cache.timing_cache_path(KEY)
    for damaged in (path.read_bytes()[:-1], b"", b"short"):
        path.write_bytes(damaged)
        assert cache.read_timing_cache(KEY) == b""


def test_the_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_folder() == EngineCache().folder == tmp_path / "scalpscope" / "engines"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / ".cache" / "scalpscope" / "engines"


def test_options_of_the_bundle_that_ships() -> None:
    bundle = load_bundle(default_bundle_path())
    least, usual, most = options_for(bundle.model(Task.SAM_DECODER)).points or (0, 0, 0)
    assert least == 1 and most == 1024 and least <= usual <= most
    assert options_for(bundle.model(Task.HAIR)) == EngineOptions()
    assert options_for(bundle.model(Task.HAIR), 1).dla_core == 1
