"""The batches of a training run: rendered people, photographs, or both in fixed shares."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from decomr_core.base.assets import BUILTIN
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
from training.synthetic.stored_people import StoredBatches
from training.targets.cached_targets import CachedTargets
from training.targets.fits import with_fit_errors
from training.targets.person_batches import PersonBatchMaker

__all__ = ['TrainingData', 'load_bodies']

SEED_STEP = 1_000_003


def load_bodies(config: TrainConfig) -> dict[str, BodyModel]:
    """Loads the bodies of a run by gender; the network predicts the `neutral` one."""
    paths = {'neutral': config.body, 'male': config.male_body, 'female': config.female_body}
    return {gender: load_body(path) for gender, path in paths.items() if path}


class TrainingData:
    """The training data of one process, in an order determined by config and seed.

    Args:
        config: the run.
        bodies: bodies from `load_bodies`.
        uv_map: the UV map of the neutral body.
        crop_size: S, side of the network's input, px.
        part_size: number of people in each batch of this process.
        rank: rank of this process.
        num_ranks: number of training processes.

    Raises:
        FileNotFoundError: a file of a data set is missing.
        ValueError: a file has unexpected content, or the body does not fit the data sets.
    """

    def __init__(
        self,
        config: TrainConfig,
        bodies: Mapping[str, BodyModel],
        uv_map: UVMap,
        crop_size: int,
        part_size: int,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        self.config, self.bodies, self.uv_map = config, dict(bodies), uv_map
        self.crop_size, self.rank, self.num_ranks = crop_size, rank, num_ranks
        self.num_synthetic = round(part_size * config.synthetic_share)
        self.num_photographs = part_size - self.num_synthetic
        if 0 < config.synthetic_share < 1 and not (self.num_synthetic and self.num_photographs):
            raise ValueError(
                f'synthetic_share is {config.synthetic_share}, which rounds to all '
                f'or none of {part_size} people; use a share nearer to 1/2, a '
                'larger batch_size or a smaller accumulate'
            )
        if self.num_synthetic and config.data.size != crop_size:
            raise ValueError(
                f'data.size is {config.data.size} px, but the {config.preset!r} '
                f'network takes crops of {crop_size} px; set data.size to '
                f'{crop_size}'
            )
        self.stored = (
            StoredBatches(
                Path(config.rendered),
                self.bodies['neutral'],
                uv_map,
                crop_size,
                self.num_synthetic,
                config.seed,
                rank,
                num_ranks,
            )
            if self.num_synthetic and config.rendered
            else None
        )
        self.people = self._mixture() if self.num_photographs else None
        # A copy of the bodies, which moves to the GPU; the loader processes use the originals.
        self.maker = (
            PersonBatchMaker(copy.deepcopy(self.bodies), uv_map, crop_size)
            if self.num_photographs
            else None
        )

    @property
    def steps_per_epoch(self) -> float:
        """Number of batches per epoch of the photographs; 0 without photographs."""
        if self.people is None:
            return 0.0
        share = self.num_photographs / (self.num_photographs + self.num_synthetic)
        return sum(self.people.sizes) / (self.config.batch_size * share)

    @property
    def num_unreadable(self) -> int:
        """Number of unreadable images so far, each replaced by another."""
        sources = self.people.sources if self.people is not None else ()
        return sum(source.num_unreadable for source in sources)

    def batches(self, device: torch.device, first: int = 0) -> Iterator[PersonBatch]:
        """Yields batches of `part_size` people without end.

        Args:
            device: device of the batches.
            first: number of the first batch, to continue a run.
        """
        streams = []
        if self.people is not None and self.maker is not None:
            streams.append(self._photographs(self.people, self.maker, device, first))
        if self.num_synthetic:
            streams.append(
                self._rendered(device, first)
                if self.stored is None
                else self._stored(self.stored, device, first)
            )
        for parts in zip(*streams, strict=False):
            yield parts[0] if len(parts) == 1 else PersonBatch.concatenate(list(parts))

    def _stored(
        self, stored: StoredBatches, device: torch.device, first: int
    ) -> Iterator[PersonBatch]:
        for batch in stored.loader(self.config.num_workers, first):
            yield batch.to(device)

    def _rendered(self, device: torch.device, first: int) -> Iterator[PersonBatch]:
        config = self.config
        loader = synthetic_loader(
            config.data,
            self.bodies['neutral'],
            self.uv_map,
            batch_size=self.num_synthetic,
            num_workers=config.num_workers,
            seed=config.seed + SEED_STEP * self.rank,
            reuse=config.reuse,
            pool_images=config.pool_images,
            first_batch=first,
        )
        for batch in loader:
            yield batch.as_person_batch().to(device)

    def _photographs(
        self, people: MixedPeople, maker: PersonBatchMaker, device: torch.device, first: int
    ) -> Iterator[PersonBatch]:
        size = self.num_photographs
        loader = mixed_loader(
            people,
            size,
            num_workers=self.config.num_workers,
            first=first * size * self.num_ranks,
            rank=self.rank,
            num_ranks=self.num_ranks,
            pin_memory=device.type == 'cuda',
        )
        maker = maker.to(device)
        for samples in loader:
            yield maker(
                {name: values.to(device, non_blocking=True) for name, values in samples.items()}
            )

    def _mixture(self) -> MixedPeople:
        config = self.config
        targets = (
            CachedTargets(config.iuv_cache, self.bodies, self.uv_map, self.crop_size)
            if config.iuv_cache
            else None
        )
        sources = {}
        for name, dataset in config.datasets.items():
            people = PeopleConfig(self.crop_size, dataset.trust == 'by_error', config.augmentation)
            sources[name] = PeopleDataset(self._records(name, dataset), people, targets=targets)
        ratios = {name: dataset.ratio for name, dataset in config.datasets.items()}
        return MixedPeople(sources, ratios, config.seed)

    def _records(self, name: str, dataset: DatasetConfig) -> PersonRecords:
        """The people of a data set, with their fits according to `trust`."""
        if (dataset.dataset or name) not in PUBLIC_DATASETS:
            raise ValueError(
                f'datasets.{name}.dataset is {dataset.dataset or name!r}; it must be '
                f'one of {", ".join(PUBLIC_DATASETS)} (any of them if annotations is '
                'your own npz)'
            )
        records = load_people(
            dataset.dataset or name,
            dataset.root,
            dataset.annotations or None,
            split=dataset.split,
            fits=dataset.fits or None,
            use_openpose=dataset.use_openpose,
        )
        if dataset.trust == 'never':
            records = records.without_fits()
        if records.has_pose.any() and self.config.body == BUILTIN:
            raise ValueError(
                f'{name} has poses and shapes of SMPL, which do not fit the built-in body; set '
                'body and uv_map to those of SMPL (decomr body import FILE), or, if the poses '
                'are fits, set trust: never to train on 2D keypoints only'
            )
        is_rated = dataset.trust == 'by_error' and (records.has_pose & records.is_fit).any()
        if is_rated and records.fit_errors is None and records.keypoints_2d is not None:
            body = self.bodies['neutral']
            records = with_fit_errors(records, body, lsp_regressor(body))
        return records
