"""One run of the shipped preset on the built-in body, to find errors of its real sizes."""

from __future__ import annotations

import dataclasses

import pytest

from decomr_core.base.config import network_config
from decomr_core.body_models import load_body
from decomr_core.networks.checkpoint import load_network, read_metadata
from decomr_core.uv.uv_map import load_uv_map
from training.loop.train_config import OptimizerConfig, StageConfig, TrainConfig
from training.loop.trainer import Trainer
from training.synthetic.people import SyntheticPeople
from training.synthetic.synthetic_config import SyntheticConfig

pytestmark = pytest.mark.full_size


@pytest.fixture(scope='module')
def trainer(tmp_path_factory):
    """The trainer of a run of four steps, both stages."""
    trainer = Trainer(
        TrainConfig(
            preset='rt',
            batch_size=2,
            threads=1,
            num_workers=0,
            pool_images=4,
            validate_every=0,
            stages=StageConfig(cnet_steps=2, end_to_end_steps=2),
            optimizer=OptimizerConfig(learning_rate=1e-3, ema_decay=0.5),
            data=SyntheticConfig(size=256, batch_size=2),
        ),
        tmp_path_factory.mktemp('run'),
    )
    trainer.run()
    return trainer


def test_the_shipped_preset_leaves_a_network_that_is_small_and_loads(trainer):
    path = trainer.out / 'network.safetensors'
    assert path.stat().st_size <= 24 * 2**20
    assert read_metadata(path)['training']['steps'] == 4
    network = load_network(path)
    assert network.config == network_config('rt')
    assert (network.body_hash, network.uv_hash) == (load_body().hash, load_uv_map().hash)


def test_training_on_one_batch_lowers_its_loss(trainer):
    # With more steps to come, as the rate would be at its end otherwise.
    trainer.config = dataclasses.replace(trainer.config, stages=StageConfig(2, 20))
    config = SyntheticConfig(size=256, batch_size=2)
    people = SyntheticPeople(config, trainer.body, trainer.uv_map, 3)
    batch = people.batch(0).as_person_batch()
    totals = [sum(trainer._optimize([batch]).values()) for _ in range(10)]
    assert min(totals[-3:]) < 0.7 * totals[0]
