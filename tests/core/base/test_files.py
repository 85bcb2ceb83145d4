"""Files are written completely or not at all."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from decomr_core.base.files import replacing, write_if_missing
from tests.test_import_rule import FOLDERS, ROOT, python_files

BOTH = pytest.mark.parametrize('has_other_writers', [False, True])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@BOTH
def test_the_old_file_stays_until_the_new_one_is_complete(
    tmp_path: Path, has_other_writers: bool
) -> None:
    path = tmp_path / 'a.txt'
    for old, new in ((None, 'one'), ('one', 'two')):
        with replacing(str(path), has_other_writers) as part:
            part.write_text(new)
            assert (path.read_text() if path.exists() else None) == old
        assert path.read_text() == new
        assert names(tmp_path) == ['a.txt']


@BOTH
@pytest.mark.parametrize('error', [OSError(28, 'No space left on device'), KeyboardInterrupt()])
def test_an_error_keeps_the_old_file_and_leaves_nothing_beside_it(
    tmp_path: Path, has_other_writers: bool, error: BaseException
) -> None:
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with pytest.raises(type(error)), replacing(path, has_other_writers) as part:
        part.write_text('half of the n')
        raise error
    assert path.read_text() == 'old' and names(tmp_path) == ['a.txt']


def test_the_temporary_file_keeps_the_suffix_and_is_hidden_in_the_same_folder(
    tmp_path: Path,
) -> None:
    for has_other_writers in (False, True):
        with replacing(tmp_path / 'scores.npz', has_other_writers) as part:
            assert part.suffix == '.npz' and part.name.startswith('.scores.')
            assert part.parent == tmp_path
            part.touch()


def test_concurrent_writers_use_separate_files_and_the_last_one_wins(tmp_path: Path) -> None:
    path = tmp_path / 'a.txt'
    with replacing(path, has_other_writers=True) as slow:
        slow.write_text('slow')
        with replacing(path, has_other_writers=True) as fast:
            fast.write_text('fast')
        assert path.read_text() == 'fast'
    assert path.read_text() == 'slow' and names(tmp_path) == ['a.txt']


def test_the_file_of_a_killed_writer_is_replaced_by_the_next_writer(tmp_path: Path) -> None:
    code = (
        'import os, signal, sys; from decomr_core.base.files import replacing\n'
        'with replacing(sys.argv[1]) as part:\n'
        "    part.write_text('half')\n"
        '    os.kill(os.getpid(), signal.SIGKILL)'
    )
    path = tmp_path / 'a.txt'
    done = subprocess.run(
        [sys.executable, '-c', code, str(path)],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
    )
    assert done.returncode == -signal.SIGKILL
    assert names(tmp_path) == ['.a.part.txt']
    with replacing(path) as part:
        part.write_text('whole')
    assert path.read_text() == 'whole' and names(tmp_path) == ['a.txt']


def test_a_file_is_synced_before_it_replaces_another_unless_disabled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, 'fsync', lambda handle: (done.append('sync'), sync(handle)))
    monkeypatch.setattr(os, 'replace', lambda *paths: (done.append('replace'), replace(*paths)))
    for is_synced in (True, False):
        with replacing(tmp_path / 'a.txt', is_synced=is_synced) as part:
            part.write_text('new')
    assert done == ['sync', 'replace', 'replace']


def test_a_disk_that_fills_up_at_the_end_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(28, 'No space left on device')

    path = tmp_path / 'a.txt'
    path.write_text('old')
    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError, match='No space left'), replacing(path) as part:
        part.write_text('new')
    with pytest.raises(OSError, match='No space left'):
        write_if_missing(tmp_path / 'b.txt', b'new')
    assert path.read_text() == 'old' and names(tmp_path) == ['a.txt']


def test_a_new_file_gets_the_permissions_of_the_umask(tmp_path: Path) -> None:
    for name, has_other_writers in (('a', False), ('b', True)):
        with replacing(tmp_path / name, has_other_writers) as part:
            part.write_text('new')
    (tmp_path / 'usual').write_text('new')
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1


@pytest.mark.parametrize('has_links', [True, False])
def test_a_missing_file_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, 'no links here')

    if not has_links:
        monkeypatch.setattr(os, 'link', refuse)
    write_if_missing(tmp_path / 'a.txt', b'first')
    assert (tmp_path / 'a.txt').read_bytes() == b'first' and names(tmp_path) == ['a.txt']


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    for text in (b'first', b'second'):
        write_if_missing(str(tmp_path / 'a.txt'), text)
    assert (tmp_path / 'a.txt').read_bytes() == b'first' and names(tmp_path) == ['a.txt']


def test_no_other_module_renames_a_written_file_into_place() -> None:
    users = {
        str(path.relative_to(ROOT))
        for path in python_files(*FOLDERS)
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
        if isinstance(node, ast.Attribute) and ast.unparse(node) == 'os.replace'
    }
    assert users == {'decomr_core/base/files.py'}
