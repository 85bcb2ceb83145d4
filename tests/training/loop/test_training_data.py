"""Photographs become training batches: posed, drawn, mixed with rendered people, trained on."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import fake_datasets as fake
import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from decomr_core.body_models import MIRRORED_JOINTS, BodyModel, load_body
from decomr_core.body_models.joint_sets import annotated_regressor
from decomr_core.uv.uv_map import UVMap, load_uv_map
from training.datasets.photographs import PeopleConfig, PeopleDataset
from training.loop import trainer, training_data
from training.loop.command_line import config_parser
from training.loop.train_config import DatasetConfig, OptimizerConfig, StageConfig, TrainConfig
from training.loop.trainer import Trainer
from training.loop.training_data import TrainingData
from training.records.augmentation import AugmentationConfig
from training.records.person_record import PersonRecord
from training.records.person_records import PersonRecords, collect_records
from training.records.posed_bodies import PosedBodies
from training.records.root_frame import root_frame_body
from training.synthetic.bodies.poses import sample_poses
from training.synthetic.synthetic_config import SyntheticConfig
from training.targets.cached_targets import CachedTargets
from training.targets.mesh_target import fit_camera
from training.targets.person_batches import PersonBatchMaker
from training.train import main

SIZE = 64
AUGMENTED = PeopleConfig(SIZE, augmentation=AugmentationConfig(rotation_share=1.0))
PLAIN = PeopleConfig(SIZE)
IMAGE_PX = (120, 90)


@pytest.fixture
def people(tmp_path: Path, tiny_body: BodyModel) -> PersonRecords:
    """Eight people whose joints are annotated exactly where a weak camera sees their bodies."""
    regressor, is_known = annotated_regressor(tiny_body)
    rng, records = np.random.default_rng(0), []
    poses, _ = sample_poses(rng, 8)
    for number, pose in enumerate(poses.astype(np.float32)):
        shape = rng.normal(0, 1, 10).astype(np.float32)
        vertices, _ = root_frame_body(
            tiny_body, torch.from_numpy(pose)[None], torch.from_numpy(shape)[None]
        )
        joints = regressor @ vertices[0].numpy()
        scale, middle = 32.0, np.array([60 + 4 * number % 7, 45.0])
        keypoints = np.column_stack([joints[:, :2] * scale + middle, is_known])
        name = f'p{number}.png'
        fake.write_image(tmp_path / name, IMAGE_PX)
        records.append(
            PersonRecord(
                name,
                center=middle,
                side=75.0,
                keypoints_2d=keypoints.astype(np.float32),
                keypoints_3d=np.column_stack([joints + 7, is_known]).astype(np.float32),
                pose=pose,
                shape=shape,
                gender='neutral',
            )
        )
    return collect_records(records, 'people', tmp_path)


def stacked(dataset: PeopleDataset) -> dict[str, torch.Tensor]:
    return default_collate([dataset[index] for index in range(len(dataset))])


def test_posed_bodies_and_keypoints_turn_and_mirror_together(people, tiny_body, tiny_uv_map):
    samples = stacked(PeopleDataset(people, AUGMENTED, seed=3))
    flips = torch.det(samples['crop_from_image'][..., :2].float()) < 0
    assert 2 <= flips.sum() <= 6, 'both kinds must be among them'
    batch = PersonBatchMaker({'neutral': tiny_body}, tiny_uv_map, SIZE)(samples)
    joints = torch.from_numpy(annotated_regressor(tiny_body)[0]) @ batch.vertices
    fit = fit_camera(joints, batch.keypoints_2d)
    assert fit.is_valid.all() and fit.errors.max() < 1e-4
    # The 3D annotations follow as well, up to the origin they are free to have.
    known = batch.keypoints_3d[..., 3:] > 0
    apart = batch.keypoints_3d[..., :3] - joints
    apart = torch.where(known, apart - apart[:, :1], 0.0)
    assert apart.abs().max() < 1e-4
    wrong = fit_camera(joints[:, :, [0, 2, 1]], batch.keypoints_2d)
    assert wrong.errors.min() > 1e-2, 'the test would see bodies that lie on their backs'


def test_targets_show_the_body_where_its_keypoints_are(people, tiny_body, tiny_uv_map):
    maker = PersonBatchMaker({'neutral': tiny_body}, tiny_uv_map, SIZE)
    batch = maker(stacked(PeopleDataset(people, AUGMENTED, seed=2)))
    assert batch.iuv.shape == (8, 3, SIZE // 4, SIZE // 4)
    assert (batch.iuv_weights == 1).all()
    camera = fit_camera(maker.regressor @ batch.vertices, batch.keypoints_2d).camera
    crop_xy = camera[:, None, :1] * (batch.vertices[..., :2] + camera[:, None, 1:])
    cells = ((crop_xy + 1) * SIZE / 8).floor().long()
    inside = ((cells >= 0) & (cells < SIZE // 4)).all(-1)
    person = torch.arange(8)[:, None].expand_as(inside)[inside]
    x, y = cells[inside].T
    # Beyond the edge of the image nobody is seen, so not quite every vertex is covered.
    assert (batch.iuv[person, 0, y, x] > 0).float().mean() > 0.85
    assert (batch.iuv[:, 0] == 0).float().mean() > 0.2


def test_people_without_a_pose_have_weight_zero_and_keep_their_keypoints(
    people, tiny_body, tiny_uv_map
):
    bare = dataclasses.replace(people, has_pose=np.zeros(8, bool))
    batch = PersonBatchMaker({'neutral': tiny_body}, tiny_uv_map, SIZE)(
        stacked(PeopleDataset(bare, PLAIN))
    )
    for values in (batch.mesh_weights, batch.iuv_weights, batch.iuv, batch.vertices, batch.joints):
        assert not values.any()
    assert batch.keypoints_2d[..., 2].sum() > 8 * 10


def test_an_uncertain_fit_has_less_weight_in_mesh_and_iuv(people, tiny_body, tiny_uv_map):
    fitted = dataclasses.replace(
        people, is_fit=np.ones(8, bool), fit_errors=np.full(8, 0.025, np.float32)
    )
    batch = PersonBatchMaker({'neutral': tiny_body}, tiny_uv_map, SIZE)(
        stacked(PeopleDataset(fitted, PLAIN))
    )
    assert torch.allclose(batch.mesh_weights, torch.tensor(0.75))
    assert torch.equal(batch.iuv_weights, batch.mesh_weights)


def test_bodies_are_those_of_the_gender_and_neutral_without_one(tiny_body):
    tall = BodyModel(dataclasses.replace(tiny_body.data, v_template=2 * tiny_body.data.v_template))
    bodies = PosedBodies({'neutral': tiny_body, 'female': tall})
    pose, shape = torch.zeros(4, 24, 3), torch.zeros(4, 10)
    vertices, joints = bodies(pose, shape, torch.tensor([0, 1, 2, 3]))  # '', neutral, male, female
    plain, _ = root_frame_body(tiny_body, pose, shape)
    assert torch.equal(vertices[:3], plain[:3])
    assert torch.allclose(vertices[3], 2 * plain[3], atol=1e-5)
    assert joints[3].abs().max() > 1.5 * joints[0].abs().max()


def test_incompatible_bodies_are_rejected(tiny_body):
    turned = BodyModel(
        dataclasses.replace(tiny_body.data, faces=tiny_body.data.faces[::-1].copy())
    )
    with pytest.raises(ValueError, match="bodies for female; give a 'neutral' one"):
        PosedBodies({'female': tiny_body})
    with pytest.raises(ValueError, match='different faces'):
        PosedBodies({'neutral': tiny_body, 'male': turned})
    with pytest.raises(ValueError, match='bodies for cat'):
        PosedBodies({'neutral': tiny_body, 'cat': tiny_body})


def test_cached_targets_are_those_that_are_drawn(people, tiny_body, tiny_uv_map, tmp_path):
    bodies, draws = {'neutral': tiny_body}, []
    targets = CachedTargets(tmp_path / 'cache', bodies, tiny_uv_map, SIZE)
    draw = targets._draw
    targets._draw = lambda record: draws.append(record.image) or draw(record)
    maker = PersonBatchMaker(bodies, tiny_uv_map, SIZE)
    for seed in (4, 5):  # the second time they come from the folder
        drawn = maker(stacked(PeopleDataset(people, AUGMENTED, seed)))
        cached = maker(stacked(PeopleDataset(people, AUGMENTED, seed, targets)))
        assert torch.equal(cached.images, drawn.images)
        assert torch.equal(cached.iuv_weights, drawn.iuv_weights)
        first, second = cached.iuv[:, 0] > 0.5, drawn.iuv[:, 0] > 0.5
        assert (first & second).sum() > 0.85 * (first | second).sum()
        apart = (cached.iuv - drawn.iuv)[:, 1:].abs().amax(1)[first & second]
        assert apart.median() < 0.02
    assert sorted(draws) == [f'p{number}.png' for number in range(8)]


def test_a_cache_has_no_target_of_people_without_a_pose_or_outside_the_image(
    people, tiny_body, tiny_uv_map, tmp_path
):
    targets = CachedTargets(tmp_path / 'cache', {'neutral': tiny_body}, tiny_uv_map, SIZE)
    bare = dataclasses.replace(people, has_pose=np.arange(8) > 0)
    sample = PeopleDataset(bare, PLAIN, targets=targets)[0]
    assert sample['iuv_weight'] == 0 and not sample['iuv'].any()
    far = dataclasses.replace(
        people,
        centers=people.centers + 900,
        keypoints_2d=people.keypoints_2d + np.float32([900, 900, 0]),
    )
    sample = PeopleDataset(far, PLAIN, targets=targets)[1]
    assert sample['iuv_weight'] == 0 and not sample['iuv'].any()


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    """The folder of a COCO-like set of ten people in an exchanged file, without bodies."""
    root = tmp_path / 'coco'
    arrays = fake.exchanged(10, np.random.default_rng(2))
    for key in ('pose', 'shape', 'has_smpl'):
        arrays.pop(key, None)
    fake.write_exchanged(root, arrays)
    (root / 'train2014').mkdir(exist_ok=True)
    return root


def run_config(root: Path, **changes) -> TrainConfig:
    values = {
        'preset': 'rt',
        'batch_size': 4,
        'threads': 1,
        'num_workers': 0,
        'pool_images': 4,
        'validate_every': 0,
        'stages': StageConfig(cnet_steps=1, end_to_end_steps=3),
        'data': SyntheticConfig(size=256),
        'optimizer': OptimizerConfig(learning_rate=1e-3),
        'synthetic_share': 0.5,
        'datasets': {
            'coco': DatasetConfig(str(root), str(next(root.glob('*.npz'))), trust='never')
        },
    }
    return TrainConfig(**{**values, **changes})


def losses_of(out: Path) -> dict[int, dict[str, float]]:
    rows = [json.loads(line) for line in (out / 'log.jsonl').read_text().splitlines()]
    return {row['step']: row['losses'] for row in rows if 'losses' in row}


def test_photographs_and_rendered_people_train_together_and_resume_exactly(
    small_trainer, annotated, tmp_path, monkeypatch
):
    monkeypatch.setattr(trainer, 'LOG_EVERY', 1)
    config = run_config(annotated, data=SyntheticConfig(SIZE, batch_size=2))
    Trainer(config, tmp_path / 'whole').run()
    first = Trainer(config, tmp_path / 'parted')
    report = first._report

    def stop_after_two(*arguments):
        report(*arguments)
        if first.step == 2:
            first.request_stop()

    monkeypatch.setattr(first, '_report', stop_after_two)
    first.run()
    Trainer(config, tmp_path / 'parted', resume=True).run()
    whole = losses_of(tmp_path / 'whole')
    assert sorted(whole) == [1, 2, 3, 4]
    assert whole[4]['joints_2d'] > 0 and whole[4]['location_map'] > 0
    assert losses_of(tmp_path / 'parted') == whole


def test_every_process_gets_different_people_in_the_requested_shares(annotated):
    body = load_body()
    config = run_config(annotated, batch_size=8, synthetic_share=0.25)
    seen = []
    for rank in range(2):
        data = TrainingData(config, {'neutral': body}, load_uv_map(), 256, 4, rank, 2)
        batch = next(data.batches(torch.device('cpu')))
        assert len(batch) == 4 and (data.num_synthetic, data.num_photographs) == (1, 3)
        assert batch.mesh_weights.tolist() == [0, 0, 0, 1]
        seen.append(batch.keypoints_2d[:3])
    assert not any(torch.equal(one, other) for one in seen[0] for other in seen[1])


def test_epochs_become_steps_by_the_number_of_people(small_trainer, annotated, tmp_path):
    config = run_config(
        annotated,
        stages=StageConfig(cnet_epochs=1, end_to_end_epochs=2.2),
        synthetic_share=0.5,
        data=SyntheticConfig(SIZE),
    )
    assert Trainer(config, tmp_path).config.stages == StageConfig(5, 11)
    with pytest.raises(ValueError, match='rendered people have none; give cnet_steps'):
        Trainer(dataclasses.replace(config, datasets={}, synthetic_share=1.0), tmp_path)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'synthetic_share': 1.5}, 'synthetic_share is 1.5; take 0 to 1'),
        ({'datasets': {}}, 'synthetic_share is 0.5, but there are no datasets'),
        ({'synthetic_share': 1.0}, 'leaves no images for coco'),
        ({'init_part': 'head'}, "init_part is 'head'; it must be one of all, cnet, encoder"),
    ],
)
def test_contradictory_configs_are_rejected(annotated, changes, message):
    with pytest.raises(ValueError, match=message):
        run_config(annotated, **changes)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'synthetic_share': 0.05}, 'which rounds to all or none of 4 people'),
        (
            {'preset': 'paper'},
            "data.size is 256 px, but the 'paper' network takes crops of 224 px; "
            'set data.size to 224',
        ),
    ],
)
def test_impossible_runs_are_rejected_before_they_start(annotated, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        Trainer(run_config(annotated, **changes), tmp_path / 'run')


def test_poses_of_smpl_are_rejected_for_the_built_in_body(tmp_path):
    root = tmp_path / 'coco'
    arrays = fake.exchanged(6, np.random.default_rng(1))
    fake.write_exchanged(root, arrays)
    (root / 'train2014').mkdir(exist_ok=True)
    with pytest.raises(ValueError, match='do not fit the built-in body; set body and uv_map'):
        Trainer(run_config(root), tmp_path / 'run')


def test_a_missing_set_is_a_one_line_error_with_the_source(annotated, tmp_path, capsys):
    config = {
        'train': {
            'batch_size': 2,
            'synthetic_share': 0.0,
            'datasets': {
                'coco': {'root': str(annotated), 'annotations': str(tmp_path / 'none.npz')}
            },
        }
    }
    path = tmp_path / 'config.json'
    path.write_text(json.dumps(config))
    assert main(['--config', str(path), '--out', str(tmp_path / 'run')]) == 2
    error = capsys.readouterr().err
    assert 'none.npz is missing' in error and 'training.preprocess coco' in error
    assert error.count('\n') == 1


def test_fits_are_rated_by_the_keypoints_when_their_error_is_to_count(
    people, tiny_body: BodyModel, tiny_uv_map: UVMap, monkeypatch
):
    """One of the fits has its arms and legs swapped; it must have less weight than the others."""
    pose = people.pose.copy()
    pose[3] = pose[3][list(MIRRORED_JOINTS)] * 3
    fitted = dataclasses.replace(people, pose=pose, is_fit=np.ones(8, bool))
    monkeypatch.setattr(training_data, 'load_people', lambda *_, **__: fitted)
    weights = {}
    for trust in ('by_error', 'fully', 'never'):
        config = TrainConfig(
            body='other',
            batch_size=8,
            synthetic_share=0.0,
            datasets={'coco': DatasetConfig('x', trust=trust)},
        )
        data = TrainingData(config, {'neutral': tiny_body}, tiny_uv_map, SIZE, 8)
        samples = [data.people.sources[0][index] for index in range(8)]
        weights[trust] = [float(sample['mesh_weight']) for sample in samples]
    assert weights['fully'] == [1] * 8 and weights['never'] == [0] * 8
    others = weights['by_error'][:3] + weights['by_error'][4:]
    assert min(others) > 0.6 and weights['by_error'][3] < min(others)


@pytest.mark.full_size
def test_a_run_with_removed_images_ends_with_one_line(annotated, tiny_body, tiny_uv_map, tmp_path):
    """The loader's process must not keep the run from ending."""
    tiny_body.save(tmp_path / 'body.npz')
    tiny_uv_map.save(tmp_path / 'uv.npz')
    config = dataclasses.asdict(
        run_config(
            annotated,
            num_workers=1,
            body=str(tmp_path / 'body.npz'),
            uv_map=str(tmp_path / 'uv.npz'),
        )
    )
    path = tmp_path / 'config.json'
    path.write_text(json.dumps({'train': config}))
    script = (
        'import sys, pathlib; from training.loop import training_data; '
        'from training.train import main; make = training_data.TrainingData._mixture; '
        'gone = lambda self: (make(self), [image.unlink() for image in '
        f'pathlib.Path({str(annotated)!r}).rglob("*.jpg")])[0]; '
        'training_data.TrainingData._mixture = gone; sys.exit(main(sys.argv[1:]))'
    )
    done = subprocess.run(
        [sys.executable, '-c', script, '--config', str(path), '--out', str(tmp_path / 'run')],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1 and 'cannot read 20 consecutive images' in errors[0]
    assert 'Traceback' not in done.stderr


def test_a_data_set_of_an_unknown_kind_is_reported_with_the_syntax(annotated, tmp_path):
    config = run_config(annotated, datasets={'mine': DatasetConfig(str(annotated))})
    with pytest.raises(ValueError, match=r"datasets.mine.dataset is 'mine'; it must be one of"):
        Trainer(config, tmp_path)


@pytest.mark.parametrize(
    'path',
    sorted((Path(__file__).parents[3] / 'config' / 'training').glob('train_*.yaml')),
    ids=lambda path: path.stem,
)
def test_every_shipped_config_is_valid(path):
    parser = config_parser(TrainConfig, 'train', 'training.train', '')
    config = parser.instantiate(parser.parse_args(['--config', str(path)])).train
    assert all(isinstance(one, DatasetConfig) for one in config.datasets.values())
    assert config.synthetic_share == 1 or config.datasets
    if config.preset == 'paper':
        weights = config.losses
        assert (weights.mask, weights.uv, weights.consistency) == (0.2, 1, 1)
        assert config.optimizer == OptimizerConfig(2.5e-4) and config.batch_size == 128
        assert (config.stages.cnet_epochs, config.stages.end_to_end_epochs) == (5, 30)
