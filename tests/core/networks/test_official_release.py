"""The official checkpoint becomes an equivalent weights file, or no file is written."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from official_network import NETWORK_TOLERANCE, OFFICIAL_KEYS, stage_outputs

from decomr_core import cli
from decomr_core.body_models import BodyModel
from decomr_core.body_models.frames import ROOT_FROM_BODY, in_root_frame
from decomr_core.networks.checkpoint import load_network, read_metadata
from decomr_core.networks.pretrained import official_name, state_dict_from_official
from decomr_core.uv.location_map import LocationMapper
from decomr_core.uv.uv_map import UVMap

CHANGED = 'uv_conv1.0.weight'


@pytest.fixture(scope='module')
def folder(official, tiny_body: BodyModel, tiny_uv_map: UVMap, tmp_path_factory) -> Path:
    """The checkpoint as released, with the other state of a trainer, and the user's files."""
    folder = tmp_path_factory.mktemp('convert')
    torch.save({**official, 'epoch': 3, 'total_step_count': 12}, folder / 'official.pt')
    tiny_body.save(folder / 'body.npz')
    tiny_uv_map.save(folder / 'uv.npz')
    return folder


def convert(
    folder: Path, out: Path, *more: object, checkpoint: Path | None = None, uv: str = 'uv.npz'
) -> int:
    return cli.main(
        [
            str(word)
            for word in (
                'convert',
                checkpoint or folder / 'official.pt',
                '--uv',
                folder / uv,
                '--body',
                folder / 'body.npz',
                '--out',
                out,
                *more,
            )
        ]
    )


@pytest.fixture(scope='module')
def converted(folder: Path) -> Path:
    out = folder / 'converted.safetensors'
    assert convert(folder, out) == 0
    return out


@pytest.fixture(scope='module')
def outputs(converted: Path, stored, tiny_body: BodyModel, tiny_uv_map: UVMap):
    network = load_network(converted, tiny_body, tiny_uv_map)
    # The stored reference map is in the official frame, the network's in the root frame.
    reference = in_root_frame(stored['ref_map'])
    network.lnet.reference_map.copy_(reference.permute(0, 3, 1, 2))
    return stage_outputs(network, stored)


@pytest.mark.parametrize(
    'stage', ['iuv', 'local_feature', 'global_feature', 'location_map', 'camera']
)
def test_the_converted_network_gives_the_official_outputs(stage: str, outputs, stored) -> None:
    expected = stored[stage].float()
    assert (outputs[stage] - expected).norm() / expected.norm() < NETWORK_TOLERANCE


def test_on_the_template_it_equals_the_official_weights_on_the_unturned_template(
    converted: Path, official, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    network = load_network(converted, tiny_body, tiny_uv_map)
    uv_features = torch.randn(1, 259, 64, 64, generator=torch.Generator().manual_seed(0))
    code = torch.randn(1, 256, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        made = network.lnet.projection(uv_features, code, network.lnet.reference_map)
        # The official rule: one point of the template, in its own frame, per texel.
        mapper = LocationMapper(tiny_uv_map, 64, tiny_body.num_vertices)
        reference = mapper.location_map_from_vertices(tiny_body.v_template[None])
        stacked = torch.cat(
            [uv_features, code[..., None, None].expand(-1, -1, 64, 64), reference], dim=1
        )
        names = official['LNet']
        for layer in (0, 2, 4):
            stacked = torch.nn.functional.conv2d(
                stacked, names[f'uv_conv1.{layer}.weight'], names[f'uv_conv1.{layer}.bias']
            )
            stacked = stacked.relu() if layer < 4 else stacked
    assert reference.abs().max() > 0.3
    assert (made - stacked).norm() / stacked.norm() < 1e-5


def test_all_other_tensors_stay_bit_for_bit(
    converted: Path, official, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    loaded = load_network(converted, tiny_body, tiny_uv_map).state_dict()
    renamed = state_dict_from_official(official)
    assert set(loaded) == set(renamed)
    changed = [key for key in loaded if not torch.equal(loaded[key], renamed[key])]
    assert [official_name(key) for key in changed] == [f'LNet.{CHANGED}']
    assert torch.equal(loaded[changed[0]][:, :-2], renamed[changed[0]][:, :-2])
    assert torch.equal(loaded[changed[0]][:, -2:], -renamed[changed[0]][:, -2:])


def test_the_file_names_its_source_its_body_and_its_map(
    converted: Path, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    metadata = read_metadata(converted)
    assert metadata['config']['preset'] == 'paper'
    assert metadata['body_hash'] == tiny_body.hash
    assert metadata['uv_hash'] == tiny_uv_map.hash
    assert metadata['converted_from']['file'] == 'official.pt'


def test_official_names_are_the_inverse_of_the_renaming(official) -> None:
    renamed = state_dict_from_official(official)
    back = {official_name(key) for key in renamed}
    assert back == {
        f'{network}.{key}'
        for network, keys in OFFICIAL_KEYS.items()
        for key in keys
        if not key.startswith('resnet.fc.')
    }


def test_a_reference_mesh_that_is_the_template_turned_is_folded_in(
    folder: Path, tmp_path: Path, converted: Path, tiny_body: BodyModel, tiny_uv_map: UVMap, capsys
) -> None:
    mesh, out = tmp_path / 'reference_mesh.obj', tmp_path / 'other.safetensors'
    turned = tiny_body.data.v_template[:, [2, 1, 0]] * (1, 1, -1)
    mesh.write_text('# mesh\n' + ''.join(f'v {x:.6f} {y:.6f} {z:.6f}\n' for x, y, z in turned))
    assert convert(folder, out, '--reference', mesh, '--json') == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])['preset'] == 'paper'
    weights = [
        load_network(path, tiny_body, tiny_uv_map).lnet.projection[0].weight[:, -3:, 0, 0]
        for path in (converted, out)
    ]
    template = in_root_frame(tiny_body.v_template)
    official_points = torch.from_numpy(turned).float()
    body_points = tiny_body.v_template
    # Both must say of a vertex what the official weights say of its place on their template.
    official_weight = weights[0] @ torch.tensor(ROOT_FROM_BODY).float()
    assert torch.allclose(template @ weights[0].T, body_points @ official_weight.T, atol=1e-5)
    assert torch.allclose(template @ weights[1].T, official_points @ official_weight.T, atol=1e-4)
    mesh.write_text(''.join(f'v {x} {y + 0.2} {z}\n' for x, y, z in turned))
    refuse(
        convert(folder, tmp_path / 'no.safetensors', '--reference', mesh),
        capsys,
        tmp_path / 'no.safetensors',
        'is not a rotated or scaled template',
    )


@pytest.mark.parametrize(
    ('content', 'complaint'),
    [
        (b'v 0 0 nan\n', 'line 1: v needs 3 finite numbers'),
        (b'v 0 0\n', 'line 1: v needs 3'),
        (b'\0\1\2', 'is not a text file'),
        (b'f 1 2 3\n', 'has 0 vertices'),
    ],
)
def test_an_invalid_reference_mesh_is_rejected_with_advice(
    content: bytes, complaint: str, folder: Path, tmp_path: Path, capsys
) -> None:
    mesh = tmp_path / 'reference_mesh.obj'
    mesh.write_bytes(content)
    refuse(
        convert(folder, tmp_path / 'no.safetensors', '--reference', mesh),
        capsys,
        tmp_path / 'no.safetensors',
        complaint,
    )
    assert convert(folder, tmp_path / 'no.safetensors', '--reference', tmp_path / 'no.obj') == 2
    assert 'no OBJ file at' in capsys.readouterr().err


def refuse(code: int, capsys, out: Path, complaint: str) -> None:
    said = capsys.readouterr().err
    assert code == 2
    assert said.startswith('decomr convert: ') and said.count('\n') == 1
    assert complaint in said
    assert not out.exists() and not list(out.parent.glob('.*.part*'))


def _broken(official, change) -> dict:
    networks = {name: dict(tensors) for name, tensors in official.items()}
    change(networks)
    return networks


CHANGES = {
    'a missing tensor': (
        lambda n: n['LNet'].pop('camera.6.bias'),
        '1 missing (LNet.camera.6.bias)',
    ),
    'an unknown module': (
        lambda n: n['CNet'].update({'extra.weight': torch.zeros(1)}),
        "a key 'extra.weight' of an unknown module",
    ),
    'an unknown tensor': (
        lambda n: n['LNet'].update({'camera.9.bias': torch.zeros(1)}),
        '1 unknown (LNet.camera.9.bias)',
    ),
    'another shape': (
        lambda n: n['LNet'].update({'camera.6.bias': torch.zeros(4)}),
        '1 of another shape (LNet.camera.6.bias)',
    ),
    'a NaN': (
        lambda n: n['CNet'].update(
            {'resnet.conv1.weight': n['CNet']['resnet.conv1.weight'] * float('nan')}
        ),
        'not finite in 1 tensors (CNet.resnet.conv1.weight)',
    ),
    'no LNet': (lambda n: n.pop('LNet'), "lacks ['LNet']"),
    'a number for a tensor': (lambda n: n['LNet'].update({'camera.6.bias': 3}), 'holds a int'),
    'a tensor for a network': (lambda n: n.update({'LNet': torch.zeros(1)}), 'is a Tensor'),
}


@pytest.mark.parametrize('what', CHANGES)
def test_a_checkpoint_of_another_network_is_a_one_line_error_and_leaves_no_file(
    what: str, official, folder: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    change, complaint = CHANGES[what]
    monkeypatch.setattr(torch, 'load', lambda *_, **__: _broken(official, change))
    out = tmp_path / 'out.safetensors'
    refuse(convert(folder, out), capsys, out, complaint)


def test_a_checkpoint_that_runs_code_is_rejected(folder: Path, tmp_path: Path, capsys) -> None:
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / 'touched',))

    torch.save({'CNet': Evil(), 'LNet': {}}, tmp_path / 'evil.pt')
    out = tmp_path / 'out.safetensors'
    refuse(convert(folder, out, checkpoint=tmp_path / 'evil.pt'), capsys, out, 'read safely')
    assert not (tmp_path / 'touched').exists()


def test_a_uv_map_of_another_body_is_rejected_with_both_hashes(
    folder: Path, tmp_path: Path, tiny_body: BodyModel, tiny_uv_map: UVMap, capsys
) -> None:
    other = dataclasses.replace(tiny_uv_map, body_hash='f' * 64)
    other.save(folder / 'other_uv.npz')
    out = tmp_path / 'out.safetensors'
    refuse(convert(folder, out, uv='other_uv.npz'), capsys, out, tiny_body.hash[:12])
    code = convert(folder, out, uv='other_uv.npz')
    refuse(code, capsys, out, 'f' * 12)


@pytest.mark.parametrize(
    ('name', 'complaint'),
    [('none/out.safetensors', 'there is no folder'), ('out.pt', 'ends in .safetensors')],
)
def test_an_invalid_output_path_is_rejected_before_anything_is_read(
    name: str, complaint: str, folder: Path, tmp_path: Path, capsys
) -> None:
    refuse(convert(folder, tmp_path / name), capsys, tmp_path / name, complaint)


def test_a_missing_checkpoint_is_named(folder: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / 'out.safetensors'
    refuse(convert(folder, out, checkpoint=tmp_path / 'none.pt'), capsys, out, 'none.pt')
