"""Posable bodies in SMPL's format: the built-in free one and the user's own."""

from decomr_core.body_models.body_data import NUM_SHAPES, BodyData
from decomr_core.body_models.body_model import BodyModel, load_body
from decomr_core.body_models.joints import JOINT_NAMES, MIRRORED_JOINTS, NUM_JOINTS, PARENTS
from decomr_core.body_models.parts import GROUP_NAMES

__all__ = ['GROUP_NAMES', 'JOINT_NAMES', 'MIRRORED_JOINTS', 'NUM_JOINTS', 'NUM_SHAPES',
           'PARENTS', 'BodyData', 'BodyModel', 'load_body']
