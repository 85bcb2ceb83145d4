"""What describes a posture: ranges for legs and trunk, and places of the wrists.

Ranges are (low, high), angles in degrees. Legs are described in the world frame and not relative
to the pelvis: a kneeling person's shin is on the ground whatever the lean of the trunk.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ['Arm', 'Arms', 'Leg', 'Posture']

Range = tuple[float, float]


@dataclass(frozen=True)
class Leg:
    """A left leg.

    Attributes:
        thigh: forward angle of the thigh: 0 points down, 90 is level.
        shin: forward angle of the shin; 90 less than the thigh's is a right angle at the knee.
        spread: outward rotation of the whole leg about the vertical axis.
        abduct: outward angle of a leg that points down.
        twist: rotation of the leg about the thigh, which moves a bent knee's foot inward.
        sole: downward angle of the toes from perpendicular to the shin; None for a sole flat on
            the ground.
    """

    thigh: Range
    shin: Range
    spread: Range = (-2, 12)
    abduct: Range = (-1, 5)
    twist: Range = (-5, 8)
    sole: Range | None = None


@dataclass(frozen=True)
class Arm:
    """A left arm, given by the position of its wrist.

    Attributes:
        target: (outward, up, forward) from the shoulder, arm lengths.
        spread: standard deviation of the target.
        pole: direction of the elbow.
        pronate: rotation of the forearm; for a bent arm 0 is thumb up, 90 is palm down.
        wrist: extension of the wrist.
    """

    target: tuple[float, float, float]
    spread: tuple[float, float, float]
    pole: tuple[float, float, float] = (0.6, -1, -0.4)
    pronate: float = 0
    wrist: float = 0


@dataclass(frozen=True)
class Arms:
    """A pair of arms.

    Attributes:
        left: one arm.
        right: the other arm, described as a left one; None for the same as the first.
        alike: correlation of the two arms' deviations from their targets, 0 to 1; near 1 for one
            object in both hands.
        is_level: whether targets are relative to the world's vertical axis instead of the chest's.
        on_floor: whether the hands are on the ground.
    """

    left: Arm
    right: Arm | None = None
    alike: float = 0.5
    is_level: bool = False
    on_floor: bool = False


@dataclass(frozen=True)
class Posture:
    """A posture of the whole body.

    Attributes:
        share: relative frequency.
        legs: alternative pairs of a left and a right leg; None for the same as the left one.
        arms: relative frequencies of names in `activities.ARMS`.
        lean: forward tilt of the pelvis.
        bend: forward bend of the spine.
        head_pitch: downward pitch of the head.
        lies: side of the body on the ground: `back`, `front` or `side` (the left one); empty for
            the feet.
        sideways: standard deviations of the spine's sideways bend and of its twist.
    """

    share: float
    legs: tuple[tuple[Leg, Leg | None], ...]
    arms: dict[str, float]
    lean: Range = (-4, 6)
    bend: Range = (-6, 12)
    head_pitch: Range = (-8, 18)
    lies: str = ''
    sideways: Range = (4, 6)
