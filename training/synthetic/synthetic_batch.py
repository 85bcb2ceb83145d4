"""The batch of rendered people, with their complete ground truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from decomr_core.body_models.joint_sets import NUM_ANNOTATED
from decomr_core.geometry.crop import blacken_outside_box
from training.records.person_batch import PersonBatch
from training.records.person_boxes import box_of_mask
from training.records.tensor_batch import TensorBatch

__all__ = ['SyntheticBatch', 'full_truth']


@dataclass
class SyntheticBatch(TensorBatch):
    """B rendered people with their complete ground truth.

    `decomr_core/base/structures.py` defines the frames and the shape letters.

    Attributes:
        images: (B, S, S, 3) uint8 RGB.
        iuv: (B, 3, S/4, S/4) float32. First the share of the cell that shows the person, clothes
            included. Then u and v of the body's surface there, zeros where the share is 0.
        mask: (B, S, S) uint8, 1 where the person, clothes included, is visible.
        vertices: (B, V, 3) float32, undressed body, root frame, m.
        joints: (B, 24, 3) float32, SMPL's joints, root frame, m.
        joints_2d: (B, 24, 3) float32: x and y in the crop frame; then 1 if the joint is inside
            the crop and the camera's image, else 0. Occlusion does not count.
        camera: (B, 3) float32 weak perspective (s, tx, ty) that fits the true projection of the
            vertices best: crop_xy = s * (root_xy + t).
        pose: (B, 24, 3) float32 axis-angle, radians; poses the body in its own frame (y up), from
            where `root_frame_body` turns it to the root frame.
        shape: (B, 10) float32 shape components.
    """

    images: Tensor
    iuv: Tensor
    mask: Tensor
    vertices: Tensor
    joints: Tensor
    joints_2d: Tensor
    camera: Tensor
    pose: Tensor
    shape: Tensor

    def in_boxes(self, box_margin: float | None) -> SyntheticBatch:
        """The people as the estimator crops them, given the exact boxes of what is visible.

        Args:
            box_margin: `NetworkConfig.box_margin` of the network that takes the images.

        Returns:
            This batch, or for a network with a `box_margin` one with other images.
        """
        if box_margin is None:
            return self
        images = self.images.clone()
        for pixels, mask in zip(images.numpy(), self.mask.numpy(), strict=True):
            box = box_of_mask(mask)
            if box is not None:
                blacken_outside_box(pixels, box, box_margin)
        return replace(self, images=images)

    def as_person_batch(self) -> PersonBatch:
        """Converts to a training batch: all weights are 1, without annotated keypoints."""
        return full_truth(self.images, self.iuv, self.vertices, self.joints, self.joints_2d)


def full_truth(
    images: Tensor, iuv: Tensor, vertices: Tensor, joints: Tensor, joints_2d: Tensor
) -> PersonBatch:
    """A training batch of people whose truth is known; see `PersonBatch` for the arguments."""
    count = len(images)
    ones = iuv.new_ones(count)
    return PersonBatch(
        images=images,
        iuv=iuv,
        iuv_weights=ones,
        vertices=vertices,
        joints=joints,
        mesh_weights=ones,
        joints_2d=joints_2d,
        keypoints_2d=iuv.new_zeros(count, NUM_ANNOTATED, 3),
        keypoints_3d=iuv.new_zeros(count, NUM_ANNOTATED, 4),
    )
