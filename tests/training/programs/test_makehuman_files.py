"""MakeHuman's garment files are read as its documentation describes them, or rejected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tools.makehuman_files import NUM_BASE_VERTICES, read_garment, read_texture_name

MHCLO = """# a comment
name scarf
obj_file scarf.obj
x_scale 0 1 2.0
material scarf.mhmat
verts 0
weights_file scarf.mhw
5
0 1 2 0.5 0.25 0.25 0.1 0.2 -0.3
2

delete_verts
3 - 5 9
"""
OBJ = 'v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 .25\nf 1/1 2/2 3/3\n'


@pytest.fixture
def scarf(tmp_path: Path) -> Path:
    (tmp_path / 'scarf.obj').write_text(OBJ)
    (tmp_path / 'scarf.mhmat').write_text('name scarf\ndiffuseTexture ../wool/red.png\n')
    (tmp_path / 'scarf.mhclo').write_text(MHCLO)
    return tmp_path / 'scarf.mhclo'


def test_a_garment_hangs_on_the_base_mesh_by_weights_offsets_and_scales(scarf):
    garment = read_garment(scarf)
    assert garment.hidden.tolist() == [3, 4, 5, 9]
    assert garment.faces.tolist() == [[0, 1, 2]]
    np.testing.assert_allclose(garment.face_uv[0], [[0, 1], [1, 1], [0, 0.75]])
    assert read_texture_name(garment.material) == 'red'
    base = np.zeros((1, NUM_BASE_VERTICES, 3))
    base[0, :3] = [[0, 0, 0], [4, 0, 0], [0, 8, 0]]
    base[0, 5] = [7, 7, 7]
    expected = np.array([[7, 7, 7], [1 + 0.1 * 2, 2 + 0.2 * 0.1, -0.3 * 0.1], [0, 8, 0]])
    np.testing.assert_allclose(garment.vertices(base)[0], expected)


@pytest.mark.parametrize(
    ('old', 'new', 'said'),
    [
        ('obj_file scarf.obj', '', 'no obj_file or no vertices'),
        ('0.1 0.2 -0.3', '0.1 0.2', 'is damaged'),
        ('0.1 0.2 -0.3', '0.1 0.2 nan', 'is damaged'),
        ('\n2\n', '\n20000\n', 'refers to base vertex 20000'),
        ('\n2\n', '\n2\n2\n', 'has 4 vertices, its .obj file 3'),
        ('x_scale 0 1 2.0', 'x_scale 0 1', 'is damaged'),
    ],
)
def test_damaged_garments_are_rejected(scarf, old, new, said):
    assert old in MHCLO
    scarf.write_text(MHCLO.replace(old, new))
    with pytest.raises(ValueError, match=said):
        read_garment(scarf)


def test_a_garment_without_its_mesh_or_material_is_reported(scarf):
    (scarf.parent / 'scarf.mhmat').unlink()
    assert read_garment(scarf).material is None
    (scarf.parent / 'scarf.obj').unlink()
    with pytest.raises(FileNotFoundError, match='scarf.obj'):
        read_garment(scarf)
