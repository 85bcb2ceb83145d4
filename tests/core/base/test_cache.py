"""The cache folder, and the temporary folder that replaces an unwritable one."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from decomr_core.base import cache

# Nobody can create anything there, not even root.
UNWRITABLE = '/dev/null/home'


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sets no cache variable and a temporary folder for this test."""
    for name in ('DECOMR_CACHE', 'XDG_CACHE_HOME'):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / 'tmp').mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'tmp'))
    monkeypatch.setattr(sys, 'prefix', str(tmp_path / 'venv'))
    cache._temporary_folder.cache_clear()
    yield
    cache._temporary_folder.cache_clear()


@pytest.mark.parametrize(
    ('variables', 'expected'),
    [
        ({'HOME': '{}/home'}, 'home/.cache/decomr'),
        ({'HOME': '{}/home', 'XDG_CACHE_HOME': '{}/xdg'}, 'xdg/decomr'),
        ({'HOME': '{}/home', 'XDG_CACHE_HOME': '{}/xdg', 'DECOMR_CACHE': '{}/own'}, 'own'),
    ],
)
def test_the_most_specific_variable_sets_the_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(tmp_path))
    assert cache.cache_folder() == tmp_path / expected
    assert (tmp_path / expected).is_dir()


def test_an_unwritable_home_is_replaced_by_a_temporary_folder_with_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv('HOME', UNWRITABLE)
    with caplog.at_level(logging.WARNING):
        folder = cache.cache_folder()
        assert cache.cache_folder() == folder
    assert folder.parent == tmp_path / 'tmp'
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(caplog.records) == 1
    assert UNWRITABLE in caplog.text and 'DECOMR_CACHE' in caplog.text
    (folder / 'file').touch()
    assert cache.find_cached('file') == folder / 'file'


def test_a_temporary_folder_writable_by_others_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('HOME', UNWRITABLE)
    foreign = tmp_path / 'tmp' / f'decomr-{os.getuid()}'
    foreign.mkdir()
    foreign.chmod(0o777)
    (foreign / 'file').touch()
    assert cache.find_cached('file') is None
    assert cache.cache_folder() != foreign


def test_a_link_in_place_of_the_temporary_folder_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('HOME', UNWRITABLE)
    (tmp_path / 'elsewhere').mkdir(mode=0o700)
    (tmp_path / 'tmp' / f'decomr-{os.getuid()}').symlink_to(tmp_path / 'elsewhere')
    assert not (cache.cache_folder() / '.').resolve().is_relative_to(tmp_path / 'elsewhere')


def test_the_user_cache_takes_precedence_over_the_installed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    installed = tmp_path / 'venv/share/decomr/cache'
    assert cache.installed_cache() == installed
    assert cache.find_cached('model') is None
    assert not (tmp_path / 'home').exists(), 'to look for something creates nothing'
    (installed / 'model').mkdir(parents=True)
    assert cache.find_cached('model') == installed / 'model'
    (tmp_path / 'home/.cache/decomr/model').mkdir(parents=True)
    assert cache.find_cached('model') == tmp_path / 'home/.cache/decomr/model'


def test_nothing_is_installed_outside_a_virtual_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, 'prefix', sys.base_prefix)
    assert cache.installed_cache() is None
