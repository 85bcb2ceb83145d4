"""Dressed people: the wardrobe file, the mesh of body and garments, labels, skirts, panoramas."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from decomr_core.body_models import BodyModel, load_body
from decomr_core.geometry.rasterizer import rasterize
from decomr_core.uv.uv_map import UVMap
from tests.training.fabricated_wardrobe import OFFSET_M, make_wardrobe, write_panoramas
from training.records.root_frame import root_frame_body
from training.synthetic.clothes.dressing import Clothing, Dresser
from training.synthetic.clothes.loose_garments import CUTS, loose_garments
from training.synthetic.clothes.texture_stack import TextureStack
from training.synthetic.clothes.wardrobe import Wardrobe
from training.synthetic.held_out import held_out_set
from training.synthetic.people import SyntheticPeople
from training.synthetic.scenes.backgrounds import Scene
from training.synthetic.scenes.clutter import draw_furniture, draw_robot_arm, low_light
from training.synthetic.scenes.panoramas import Panoramas, draw_panorama, panorama_light
from training.synthetic.synthetic_config import SyntheticConfig, missing_assets

SIZE = 64


@pytest.fixture(scope='module')
def wardrobe(tiny_body: BodyModel) -> Wardrobe:
    return make_wardrobe(tiny_body)


@pytest.fixture(scope='module')
def wardrobe_file(wardrobe: Wardrobe, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('wardrobe') / 'wardrobe.npz'
    wardrobe.save(path)
    return path


def a_person(body: BodyModel, bend: float = 0.0):
    """Vertices in the root frame and joint transforms of a person with bent elbows and hips."""
    pose = torch.zeros(1, 24, 3)
    pose[0, [1, 2], 0] = -bend
    pose[0, 18, 1] = -bend
    shape = torch.linspace(-1, 1, 10)[None]
    return pose, shape, root_frame_body(body, pose, shape)[0][0]


def plain(wardrobe: Wardrobe, kinds: tuple[str, ...], skin: int = 2) -> Clothing:
    garments = [item for kind in kinds for item in wardrobe.of_kind(kind)]
    return Clothing(garments, skin, False, False, torch.ones(3), 0.0)


def test_a_wardrobe_is_saved_and_loaded(wardrobe, wardrobe_file, tiny_body):
    again = Wardrobe.load(wardrobe_file, tiny_body)
    assert again.skin_names == wardrobe.skin_names
    for one, other in zip(again.garments, wardrobe.garments, strict=True):
        for field in dataclasses.fields(one):
            first, second = getattr(one, field.name), getattr(other, field.name)
            if isinstance(first, torch.Tensor):
                assert first.dtype == second.dtype
                torch.testing.assert_close(first, second, atol=1e-3, rtol=1e-3)
            else:
                assert first == second


@pytest.mark.parametrize(
    'damage', ['cut', 'text', 'kind', 'faces', 'nan', 'no outfit', 'size', 'skin_uv']
)
def test_a_damaged_wardrobe_is_rejected(damage, wardrobe_file, tiny_body, tmp_path):
    path = tmp_path / 'damaged.npz'
    with np.load(wardrobe_file) as archive:
        arrays = dict(archive)
    changes = {
        'kind': {'kinds': np.array(['sock', 'hair'])},
        'no outfit': {'kinds': np.array(['hair', 'hair'])},
        'faces': {'0_faces': arrays['0_faces'] + 10_000},
        'nan': {'0_template': arrays['0_template'] * np.nan},
        'size': {'textures': arrays['textures'][:, ::2]},
        'skin_uv': {'skin_uv': arrays['skin_uv'][1:]},
    }
    if damage == 'cut':
        path.write_bytes(wardrobe_file.read_bytes()[:3000])
    elif damage == 'text':
        path.write_text('clothes')
    else:
        np.savez(path, **arrays | changes[damage])
    with pytest.raises(ValueError, match='is not a wardrobe for this body.*bake_wardrobe'):
        Wardrobe.load(path, tiny_body)


def test_a_wardrobe_for_another_body_or_a_missing_one_is_reported(wardrobe_file):
    with pytest.raises(ValueError, match='another body'):
        Wardrobe.load(wardrobe_file, load_body())
    with pytest.raises(FileNotFoundError, match='leave data.wardrobe empty'):
        Wardrobe.load(wardrobe_file.parent / 'nowhere.npz', load_body())


def test_garments_follow_shape_and_pose_like_the_body(wardrobe, tiny_body):
    dresser = Dresser(wardrobe, tiny_body)
    pose, shape, vertices = a_person(tiny_body, bend=0.8)
    mesh = dresser.mesh(
        plain(wardrobe, ('outfit',)),
        vertices,
        tiny_body.joint_transforms(pose, shape)[0],
        shape[0],
        torch.zeros_like(vertices),
    )
    outfit = mesh.vertices[len(vertices) :]
    distance = (outfit - vertices).norm(dim=1)
    # Skinning bends offsets a little where joints blend.
    assert distance.mean() == pytest.approx(OFFSET_M, rel=0.1)
    assert mesh.body_vertex[len(vertices) :].equal(torch.arange(len(vertices)))


def test_covered_skin_is_left_out_and_texture_holes_are_transparent(wardrobe, tiny_body):
    dresser = Dresser(wardrobe, tiny_body)
    pose, shape, vertices = a_person(tiny_body)
    transforms = tiny_body.joint_transforms(pose, shape)[0]

    def seen(uv_x: float):
        clothing = plain(wardrobe, ('outfit', 'hair'))
        hair = clothing.garments[1]
        uv = hair.face_uv.clone()
        uv[..., 0] = uv_x
        clothing.garments[1] = dataclasses.replace(hair, face_uv=uv)
        mesh = dresser.mesh(clothing, vertices, transforms, shape[0], torch.zeros_like(vertices))
        crop = mesh.vertices.clone()
        crop[:, 2] += 5
        found = dresser.draw(mesh, crop, SIZE)
        return set(mesh.face_code[found.face_index[found.face_index >= 0]].tolist())

    assert seen(0.75) == {1, 3}  # outfit and hair; no skin
    assert seen(0.25) == {0, 1}  # the hair is transparent there: the skin of the head shows


def test_labels_under_cloth_are_those_of_the_body_and_beyond_it_the_nearest(
    wardrobe, tiny_body, tiny_uv_map
):
    dresser = Dresser(wardrobe, tiny_body)
    pose, shape, vertices = a_person(tiny_body)
    mesh = dresser.mesh(
        plain(wardrobe, ('outfit',)),
        vertices,
        tiny_body.joint_transforms(pose, shape)[0],
        shape[0],
        torch.zeros_like(vertices),
    )
    crop, naked_crop = mesh.vertices.clone(), vertices.clone()
    naked = rasterize(naked_crop[None], tiny_body.faces, SIZE, cull_backfaces=True)
    dressed = dresser.draw(mesh, crop, SIZE)
    labels = dresser.labels(naked, dressed, mesh)
    under = naked.face_index >= 0
    assert labels.face_index[under].equal(naked.face_index[under])
    beyond = (dressed.face_index >= 0) & ~under
    assert beyond.sum() > 20
    assert (labels.face_index[beyond] >= 0).all()
    where = beyond[0].nonzero()
    place = (2 * where.flip(1) + 1) / SIZE - 1
    corners = tiny_body.faces[labels.face_index[beyond]]
    vertex = corners.gather(1, labels.barycentric[beyond].argmax(1, keepdim=True))[:, 0]
    nearest = torch.cdist(place, vertices[:, :2]).amin(1)
    own = (place - vertices[vertex, :2]).norm(dim=1)
    assert (own - nearest).max() < 0.2  # a cell of the tiny body


@pytest.mark.parametrize('body_name', ['tiny', 'builtin'])
def test_skirts_hang_around_the_legs_and_follow_them(body_name, tiny_body):
    body = tiny_body if body_name == 'tiny' else load_body()
    garments = loose_garments(body, texture=0)
    assert [garment.name for garment in garments] == list(CUTS)
    for garment in garments:
        assert garment.template.isfinite().all()
        torch.testing.assert_close(garment.weights.sum(1), torch.ones(len(garment.weights)))
        edges = garment.faces[:, [0, 1]]
        lengths = (garment.template[edges[:, 0]] - garment.template[edges[:, 1]]).norm(dim=1)
        assert lengths.max() < 0.3
    skirt = next(garment for garment in garments if garment.name == 'skirt')
    hem = skirt.template[:, 1] < skirt.template[:, 1].quantile(0.1)
    left = hem & (skirt.template[:, 0] > 0.1)
    assert (skirt.weights[left, 1] > 0.6).all()  # the left thigh's
    assert (skirt.weights[left, 2] < 0.2).all()


def test_dressed_people_are_the_same_every_time_and_the_held_out_ones_stay(
    wardrobe_file, tiny_body, tiny_uv_map, tmp_path
):
    panoramas = write_panoramas(tmp_path / 'places')
    config = SyntheticConfig(
        size=32,
        batch_size=3,
        wardrobe=str(wardrobe_file),
        panoramas=str(panoramas),
        dressed_share=0.7,
    )
    one, other = (SyntheticPeople(config, tiny_body, tiny_uv_map, seed=1) for _ in range(2))
    first, again = one.batch(4), other.batch(4)
    assert first.images.equal(again.images)
    assert first.iuv.equal(again.iuv)
    rules = SyntheticConfig(size=32)
    assert held_out_set(config, tiny_body, tiny_uv_map, 4).images.equal(
        held_out_set(rules, tiny_body, tiny_uv_map, 4).images
    )
    dressed = held_out_set(config, tiny_body, tiny_uv_map, 4, with_assets=True)
    assert not dressed.images.equal(held_out_set(rules, tiny_body, tiny_uv_map, 4).images)


def test_the_foreground_of_dressed_people_has_labels_everywhere(
    wardrobe_file, tiny_body, tiny_uv_map: UVMap
):
    config = SyntheticConfig(
        size=64,
        batch_size=8,
        wardrobe=str(wardrobe_file),
        dressed_share=1.0,
        occluder_share=0.0,
        passer_by_share=0.0,
    )
    batch = SyntheticPeople(config, tiny_body, tiny_uv_map, seed=2).batch(0)
    shown = batch.iuv[:, 0] > 0
    assert shown.any(dim=(1, 2)).all()
    assert (batch.iuv[:, 1:].sum(1)[shown] > 0).all()
    naked = SyntheticPeople(dataclasses.replace(config, wardrobe=''), tiny_body, tiny_uv_map, 2)
    assert batch.vertices.equal(naked.batch(0).vertices)


def test_missing_assets_are_named_with_the_remedy():
    lines = missing_assets(SyntheticConfig())
    assert len(lines) == 3
    assert 'tools.bake_wardrobe' in lines[0]
    assert missing_assets(SyntheticConfig(wardrobe='a', panoramas='b', poses_file='c')) == []


def test_panoramas_show_sky_above_and_ground_below_and_where_the_sun_is(tmp_path):
    places = Panoramas(write_panoramas(tmp_path / 'places'))
    rng = np.random.default_rng(0)
    place, _ = places.choose(rng)
    level = np.diag([1.0, -1.0, -1.0])  # a camera that looks along the world's -z, upright
    scene = Scene(np.zeros(2), 0.5, level[:, 1], 1.5, 3.0)
    image = draw_panorama(rng, place, 0.0, scene, level, 64)
    assert image[4, 32].argmax() == 2
    assert image[60, 32].argmax() == 1
    light = panorama_light(rng, place, 0.0, level)
    assert light['to_light'][0] > 0.6  # to the right
    assert light['to_light'][1] < -0.3  # above: y points down
    turned = panorama_light(rng, place, np.pi / 2, level)['to_light']
    assert turned[2] > 0.6  # ahead, after turning to the right
    right = draw_panorama(rng, place, np.pi / 2, scene, level, 64)
    assert right[:32].min(axis=2).max() > 150  # the sun is in the picture


@pytest.mark.parametrize('what', ['square', 'broken', 'empty', 'nowhere'])
def test_folders_without_panoramas_are_rejected(what, tmp_path):
    folder = tmp_path / 'places'
    if what != 'nowhere':
        folder.mkdir()
    if what == 'square':
        cv2.imwrite(str(folder / 'a.png'), np.zeros((8, 8, 3), np.uint8))
    if what == 'broken':
        (folder / 'a.jpg').write_bytes(b'no picture')
    kind = FileNotFoundError if what == 'nowhere' else ValueError
    with pytest.raises(kind, match=r'polyhaven\.com'):
        Panoramas(folder)


def test_textures_are_sampled_between_their_texels_and_repeat():
    ramp = torch.arange(8, dtype=torch.uint8)[None, None, :, None] * 30
    texture = ramp.expand(1, 8, 8, 4).contiguous()
    texture[..., 3] = 255
    texture[:, :, 0, :3], texture[:, :, 0, 3] = 200, 0
    stack = TextureStack(texture)
    rows = torch.zeros(3, dtype=torch.int64)
    uv = torch.tensor([[1.5 / 8, 0.5], [2 / 8, 0.5], [2 / 8 + 1, -0.5]])
    found = stack.sample(rows, uv, 0)[:, 0] * 255
    torch.testing.assert_close(found, torch.tensor([30.0, 45.0, 45.0]))
    half = stack.sample(rows[:1], torch.tensor([[0.5 / 4, 0.5]]), 1)[:, 0] * 255
    assert float(half) == 30  # the transparent texel beside it has no say
    assert float(stack.alpha(rows[:1], torch.tensor([[0.01, 0.5]]))) == 0


def test_crowded_scenes_are_reproducible_and_leave_a_quarter_of_each_person_visible(
    tiny_body, tiny_uv_map
):
    config = SyntheticConfig(size=64, batch_size=8, is_crowded=True, occluder_share=1.0)
    alone = dataclasses.replace(config, is_crowded=False, occluder_share=0.0, passer_by_share=0.0)
    crowded, again, clear = (
        SyntheticPeople(one, tiny_body, tiny_uv_map, seed=3) for one in (config, config, alone)
    )
    shares = []
    for number in range(4):
        batch, free = crowded.batch(number), clear.batch(number)
        assert batch.images.equal(again.batch(number).images)
        assert batch.vertices.equal(free.vertices)
        assert (batch.mask <= free.mask).all()
        shares.append(batch.mask.sum((1, 2)) / free.mask.sum((1, 2)))
    shares = torch.cat(shares)
    assert shares.min() >= 0.2  # a quarter of what the image border leaves
    assert (shares < 0.7).any()


@pytest.mark.parametrize('draw', [draw_robot_arm, draw_furniture])
def test_occluders_have_colours_where_their_mask_is(draw):
    for seed in range(20):
        colors, mask = draw(np.random.default_rng(seed), 64)
        assert colors.shape == (64, 64, 3)
        assert set(np.unique(mask)) <= {0, 1}
        assert not colors[mask == 0].any()
    assert np.mean([draw(np.random.default_rng(seed), 64)[1].mean() for seed in range(20)]) > 0.02


def test_some_images_are_dark():
    rng = np.random.default_rng(0)
    image = np.full((16, 16, 3), 200, np.float32)
    taken = [low_light(rng, image) for _ in range(300)]
    is_dark = [picture is not image for picture in taken]
    assert 0.03 < np.mean(is_dark) < 0.15
    for picture in (one for one, dark in zip(taken, is_dark, strict=True) if dark):
        assert picture.mean() < 190
        assert picture.std() > 3
