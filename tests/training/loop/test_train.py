"""A training run in miniature: learning, interruption, resuming and errors."""

from __future__ import annotations

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch

from decomr_core.base.config import network_config
from decomr_core.networks.checkpoint import load_network, read_metadata, save_checkpoint
from training.evaluate import best_constant_joints, evaluate_network
from training.loop.bfloat16 import EMULATED_TEXT
from training.loop.learning_rate import learning_rate_at
from training.loop.plots import training_image
from training.loop.run_folder import RunFolder, without_folders
from training.loop.train_config import LossWeights, OptimizerConfig, StageConfig, TrainConfig
from training.loop.trainer import Trainer
from training.loop.training_losses import NonFiniteLossError
from training.synthetic.people import SyntheticPeople
from training.synthetic.stored_people import write_people
from training.synthetic.synthetic_config import SyntheticConfig
from training.train import main

SIZE = 64
pytestmark = pytest.mark.usefixtures('small_trainers')


def _config(**changes):
    values = {
        'batch_size': 2,
        'threads': 1,
        'num_workers': 0,
        'pool_images': 4,
        'validate_every': 0,
        'stages': StageConfig(cnet_steps=2, end_to_end_steps=2),
        'optimizer': OptimizerConfig(learning_rate=1e-3, ema_decay=0.5),
        'data': SyntheticConfig(SIZE, batch_size=2),
    }
    return TrainConfig(**{**values, **changes})


def _people(trainer, count):
    """A batch of rendered people of a trainer's body."""
    people = SyntheticPeople(SyntheticConfig(SIZE, count), trainer.body, trainer.uv_map, 3)
    return people.batch(0).as_person_batch()


@pytest.fixture(scope='module')
def finished_run(small_trainers, tmp_path_factory):
    """A run of four steps, both stages, and its trainer."""
    trainer = Trainer(_config(), tmp_path_factory.mktemp('run'))
    trainer.run()
    return trainer


def test_a_run_writes_a_network_that_loads_and_records_its_training(finished_run):
    path = finished_run.out / 'network.safetensors'
    assert read_metadata(path)['training']['steps'] == 4
    network = load_network(path, finished_run.body, finished_run.uv_map)
    kept = finished_run.averaged.state_dict()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, kept[name], rtol=2e-3, atol=1e-4)


def test_compilation_replaces_the_parts_that_a_step_runs(tmp_path, monkeypatch):
    calls = []

    def compile_recorded(function, **_):
        def run(*args, **options):
            calls.append(type(function.__self__).__name__)
            return function(*args, **options)

        return run

    monkeypatch.setattr(torch, 'compile', compile_recorded)
    Trainer(_config(compile=True), tmp_path).run()
    # Two steps of each stage; in the first, CNet runs alone.
    assert calls == ['CNet', 'CNet', *['CNet', 'LNet'] * 2]


def test_weights_name_the_files_of_their_training_without_their_folders():
    config = {
        'init': 'runs/d1/rt.safetensors',
        'lnet_input': 'global+local',
        'steps': 3,
        'data': {'poses_file': 'data/poses.npz', 'wardrobe': ''},
    }
    assert without_folders(config) == {
        'init': 'rt.safetensors',
        'lnet_input': 'global+local',
        'steps': 3,
        'data': {'poses_file': 'poses.npz', 'wardrobe': ''},
    }


def test_the_run_folder_holds_the_resolved_config(finished_run):
    config = json.loads((finished_run.out / 'config.json').read_text())
    stages = config['train']['stages']
    assert (stages['cnet_steps'], stages['end_to_end_steps']) == (2, 2)
    assert config['train']['losses']['mask'] == 0.2


def test_the_config_in_the_folder_resumes_the_run(finished_run, capsys, caplog):
    caplog.set_level('INFO')
    config = finished_run.out / 'config.json'
    assert main(['--config', str(config), '--out', str(finished_run.out), '--resume']) == 0
    assert 'all 4 steps are already finished' in caplog.text


def test_a_run_on_stored_people_resumes_exactly(
    tiny_body, tiny_uv_map, tmp_path, monkeypatch, caplog
):
    config = _config(rendered=str(tmp_path / 'people'))
    people = SyntheticPeople(config.data, tiny_body, tiny_uv_map, 1)
    monkeypatch.setattr('training.synthetic.shards.SHARD_PEOPLE', 4)
    write_people(people, 8, tmp_path / 'people')

    caplog.set_level('INFO')
    whole = Trainer(config, tmp_path / 'whole')
    whole.run()
    assert 'renderings lack' not in caplog.text
    first = Trainer(config, tmp_path / 'parts')
    monkeypatch.setattr(first, '_is_stopped', lambda: first.step == 3)
    first.run()
    second = Trainer(config, tmp_path / 'parts', resume=True)
    second.run()
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[name]), name


def test_a_run_without_the_stored_people_says_how_to_render_them(tmp_path):
    config = _config(rendered=str(tmp_path / 'nobody'))
    with pytest.raises(FileNotFoundError, match='python -m training.render --out'):
        Trainer(config, tmp_path / 'run')


def test_initial_weights_of_another_network_are_refused_with_the_differences(
    finished_run, tmp_path
):
    network = copy.deepcopy(finished_run.network)
    network.config = dataclasses.replace(network.config, rigidity=7.0)
    save_checkpoint(tmp_path / 'old.safetensors', network, {})
    rigidity = finished_run.network.config.rigidity
    with pytest.raises(ValueError, match=f'it has rigidity 7.0 instead of {rigidity};'):
        Trainer(_config(init=str(tmp_path / 'old.safetensors')), tmp_path / 'run')


def test_a_run_in_bfloat16_warns_if_the_cpu_computes_it_in_software(
    small_trainers, tmp_path, monkeypatch, caplog
):
    steps = StageConfig(cnet_steps=1, end_to_end_steps=0)
    for is_fast in (True, False):
        monkeypatch.setattr('training.loop.trainer.has_bfloat16', lambda _, fast=is_fast: fast)
        caplog.clear()
        Trainer(_config(precision='bf16', stages=steps), tmp_path / str(is_fast)).run()
        assert (EMULATED_TEXT in caplog.text) is not is_fast


def test_a_run_is_not_replaced_by_a_start_without_resume(finished_run):
    with pytest.raises(ValueError, match='already contains a run; continue it with --resume'):
        Trainer(_config(), finished_run.out)


def test_a_run_resumes_with_another_rate_but_not_with_other_losses(finished_run, caplog):
    slower = _config(optimizer=OptimizerConfig(learning_rate=1e-4, weight_decay=0.1))
    resumed = Trainer(slower, finished_run.out, resume=True)
    assert resumed.step == 4 and 'a different optimizer config' in caplog.text
    assert resumed.optimizer.param_groups[0]['weight_decay'] == 0.1
    with pytest.raises(
        ValueError,
        match='has a different seed, losses than the config; '
        r'continue with --config .*config\.json, or start',
    ):
        Trainer(_config(seed=5, losses=LossWeights(uv=2.0)), finished_run.out, resume=True)


def test_a_diverging_run_is_reported_before_the_warp(tmp_path):
    config = _config(stages=StageConfig(0, 30), optimizer=OptimizerConfig(learning_rate=1e30))
    with pytest.raises(NonFiniteLossError, match='not finite; lower optimizer.learning_rate'):
        Trainer(config, tmp_path).run()


def test_an_invalid_value_is_a_one_line_error(tmp_path, capsys):
    for option in (
        '--train.precision=fp16',
        '--train.threads=0',
        '--train.num_workers=-1',
        '--train.optimizer.learning_rate=-1',
    ):
        assert main([option, '--out', str(tmp_path / 'run')]) == 2
        error = capsys.readouterr().err
        assert option.partition('=')[0].rpartition('.')[2] in error and error.count('\n') == 1
    assert not (tmp_path / 'run').exists()


def test_a_resumed_run_continues_with_the_same_weights_and_step(finished_run):
    resumed = Trainer(_config(), finished_run.out, resume=True)
    assert resumed.step == 4
    for name, value in resumed.network.state_dict().items():
        torch.testing.assert_close(value, finished_run.network.state_dict()[name])
    moments = resumed.optimizer.state_dict()['state'][0]
    torch.testing.assert_close(
        moments['exp_avg'], finished_run.optimizer.state_dict()['state'][0]['exp_avg']
    )


def _losses(out):
    rows = [json.loads(line) for line in (out / 'log.jsonl').read_text().splitlines()]
    return {row['step']: row['losses'] for row in rows if 'losses' in row}


def test_an_interrupted_run_ends_with_the_losses_of_an_uninterrupted_one(tmp_path, monkeypatch):
    monkeypatch.setattr('training.loop.trainer.LOG_EVERY', 1)
    config = _config(stages=StageConfig(2, 4), reuse=2)
    Trainer(config, tmp_path / 'whole').run()
    first = Trainer(config, tmp_path / 'parted')
    report = first._report

    def stop_after_three(terms, progress, held_out):
        report(terms, progress, held_out)
        if first.step == 3:
            first.request_stop()

    monkeypatch.setattr(first, '_report', stop_after_three)
    first.run()
    assert first.step == 3
    second = Trainer(config, tmp_path / 'parted', resume=True)
    second.run()
    whole = _losses(tmp_path / 'whole')
    assert sorted(whole) == [1, 2, 3, 4, 5, 6]
    assert _losses(tmp_path / 'parted') == whole


def test_parts_of_a_batch_give_the_gradient_of_the_whole(tmp_path):
    gradients = []
    for accumulate in (1, 2):
        trainer = Trainer(
            _config(stages=StageConfig(2, 0), accumulate=accumulate), tmp_path / str(accumulate)
        )
        assert trainer.part_size == 2 // accumulate
        # Batch normalisation is the one thing that sees the parts.
        trainer.network.eval().train = lambda mode=True: None
        batch = _people(trainer, 2)
        size = trainer.part_size
        trainer._optimize([batch.part(slice(i, i + size)) for i in range(0, 2, size)])
        gradients.append(trainer.network.cnet.encoder.conv1.weight.grad.clone())
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-6)


def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    folder.save_checkpoint({'step': 1})

    def write_a_part(state, path):
        path.write_bytes(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(torch, 'save', write_a_part)
    with pytest.raises(RuntimeError, match='No space left.*previous checkpoint is kept'):
        folder.save_checkpoint({'step': 2})
    assert folder.load_checkpoint(torch.device('cpu')) == {'step': 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ['checkpoint.pt']


@pytest.mark.parametrize('size', [0, 10, 500])
def test_a_truncated_checkpoint_is_rejected_with_a_message(tmp_path, size):
    folder = RunFolder(tmp_path)
    folder.save_checkpoint({'step': 1})
    path = tmp_path / 'checkpoint.pt'
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match='is damaged'):
        folder.load_checkpoint(torch.device('cpu'))


def test_an_indivisible_batch_is_rejected():
    with pytest.raises(ValueError, match='multiple of accumulate'):
        _config(batch_size=4, accumulate=3)


def test_unknown_people_have_no_gradient(finished_run):
    """Weights of 0 leave the numbers beside them without effect."""
    known = _people(finished_run, 2)
    weights = torch.tensor([1.0, 0.0])
    unknown = dataclasses.replace(
        known,
        iuv_weights=weights,
        mesh_weights=weights,
        joints_2d=known.joints_2d * weights[:, None, None],
    )
    spoiled = dataclasses.replace(
        unknown,
        vertices=unknown.vertices * (2 - weights[:, None, None]),
        iuv=unknown.iuv * weights[:, None, None, None],
        joints=unknown.joints + 0,
    )
    for name in ('vertices', 'iuv'):
        assert not torch.equal(getattr(spoiled, name)[1], getattr(unknown, name)[1])
    spoiled.joints[1] += 5.0
    finished_run.network.eval()
    with torch.no_grad():
        terms = [finished_run.training_losses(batch, False) for batch in (unknown, spoiled)]
    for name, value in terms[0].items():
        torch.testing.assert_close(terms[1][name], value, msg=name)
        assert value >= 0


def test_annotated_keypoints_train_people_without_a_mesh(finished_run):
    batch = _people(finished_run, 2)
    none = torch.zeros(2)
    batch = dataclasses.replace(
        batch, mesh_weights=none, iuv_weights=none, joints_2d=batch.joints_2d * 0
    )
    finished_run.network.eval()
    with torch.no_grad():
        silent = finished_run.training_losses(batch, False)
        batch.keypoints_2d[:, :14] = 1.0
        batch.keypoints_3d[:, :14] = 1.0
        heard = finished_run.training_losses(batch, False)
    assert all(value == 0 for value in silent.values())
    assert heard['joints_2d'] > 0 and heard['joints_3d'] > 0
    assert heard['location_map'] == heard['mask'] == 0
    batch.keypoints_3d[..., :3] += 1.5  # where the person stands says nothing: hips on hips
    with torch.no_grad():
        moved = finished_run.training_losses(batch, False)
    torch.testing.assert_close(moved['joints_3d'], heard['joints_3d'], rtol=1e-4, atol=1e-5)
    batch.keypoints_3d[:, 0, :3] += 0.5  # an ankle is wrong, and no other joint for that
    with torch.no_grad():
        worse = finished_run.training_losses(batch, False)
    known = finished_run.training_losses.is_regressed.numel()
    assert worse['joints_3d'] - heard['joints_3d'] < 2 * 0.5 / known


def test_the_image_shows_each_person_in_a_row(finished_run):
    batch = _people(finished_run, 3)
    image = training_image(finished_run.network, batch, finished_run.body.faces)
    assert image.shape == (3 * SIZE, 5 * SIZE, 3) and image.dtype == np.uint8
    np.testing.assert_array_equal(image[:SIZE, :SIZE], batch.images[0])
    assert (image[:, 4 * SIZE :] != image[:, :SIZE]).any()


def test_a_run_can_start_from_the_weights_of_another(finished_run, tmp_path):
    path = finished_run.out / 'network.safetensors'
    trainer = Trainer(_config(init=str(path)), tmp_path)
    network = load_network(path, trainer.body, trainer.uv_map)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(trainer.network.state_dict()[name], value)
    assert trainer.network.training


def test_weights_of_another_preset_are_rejected(finished_run, tmp_path):
    path = finished_run.out / 'network.safetensors'
    with pytest.raises(ValueError, match="it has preset 'rt' instead of 'paper'"):
        Trainer(_config(preset='paper', init=str(path)), tmp_path)


def test_a_checkpoint_of_another_config_is_rejected(finished_run):
    other = _config(losses=LossWeights(uv=2.0))
    with pytest.raises(ValueError, match='has a different losses than the config'):
        Trainer(other, finished_run.out, resume=True)


def test_only_what_a_resumed_run_may_not_change_is_named(finished_run):
    """The optimiser may change, alone or with something that may not."""
    other = _config(losses=LossWeights(uv=2.0), optimizer=OptimizerConfig(learning_rate=1e-4))
    with pytest.raises(ValueError, match='has a different losses than the config'):
        Trainer(other, finished_run.out, resume=True)


def test_a_run_from_before_options_were_added_resumes(finished_run, tmp_path):
    """Its checkpoint lacks them at every level, and the optimiser's groups had no share."""
    state = finished_run.folder.load_checkpoint(torch.device('cpu'))
    for part, names in (
        ('losses', ('edges', 'normals')),
        ('optimizer', ('encoder_share',)),
        ('data', ('poses_file', 'recorded_share')),
    ):
        for name in names:
            del state['config'][part][name]
    for group in state['optimizer']['param_groups']:
        del group['share']
    RunFolder(tmp_path).save_checkpoint(state)
    resumed = Trainer(_config(stages=StageConfig(2, 2)), tmp_path, resume=True)
    assert resumed.step == 4
    assert [group['share'] for group in resumed.optimizer.param_groups] == [1.0]


def test_resuming_an_empty_folder_is_reported_with_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match='without --resume'):
        Trainer(_config(), tmp_path / 'empty', resume=True)


def test_a_loss_that_is_not_finite_is_named(finished_run, tmp_path):
    trainer = Trainer(_config(), tmp_path)
    trainer.step = 3
    batch = _people(trainer, 2)
    batch.joints[0, 3] = float('nan')
    with pytest.raises(NonFiniteLossError, match='joints_3d'):
        trainer._optimize([batch])


def test_unknown_keys_of_the_yaml_are_an_error(tmp_path, capsys):
    path = tmp_path / 'bad.yaml'
    path.write_text('train:\n  learning_speed: 3\n')
    with pytest.raises(SystemExit) as stop:
        main(['--config', str(path), '--out', str(tmp_path)])
    assert stop.value.code == 2
    assert 'learning_speed' in capsys.readouterr().err


def test_the_rate_warms_up_and_falls_in_each_stage():
    stages = StageConfig(cnet_steps=100, end_to_end_steps=1000)
    optimizer = OptimizerConfig(learning_rate=1.0, warmup_steps=10, final_share=0.01)
    rates = [learning_rate_at(step, stages, optimizer) for step in range(1100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0.1)
    assert rates[110] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.01, abs=1e-4)
    assert max(rates) <= 1.0
    constant = OptimizerConfig(learning_rate=2.5e-4)
    assert {learning_rate_at(step, stages, constant) for step in range(1100)} == {2.5e-4}


def test_the_best_constant_is_better_than_every_sample_as_constant():
    from decomr_core.measures.metrics import pa_mpjpe_mm

    joints = torch.randn(1, 24, 3) * 0.3 + torch.randn(12, 24, 3) * 0.1
    best = pa_mpjpe_mm(best_constant_joints(joints).expand_as(joints), joints).mean()
    others = [pa_mpjpe_mm(row.expand_as(joints), joints).mean() for row in joints]
    assert best < min(others)


def test_the_truth_itself_scores_perfectly():
    from decomr_core.base.structures import NetworkOutput
    from training.synthetic.synthetic_batch import SyntheticBatch
    from training.synthetic.synthetic_config import SyntheticConfig

    assert SyntheticConfig().size == 128
    count = 3
    iuv = torch.rand(count, 3, 8, 8)
    vertices, joints = torch.randn(count, 20, 3), torch.randn(count, 24, 3)
    empty = torch.zeros(count)
    batch = SyntheticBatch(
        torch.zeros(count, 32, 32, 3, dtype=torch.uint8),
        iuv,
        torch.ones(count, 32, 32, dtype=torch.uint8),
        vertices,
        joints,
        empty,
        empty,
        empty,
        empty,
    )

    class Oracle(torch.nn.Linear):
        config = network_config('rt')

        def forward(self, images):
            return NetworkOutput(iuv, vertices, joints, torch.ones(count, 3), None)

    scores = evaluate_network(Oracle(1, 1), batch)
    assert scores['pa_mpjpe_mm'] < 1e-2
    assert scores['mpjpe_mm'] == 0
    assert scores['vertex_error_mm'] == 0
    assert scores['foreground_iou'] == 1
