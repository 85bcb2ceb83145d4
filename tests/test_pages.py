"""The pages are consistent: index, anchors, Python examples that run, an animated picture."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from decomr_core.base.assets import DATA_FOLDER
from decomr_core.base.cache import cache_folder
from tests.test_import_rule import ROOT
from tests.test_repository import tracked_files

MAX_PICTURE_BYTES = 3 * 2**20
CLIP_FRAME = 130
"""Of the demo clip: both people are in view."""

# What the examples of docs/python.md take from their reader: two images and their times.
CAMERA = """
from decomr_core import read_image
camera = [(read_image('photo.jpg'), time_s) for time_s in (0.0, 0.1)]
"""


def python_blocks(page: str) -> list[str]:
    """The fenced Python of a page."""
    return re.findall(r'^```python\n(.*?)^```$', (ROOT / page).read_text('utf-8'), re.M | re.S)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    titles = re.findall(r'^#+ (.+)$', text, re.M)
    plain = [re.sub(r'\[([^]]*)\]\([^)]*\)', r'\1', title).replace('`', '') for title in titles]
    return {re.sub(r'[^\w\- ]', '', title.lower()).strip().replace(' ', '-') for title in plain}


def run_in(folder: Path, code: str) -> str:
    """The output of a Python program in a folder that holds a photo.jpg with two people."""
    capture = cv2.VideoCapture(str(DATA_FOLDER / 'demo_clip.mp4'))
    capture.set(cv2.CAP_PROP_POS_FRAMES, CLIP_FRAME)
    assert cv2.imwrite(str(folder / 'photo.jpg'), capture.read()[1])
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={
            **os.environ,
            'DECOMR_CACHE': str(cache_folder()),
            'PYTHONPATH': f'{ROOT}{os.pathsep}{os.environ.get("PYTHONPATH", "")}',
        },
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_index_lists_every_page() -> None:
    index = (ROOT / 'docs/README.md').read_text('utf-8')
    pages = {path.name for path in (ROOT / 'docs').glob('*.md')} - {'README.md'}
    linked = re.findall(r'^- \[[^]]+\]\(([^)]+)\): .+$', index, re.M)
    assert len(linked) == len(set(linked))
    assert pages - set(linked) == set(), 'list each page once in docs/README.md'


def test_the_readme_links_the_index() -> None:
    assert '](docs/README.md)' in (ROOT / 'README.md').read_text('utf-8')


def test_every_link_to_a_heading_is_valid() -> None:
    texts = {path: path.read_text('utf-8') for path in tracked_files() if path.suffix == '.md'}
    links = [
        (page, target, anchor)
        for page, text in texts.items()
        for target, anchor in re.findall(r'\]\((?!http)([^)#:\s]*)#([^)\s]+)\)', text)
    ]
    assert links
    broken = []
    for page, target, anchor in links:
        other = (page.parent / target).resolve() if target else page.resolve()
        if other.suffix == '.md' and anchor not in anchors(other.read_text('utf-8')):
            broken.append(f'{page.relative_to(ROOT)}: {target}#{anchor}')
    assert broken == []


def test_the_six_lines_of_the_readme_write_a_mesh_of_each_person(tmp_path: Path) -> None:
    (code,) = python_blocks('README.md')
    assert len(code.splitlines()) == 6
    told = run_in(tmp_path, code)
    meshes = sorted(path.name for path in tmp_path.glob('person_*.obj'))
    assert meshes == ['person_0.obj', 'person_1.obj']
    assert told.count('(13348, 3)') == 2


@pytest.mark.parametrize('number', [0, pytest.param(1, marks=pytest.mark.full_size)])
def test_the_examples_of_the_python_page_run(tmp_path: Path, number: int) -> None:
    code = python_blocks('docs/python.md')[number]
    told = run_in(tmp_path, CAMERA + code + '\nprint(len(meshes), meshes[0].is_metric)')
    assert told.split() == ['2', str('intrinsics' in code)]


def test_the_python_page_names_every_public_name() -> None:
    import decomr_core

    page = (ROOT / 'docs/python.md').read_text('utf-8')
    table = set(re.findall(r'^\| `(\w+)', page, re.M))
    assert set(decomr_core.__all__) - {'__version__'} <= table


def test_the_picture_of_the_readme_moves_and_is_small() -> None:
    (picture,) = re.findall(r'!\[[^]]+\]\(([^)]+)\)', (ROOT / 'README.md').read_text('utf-8'))
    data = (ROOT / picture).read_bytes()
    assert data[8:12] == b'WEBP' and data.count(b'ANMF') >= 10
    assert len(data) <= MAX_PICTURE_BYTES
