"""Images that are lost on their way: how many are too many, and what helps."""

from __future__ import annotations

import os
from collections.abc import Collection

from decomr_ros.node.installation import fast_dds_profile

__all__ = ['lost_images_text']

# From this share of the images on, and from so many, losses are worth a warning: a single image
# is lost where a camera starts or a network is busy for a moment.
LOST_SHARE, FEWEST_LOST = 0.05, 3
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')


def lost_images_text(lost: int, arrived: int, topic: str, publishers: Collection[str]) -> str:
    """That too many images do not arrive, and why that may be.

    Args:
        lost: images that the middleware says were lost lately.
        arrived: images that came in the same time.
        topic: of the images.
        publishers: full names of the nodes that publish them.

    Returns:
        A sentence; empty where few are lost.
    """
    if lost < FEWEST_LOST or lost < LOST_SHARE * (lost + arrived):
        return ''
    who = ' and '.join(sorted(publishers)) or 'their publisher'
    own = '' if any(os.environ.get(name) for name in PROFILE_VARIABLES) else (
        ' and of this node, which has none')
    return (f'more than {LOST_SHARE:.0%} of the images on {topic} are lost on their way '
            '(frames_lost_in_transport). On one machine the default shared memory of Fast DDS is '
            'too small for images above 0.5 MB: set '
            f'{PROFILE_VARIABLES[0]}={fast_dds_profile()} in the environment of the process of '
            f'{who}{own}. Over a network use compressed or smaller images '
            '(image_transport:=compressed)')
