"""What `decomr predict` draws and reports: which mesh is whose, and which boxes are outside."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
from fake_people import FakeRuntime

from decomr_core.commands import predict
from decomr_core.drawing import color_of_track
from decomr_core.uv.topology import Topology
from tests.core.commands.command_runs import fake_network, picture, run

__all__ = ['fake_network', 'picture']  # the fixtures


def test_people_are_drawn_with_the_number_and_colour_of_their_mesh(
    picture: Path, tmp_path: Path, tiny_body, tiny_uv_map, monkeypatch
) -> None:
    drawn = []
    draw = predict.draw_boxes
    monkeypatch.setattr(
        predict,
        'draw_boxes',
        lambda image, meshes: (
            drawn.extend(mesh.track_id for mesh in meshes) or draw(image, meshes)
        ),
    )
    runtime = FakeRuntime(Topology.from_body(tiny_body, tiny_uv_map), (0.9, 0.0, -0.1))
    report = predict.predict_image(
        predict.read_image(picture),
        tmp_path,
        runtime,
        boxes=[(20, 20, 120, 220), (150, 10, 290, 230)],
    )
    assert drawn == [0, 1]
    assert [Path(person['mesh']).name for person in report['people']] == [
        'mesh_0.obj',
        'mesh_1.obj',
    ]
    overlay = cv2.cvtColor(cv2.imread(str(tmp_path / 'overlay.png')), cv2.COLOR_BGR2RGB)
    assert color_of_track(0) != color_of_track(1)
    # The lower edge of each box, which no words cover.
    for index, (x, y) in enumerate([(70, 220), (220, 230)]):
        assert tuple(overlay[y, x].tolist()) == color_of_track(index)


def test_boxes_outside_the_image_are_reported_differently_from_an_empty_image(
    picture: Path, tmp_path: Path, capsys
) -> None:
    outside = '1000,1000,1200,1200'
    assert run('predict', picture, '--out', tmp_path, '--boxes', outside) == 0
    told = capsys.readouterr().out
    assert 'box 1000, 1000, 1200, 1200 is outside the image of 320x240 px' in told
    assert 'give their boxes: --boxes' not in told and 'whole-frame' not in told
    assert (
        run('predict', picture, '--out', tmp_path, '--json', '--boxes', outside, '20,20,120,220')
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[-1])['boxes_outside'] == [[1000, 1000, 1200, 1200]]
    assert any('is outside' in line for line in lines[:-1])
    assert run('predict', picture, '--out', tmp_path, '--boxes', '20,20,120,220') == 0
    assert 'is outside' not in capsys.readouterr().out


def test_the_edge_of_the_image_is_not_minus_zero(picture: Path, tmp_path: Path, capsys) -> None:
    run('predict', picture, '--out', tmp_path, '--boxes', '-5,-5,120,220')
    assert 'box 0, 0, 120, 220' in capsys.readouterr().out


def test_an_image_without_people_keeps_its_advice(picture: Path, tmp_path: Path, capsys) -> None:
    assert run('predict', picture, '--out', tmp_path) == 0
    assert (
        'no people detected; try --detector whole-frame, or give their boxes'
        in capsys.readouterr().out
    )
