"""UV maps from OBJ files: every accepted form, and what is rejected."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decomr_core import cli
from decomr_core.commands.predict import write_obj
from decomr_core.uv.location_map import LocationMapper
from decomr_core.uv.obj_template import read_obj_template
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_import import describe_uv_map, import_uv_map
from decomr_core.uv.uv_map import UVMap, load_uv_map

PARITY = Path(__file__).parents[2] / 'data' / 'parity' / 'parity_uv.npz'
# A closed body of two triangles and two quads: a prism. Its side faces are cut at vertices 2, 5.
PRISM_FACES = np.array(
    [[0, 2, 1], [3, 4, 5], [0, 1, 4], [0, 4, 3], [1, 2, 5], [1, 5, 4], [2, 0, 3], [2, 3, 5]]
)
PRISM = """# a prism
o prism
g all
v 0 0 0
v 1 0 0
v 0 1 0
v 0 0 1
v 1 0 1
v 0 1 1
vt 0.4 0.4
vt 0.6 0.4
vt 0.5 0.1 0
vt 0.4 0.6 0
vt 0.6 0.6 0
vt 0.5 0.9
vt 0.8 0.4
vt 0.8 0.6
vt 0.2 0.4
vt 0.2 0.6
vn 0 0 1
usemtl skin
s 1
f 1/1 3/3 2/2
f 4/4 5/5 6/6
f 1/1 2/2 5/5 4/4
f 2/2 3/7 6/8 5/5
f 3/9 1/1 4/4 6/10
"""


def a_body(faces: np.ndarray) -> SimpleNamespace:
    """What an import needs of a body."""
    return SimpleNamespace(faces=torch.as_tensor(faces), hash='a hash', name='a body')


@pytest.fixture
def prism(tmp_path: Path) -> Path:
    path = tmp_path / 'prism.obj'
    path.write_text(PRISM)
    return path


def obj_text(uv_map: UVMap, num_vertices: int, rng: np.random.Generator) -> str:
    """A map as an OBJ: faces and corners in random order, of random kinds, random line ends."""
    end = rng.choice(['\n', '\r\n'])
    lines = ['# made by a test', 'mtllib nothing.mtl']
    lines += [f'v {x:.4f} {y:.4f} {z:.4f}' for x, y, z in rng.normal(size=(num_vertices, 3))]
    lines += [f'vt {u:.9g} {v:.9g}' for u, v in uv_map.uv]
    lines += ['vn 0 0 1', 'g skin']
    corners = np.stack([uv_map.body_faces, uv_map.faces], axis=-1)
    for face in rng.permutation(corners):
        face = np.roll(face, rng.integers(3), axis=0)
        if rng.random() < 0.3:
            face = face - [num_vertices, len(uv_map.uv)] - 1
        form = rng.choice(['{}/{}', '{}/{}/', '{}/{}/1'])
        words = [form.format(vertex + 1, place + 1) for vertex, place in face.tolist()]
        lines.append('  f ' + ' \t'.join(words) + rng.choice(['', ' ', '  # a face']))
    return end.join([*lines, ''])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_map_is_read_from_every_form_of_obj(
    tiny_body, tiny_uv_map, tmp_path_factory, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    uv = rng.random(tiny_uv_map.uv.shape).astype(np.float32)
    made = UVMap(uv, tiny_uv_map.faces, tiny_uv_map.vertex_index, tiny_body.hash)
    path = tmp_path_factory.mktemp('obj') / 'map.obj'
    path.write_bytes(obj_text(made, len(tiny_body.v_template), rng).encode())
    assert import_uv_map(path, tiny_body).hash == made.hash


def test_polygons_are_filled_by_the_triangles_of_the_body(prism: Path) -> None:
    uv_map = import_uv_map(prism, a_body(PRISM_FACES))
    np.testing.assert_array_equal(uv_map.body_faces, PRISM_FACES)
    assert uv_map.body_hash == 'a hash' and len(uv_map.uv) == 10
    assert np.bincount(uv_map.vertex_index).tolist() == [1, 1, 3, 1, 1, 3]
    np.testing.assert_allclose(uv_map.uv[uv_map.faces[5]], [[0.6, 0.4], [0.8, 0.6], [0.6, 0.6]])


def test_the_other_diagonal_of_a_polygon_gives_the_same_uv(prism: Path) -> None:
    faces = PRISM_FACES.copy()
    faces[2:4] = [[0, 1, 3], [1, 4, 3]]
    first, other = (import_uv_map(prism, a_body(these)) for these in (PRISM_FACES, faces))
    np.testing.assert_array_equal(other.body_faces, faces)
    np.testing.assert_array_equal(other.uv, first.uv)
    np.testing.assert_array_equal(other.vertex_index, first.vertex_index)


def test_two_polygons_around_a_vertex_of_two_edges_are_distinguished(tmp_path: Path) -> None:
    # Vertex 1 lies between 0 and 2 only: face (0, 1, 2) fits into both quads.
    faces = np.array([[0, 1, 2], [0, 2, 3], [1, 0, 4], [2, 1, 4], [0, 3, 4], [2, 4, 3]])
    lines = [f'v {k} 0 0' for k in range(5)] + [f'vt 0.{k} 0.5' for k in range(1, 7)]
    lines += ['f 1/1 5/5 3/3 2/6', 'f 1/1 2/2 3/3 4/4', 'f 1/1 4/4 5/5', 'f 3/3 5/5 4/4']
    (tmp_path / 'pillow.obj').write_text('\n'.join(lines))
    uv_map = import_uv_map(tmp_path / 'pillow.obj', a_body(faces))
    assert uv_map.uv[uv_map.faces[:4], 0].round(1).tolist() == [
        pytest.approx(row)
        for row in ([0.1, 0.2, 0.3], [0.1, 0.3, 0.4], [0.6, 0.1, 0.5], [0.3, 0.6, 0.5])
    ]


def test_one_vt_per_corner_gives_the_same_map_as_shared_ones(
    tiny_body, tiny_uv_map, tmp_path: Path
) -> None:
    places = tiny_uv_map.uv[tiny_uv_map.faces].reshape(-1, 2)
    lines = [f'v {x} {y} {z}' for x, y, z in tiny_body.data.v_template]
    lines += [f'vt {u:.9g} {v:.9g}' for u, v in places]
    lines += [
        'f ' + ' '.join(f'{vertex + 1}/{3 * row + k + 1}' for k, vertex in enumerate(face))
        for row, face in enumerate(tiny_uv_map.body_faces.tolist())
    ]
    (tmp_path / 'corners.obj').write_text('\n'.join(lines))
    made = import_uv_map(tmp_path / 'corners.obj', tiny_body)
    assert len(made.uv) == len(tiny_uv_map.uv)
    np.testing.assert_array_equal(made.uv[made.faces], tiny_uv_map.uv[tiny_uv_map.faces])


def test_the_map_of_the_official_code_gives_its_location_maps(tmp_path: Path) -> None:
    with np.load(PARITY) as data:
        stored = dict(data)
    path = tmp_path / 'official.obj'
    path.write_text(str(stored['obj']))
    template = read_obj_template(path)
    faces = np.array([[vertex for vertex, _ in polygon] for polygon in template.polygons])
    uv_map = import_uv_map(path, a_body(faces))
    assert (template.num_vertices, len(uv_map.uv), len(faces)) == (642, 664, 1280)
    mapper = LocationMapper(uv_map, int(stored['resolution']), template.num_vertices)
    np.testing.assert_array_equal(mapper.mask.numpy(), stored['mask'])
    made = mapper.location_map_from_vertices(torch.from_numpy(stored['vertices']))
    np.testing.assert_allclose(made.permute(0, 2, 3, 1).numpy(), stored['location_map'], atol=1e-4)


def test_exported_objs_count_v_from_the_bottom(tiny_body, tiny_uv_map, tmp_path: Path) -> None:
    mesh = SimpleNamespace(vertices=tiny_body.data.v_template, is_metric=False)
    write_obj(tmp_path / 'mesh.obj', mesh, Topology.from_body(tiny_body, tiny_uv_map))
    made = import_uv_map(tmp_path / 'mesh.obj', tiny_body, is_v_flipped=True)
    np.testing.assert_allclose(made.uv[made.faces], tiny_uv_map.uv[tiny_uv_map.faces], atol=1e-5)


@pytest.mark.parametrize(
    ('old', 'new', 'complaint'),
    [
        ('f 1/1 3/3 2/2', 'f 1//1 3//1 2//1', "line 23: the corner '1//1' of a face has no vt"),
        ('f 1/1 3/3 2/2', 'f 1 3 2', "the corner '1' of a face has no vt"),
        ('f 1/1 3/3 2/2', 'f 1/1 3/3', 'at least 3 corners, found 2'),
        ('f 1/1 3/3 2/2', 'f 1/1 3/3 0/2', "'0/2' of a face is not v/vt"),
        ('f 1/1 3/3 2/2', 'f 1/1 3/3 2/x', "'2/x' of a face is not v/vt"),
        ('f 1/1 3/3 2/2', 'f 1/1 3/3 1/2', 'the same vertex twice'),
        (
            'f 1/1 3/3 2/2',
            'f 1/1 3/3 99999999999/2',
            'refers to v 99999999999 and vt 2, but there are 6',
        ),
        ('f 1/1 3/3 2/2', f'f 1/1 3/3 {"9" * 5000}/2', 'is not v/vt'),
        ('f 1/1 3/3 2/2', 'f 1/1 3/3 -7/2', 'damaged or truncated'),
        ('vt 0.4 0.4', 'vt 0.4', "line 10: vt needs 2 finite numbers, found '0.4'"),
        ('vt 0.4 0.4', 'vt nan 0.4', 'vt needs 2 finite numbers'),
        ('vt 0.4 0.4', 'vt 1e999 0.4', 'vt needs 2 finite numbers'),
        ('v 0 0 0', 'v 0 0', 'line 4: v needs 3 finite numbers'),
        ('vt 0.4 0.4', 'vt 1.4 0.4', 'leave the unit square: u 0.2 to 1.4, v 0.1 to 0.9; pack'),
        ('vt 0.4 0.4', 'vt 0.4 -0.4', 'leave the unit square'),
        ('f 1/1 3/3 2/2', '# no face', "1 of the body's 8 faces are not in it and 0 of its 4"),
        ('f 1/1 3/3 2/2', 'f 1/1 3/3 6/6', 'name the right body with --body'),
        (
            'f 1/1 2/2 5/5 4/4',
            'f 1/1 5/5 2/2 4/4',
            "0 of the body's 8 faces are not in it and 1 of",
        ),
        ('vt 0.4 0.4', '\0', 'is not a text file'),
    ],
)
def test_an_invalid_map_is_a_one_line_error(
    prism: Path, old: str, new: str, complaint: str
) -> None:
    prism.write_text(PRISM.replace(old, new, 1))
    with pytest.raises(ValueError) as caught:
        import_uv_map(prism, a_body(PRISM_FACES))
    said = str(caught.value)
    assert complaint in said and str(prism) in said
    assert '\n' not in said and len(said) < 500


@pytest.mark.parametrize(
    ('content', 'complaint'),
    [
        (b'', 'has no v lines'),
        (b'v 0 0 0\nvt 0 0\n', 'has no f lines'),
        (b'v 0 0 0\n', 'has no vt lines'),
        (os.urandom(5000) + b'\0', 'is not a text file'),
        (b'\x89PNG\r\n' + bytes(range(1, 256)) * 9, 'has no v lines'),
    ],
)
def test_a_file_that_is_not_an_obj_is_reported(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    (tmp_path / 'junk.obj').write_bytes(content)
    with pytest.raises(ValueError, match=complaint) as caught:
        read_obj_template(tmp_path / 'junk.obj')
    assert 'v, vt and f lines' in str(caught.value)


def test_a_truncated_file_is_rejected_at_every_length(prism: Path) -> None:
    end = PRISM.rindex('f 3/9')
    for length in range(200, end + len('f 3/9 1/1 4/4'), 7):
        prism.write_text(PRISM[:length])
        with pytest.raises(ValueError, match=r'prism\.obj'):
            import_uv_map(prism, a_body(PRISM_FACES))


def test_a_map_without_seams_is_rejected(prism: Path) -> None:
    text = PRISM.replace('3/7', '3/3').replace('3/9', '3/3').replace('6/8', '6/6')
    prism.write_text(text.replace('6/10', '6/6'))
    with pytest.raises(ValueError, match='have no seam.*decomr uv build'):
        import_uv_map(prism, a_body(PRISM_FACES))


def test_continued_lines_and_old_line_ends_are_read(tmp_path: Path) -> None:
    (tmp_path / 'old.obj').write_bytes(
        b'v 0 0 \\\r0\rv 1 0 0\rv 0 1 0\rvt 0 0\rvt 1 0\rvt 0 1\rf 1/1 \\\r2/2 \\\r 3/3\r'
    )
    template = read_obj_template(tmp_path / 'old.obj')
    assert template.polygons == [[(0, 0), (1, 1), (2, 2)]]


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


def test_the_command_reports_the_imported_map(
    tiny_body, tiny_uv_map, tmp_path: Path, capsys
) -> None:
    tiny_body.save(tmp_path / 'body.npz')
    rng = np.random.default_rng(0)
    (tmp_path / 'map.obj').write_text(obj_text(tiny_uv_map, len(tiny_body.v_template), rng))
    out = tmp_path / 'uv.npz'
    assert (
        run(
            'uv',
            'import',
            tmp_path / 'map.obj',
            '--body',
            tmp_path / 'body.npz',
            '--out',
            out,
            '--json',
        )
        == 0
    )
    *text, last = capsys.readouterr().out.splitlines()
    report = json.loads(last)
    assert load_uv_map(out, tiny_body).hash == tiny_uv_map.hash == report['uv_hash']
    assert (report['pieces'], report['flips'], report['overlaps']) == (1, 0, 0)
    assert report['uv_vertices'] == len(tiny_uv_map.uv) and 'one continuous chart' in text[1]
    assert (
        run(
            'uv',
            'import',
            tmp_path / 'map.obj',
            '--body',
            tmp_path / 'body.npz',
            '--out',
            out,
            '--flip-v',
        )
        == 0
    )
    np.testing.assert_allclose(UVMap.load(out).uv, tiny_uv_map.uv * (1, -1) + (0, 1), atol=1e-6)


def test_a_map_of_several_charts_is_accepted_and_described(tiny_body, tiny_uv_map) -> None:
    is_right = tiny_uv_map.uv[tiny_uv_map.faces, 0].mean(axis=1) < 0.5
    faces = tiny_uv_map.faces + len(tiny_uv_map.uv) * is_right[:, None]
    parted = UVMap(
        np.tile(tiny_uv_map.uv, (2, 1)),
        faces,
        np.tile(tiny_uv_map.vertex_index, 2),
        tiny_body.hash,
    )
    text, report = describe_uv_map(tiny_body, parted)
    assert 'not one continuous chart: 2 pieces' in text and report['pieces'] == 2
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize('template', ['folder', 'missing', 'other mesh', 'text'])
def test_a_user_error_is_one_line_and_leaves_no_file(
    tiny_body, tmp_path: Path, capsys, template: str
) -> None:
    tiny_body.save(tmp_path / 'body.npz')
    (tmp_path / 'other mesh').write_text(PRISM)
    (tmp_path / 'text').write_text('hello')
    (tmp_path / 'folder').mkdir()
    assert (
        run(
            'uv',
            'import',
            tmp_path / template,
            '--body',
            tmp_path / 'body.npz',
            '--out',
            tmp_path / 'uv.npz',
        )
        == 2
    )
    said = capsys.readouterr().err
    assert said.startswith('decomr uv: ') and said.count('\n') == 1 and template in said
    assert not (tmp_path / 'uv.npz').exists()
