"""The batches of a training run: rendered people, photographs, or both in fixed shares."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch

from decomr_core.body_models import BodyModel, load_body
from decomr_core.body_models.joint_sets import lsp_regressor
from decomr_core.uv.uv_map import UVMap
from training.datasets.mixing import MixedPeople, mixed_loader
from training.datasets.photographs import PeopleConfig, PeopleDataset
from training.datasets.registry import PUBLIC_DATASETS, load_people
from training.loop.train_config import DatasetConfig, TrainConfig
from training.records.person_batch import PersonBatch
from training.records.person_records import PersonRecords
from training.synthetic.producer import synthetic_loader
from training.targets.cached_targets import CachedTargets
from training.targets.fits import with_fit_errors
from training.targets.person_batches import PersonBatchMaker

__all__ = ['TrainingData', 'load_bodies']

BUILTIN = 'builtin'
SEED_STEP = 1_000_003


def load_bodies(config: TrainConfig) -> dict[str, BodyModel]:
    """The bodies of a run by gender; `neutral` is the one that the network is for."""
    paths = {'neutral': config.body, 'male': config.male_body, 'female': config.female_body}
    return {gender: load_body(path) for gender, path in paths.items() if path}


class TrainingData:
    """What one process of a team learns from, in an order that follows from config and seed.

    Args:
        config: the run.
        bodies: as `load_bodies` gives them.
        uv_map: the chart of the neutral one.
        crop_size: S, side of the network's input, px.
        part_size: people in each batch that this process computes at a time.
        rank: number of this process in the team that trains.
        num_ranks: size of the team.

    Raises:
        FileNotFoundError: a file of a data set is missing; says what is expected.
        ValueError: a file holds something else, or the run asks for what its body cannot give.
    """

    def __init__(self, config: TrainConfig, bodies: Mapping[str, BodyModel], uv_map: UVMap,
                 crop_size: int, part_size: int, rank: int = 0, num_ranks: int = 1) -> None:
        self.config, self.bodies, self.uv_map = config, dict(bodies), uv_map
        self.crop_size, self.rank, self.num_ranks = crop_size, rank, num_ranks
        self.num_synthetic = round(part_size * config.synthetic_share)
        self.num_photographs = part_size - self.num_synthetic
        if 0 < config.synthetic_share < 1 and not (self.num_synthetic and self.num_photographs):
            raise ValueError(f'synthetic_share is {config.synthetic_share}, which is nobody or '
                             f'everybody of {part_size} people; take a share nearer to 1/2, a '
                             'larger batch_size, or a smaller accumulate')
        if self.num_synthetic and config.data.size != crop_size:
            raise ValueError(f'data.size is {config.data.size} px, but crops of the '
                             f'{config.preset!r} network have {crop_size}; set data.size to that')
        self.people = self._mixture() if self.num_photographs else None
        # Bodies of its own, which go to the GPU; those of the loaders' processes stay here.
        self.maker = (PersonBatchMaker(copy.deepcopy(self.bodies), uv_map, crop_size)
                      if self.num_photographs else None)

    @property
    def steps_per_epoch(self) -> float:
        """Batches that show as many photographs as there are people; 0 without photographs."""
        if self.people is None:
            return 0.0
        share = self.num_photographs / (self.num_photographs + self.num_synthetic)
        return sum(self.people.sizes) / (self.config.batch_size * share)

    @property
    def num_unreadable(self) -> int:
        """How often an image could not be read so far, and another took its place."""
        sources = self.people.sources if self.people is not None else ()
        return sum(source.num_unreadable for source in sources)

    def batches(self, device: torch.device, first: int = 0) -> Iterator[PersonBatch]:
        """Batches of `part_size` people on a device, without end.

        Args:
            device: where they are wanted.
            first: number of the first one, to go on where a run stopped.
        """
        streams = []
        if self.num_photographs:
            streams.append(self._photographs(device, first))
        if self.num_synthetic:
            streams.append(self._rendered(device, first))
        for parts in zip(*streams, strict=False):
            yield parts[0] if len(parts) == 1 else PersonBatch.concatenate(list(parts))

    def _rendered(self, device: torch.device, first: int) -> Iterator[PersonBatch]:
        config = self.config
        loader = synthetic_loader(
            config.data, self.bodies['neutral'], self.uv_map, batch_size=self.num_synthetic,
            num_workers=config.num_workers, seed=config.seed + SEED_STEP * self.rank,
            reuse=config.reuse, pool_images=config.pool_images, first_batch=first)
        for batch in loader:
            yield batch.as_person_batch().to(device)

    def _photographs(self, device: torch.device, first: int) -> Iterator[PersonBatch]:
        size = self.num_photographs
        loader = mixed_loader(self.people, size, num_workers=self.config.num_workers,
                              first=first * size * self.num_ranks, rank=self.rank,
                              num_ranks=self.num_ranks, pin_memory=device.type == 'cuda')
        maker = self.maker.to(device)
        for samples in loader:
            yield maker({name: values.to(device, non_blocking=True)
                         for name, values in samples.items()})

    def _mixture(self) -> MixedPeople:
        config = self.config
        targets = (CachedTargets(config.iuv_cache, self.bodies, self.uv_map, self.crop_size)
                   if config.iuv_cache else None)
        sources = {}
        for name, dataset in config.datasets.items():
            people = PeopleConfig(self.crop_size, dataset.trust == 'by_error',
                                  config.augmentation)
            sources[name] = PeopleDataset(self._records(name, dataset), people,
                                          targets=targets)
        ratios = {name: dataset.ratio for name, dataset in config.datasets.items()}
        return MixedPeople(sources, ratios, config.seed)

    def _records(self, name: str, dataset: DatasetConfig) -> PersonRecords:
        """The people of a data set, with fits as far as they are trusted."""
        if (dataset.dataset or name) not in PUBLIC_DATASETS:
            raise ValueError(f'datasets.{name}.dataset is {dataset.dataset or name!r}; it must be '
                             f'one of {", ".join(PUBLIC_DATASETS)}, or any of them for an npz of '
                             'your own as annotations')
        records = load_people(
            dataset.dataset or name, dataset.root, dataset.annotations or None,
            split=dataset.split, fits=dataset.fits or None, use_openpose=dataset.use_openpose)
        if dataset.trust == 'never':
            records = records.without_fits()
        if records.has_pose.any() and self.config.body == BUILTIN:
            raise ValueError(
                f'{name} has poses and shapes of SMPL, which mean nothing to the built-in body; '
                'give SMPL (decomr body import FILE) as body, with its uv_map, or learn from '
                '2D keypoints alone: trust: never, where the poses are fits')
        is_rated = dataset.trust == 'by_error' and (records.has_pose & records.is_fit).any()
        if is_rated and records.fit_errors is None and records.keypoints_2d is not None:
            body = self.bodies['neutral']
            records = with_fit_errors(records, body, lsp_regressor(body))
        return records
