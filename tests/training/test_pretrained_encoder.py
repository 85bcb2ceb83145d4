"""Training behind the pretrained encoder: it stays as it is, or learns slowly."""

from __future__ import annotations

import json

import pytest
import torch

from decomr_core.checkpoint import load_network
from training import train, training_data
from training.datasets.synthetic import SyntheticConfig
from training.train import Trainer
from training.train_config import LossWeights, OptimizerConfig, StageConfig, TrainConfig


@pytest.fixture
def make_trainer(tiny_body, tiny_uv_map, tmp_path, monkeypatch):
    """A run of one step in each stage, on the small body."""
    monkeypatch.setattr(training_data, 'load_body', lambda _: tiny_body)
    monkeypatch.setattr(train, 'load_uv_map', lambda *_: tiny_uv_map)
    monkeypatch.setattr('training.train.LOG_EVERY', 1)

    def make(encoder_share):
        return Trainer(TrainConfig(
            preset='rt', batch_size=2, threads=1, num_workers=0, pool_images=2,
            validate_every=0, stages=StageConfig(1, 1), losses=LossWeights(edges=10, normals=0.1),
            optimizer=OptimizerConfig(1e-3, encoder_share=encoder_share),
            data=SyntheticConfig(size=256, batch_size=2)), tmp_path / 'run')

    return make


@pytest.mark.parametrize('share', [0.0, 0.01])
def test_the_encoder_learns_with_its_share_of_the_rate_or_not_at_all(
        make_trainer, tiny_body, tiny_uv_map, share):
    trainer = make_trainer(share)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    path = trainer.run()
    after = trainer.network.state_dict()
    encoder = [name for name in before if name.startswith('cnet.encoder.')]
    is_same = [torch.equal(before[name], after[name]) for name in encoder]
    assert all(is_same) if share == 0 else not any(is_same[:4])
    changes = {name: (after[name] - before[name]).abs().max() for name in before}
    assert changes['cnet.decoder.of_pixels.weight'] > 1e-4
    if share:  # Adam's first steps are as long as the rate; the largest weights round
        assert 0 < max(changes[name] for name in encoder) < 1e-4
    assert load_network(path, tiny_body, tiny_uv_map).config.preset == 'rt'
    logged = (path.parent / 'log.jsonl').read_text().splitlines()
    losses = json.loads(logged[-1])['losses']
    assert losses['edges'] > 0 and losses['normals'] > 0


def test_a_share_below_zero_is_refused():
    with pytest.raises(ValueError, match='encoder_share is -1'):
        OptimizerConfig(encoder_share=-1.0)
