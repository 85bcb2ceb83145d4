"""Training behind the pretrained encoder, which is frozen or learns slowly."""

from __future__ import annotations

import json

import pytest
import torch

from decomr_core.networks.checkpoint import load_network
from training.loop import trainer, training_data
from training.loop.train_config import LossWeights, OptimizerConfig, StageConfig, TrainConfig
from training.loop.trainer import Trainer
from training.synthetic.synthetic_config import SyntheticConfig


@pytest.fixture
def make_trainer(tiny_body, tiny_uv_map, tmp_path, monkeypatch):
    """A run of one step in each stage, on the small body."""
    monkeypatch.setattr(training_data, 'load_body', lambda _: tiny_body)
    monkeypatch.setattr(trainer, 'load_uv_map', lambda *_: tiny_uv_map)
    monkeypatch.setattr('training.loop.trainer.LOG_EVERY', 1)

    def make(encoder_share, **optimizer):
        return Trainer(
            TrainConfig(
                preset='rt',
                batch_size=2,
                threads=1,
                num_workers=0,
                pool_images=2,
                validate_every=0,
                stages=StageConfig(1, 1),
                losses=LossWeights(edges=10, normals=0.1),
                optimizer=OptimizerConfig(1e-3, encoder_share=encoder_share, **optimizer),
                data=SyntheticConfig(size=256, batch_size=2),
            ),
            tmp_path / 'run',
        )

    return make


@pytest.mark.parametrize('share', [0.0, pytest.param(0.01, marks=pytest.mark.full_size)])
def test_the_encoder_learns_with_its_share_of_the_rate_or_not_at_all(
    make_trainer, tiny_body, tiny_uv_map, share
):
    trainer = make_trainer(share)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    path = trainer.run()
    after = trainer.network.state_dict()
    changes = {name: (after[name] - before[name]).abs().max() for name in before}
    assert changes['cnet.decoder.laterals.0.weight'] > 1e-4
    encoder = [name for name in before if name.startswith('cnet.encoder.')]
    if share == 0:
        assert all(changes[name] == 0 for name in encoder)
    else:  # Adam's first steps are as long as the rate, here relative to the size of the tensor
        sizes = {name: before[name].square().mean().sqrt().clamp_min(1e-4) for name in encoder}
        steps = {name: float(changes[name] / sizes[name]) for name in encoder}
        assert max(steps.values()) < 3e-5
        assert all(steps[name] > 1e-6 for name in encoder if name.endswith('weight')), steps
    assert load_network(path, tiny_body, tiny_uv_map).config.preset == 'rt'
    logged = (path.parent / 'log.jsonl').read_text().splitlines()
    losses = json.loads(logged[-1])['losses']
    assert losses['edges'] > 0 and losses['normals'] > 0


def test_only_the_selected_parts_of_the_network_learn(make_trainer):
    trainer = make_trainer(0.01, encoder_stages=2, pose_share=0.0)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.run()
    after = trainer.network.state_dict()
    changed = {
        name.split('.')[2] + '.' + name.split('.')[3]
        for name in before
        if name.startswith('cnet.encoder.') and not torch.equal(before[name], after[name])
    }
    assert not {'stem.0', 'stages.0', 'stages.1'} & {name[:8].rstrip('.') for name in changed}
    assert {'stages.2', 'stages.3', 'top.weight', 'heatmap_head.1'} <= changed
    frozen = ('cnet.global_head.', 'lnet.camera_head.', 'lnet.posed_head.')
    pose = [name for name in before if name.startswith(frozen)]
    assert 'cnet.global_head.0.running_mean' in pose
    assert all(torch.equal(before[name], after[name]) for name in pose)
    assert not torch.equal(before['lnet.global_head.0.weight'], after['lnet.global_head.0.weight'])


@pytest.mark.parametrize('stages', [0, 6])
def test_stages_that_an_encoder_does_not_have_are_rejected(stages):
    with pytest.raises(ValueError, match=f'encoder_stages is {stages}; take 1 to 5'):
        OptimizerConfig(encoder_stages=stages)


def test_stage_one_also_poses_the_reference_map(make_trainer):
    trainer = make_trainer(0.0)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    path = trainer.run()
    logged = [json.loads(line) for line in (path.parent / 'log.jsonl').read_text().splitlines()]
    first = next(entry['losses'] for entry in logged if entry.get('step') == 1)
    assert set(first) == {'mask', 'uv', 'joint_locations', 'posed'} and first['posed'] > 0
    after = trainer.network.state_dict()
    for name in (
        'cnet.global_head.1.weight',
        'lnet.posed_head.0.weight',
        'lnet.camera_head.0.weight',
        'cnet.joint_head.1.weight',
    ):
        assert not torch.equal(before[name], after[name]), name


def test_a_share_below_zero_is_rejected():
    with pytest.raises(ValueError, match='encoder_share is -1'):
        OptimizerConfig(encoder_share=-1.0)
