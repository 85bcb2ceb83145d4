"""The warning about images that are lost in transport."""

from __future__ import annotations

import os
from collections.abc import Collection

from decomr_ros.node.installation import fast_dds_profile

__all__ = ['lost_images_text']

# Share and number of lost images from which the node warns. A few are lost when a camera starts
# or when the network is busy for a moment.
LOST_SHARE, FEWEST_LOST = 0.05, 3
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')


def lost_images_text(lost: int, arrived: int, topic: str, publishers: Collection[str]) -> str:
    """The warning about lost images, with the likely cause and the remedy.

    Args:
        lost: number of recently lost images, as counted by the middleware.
        arrived: number of images that arrived in the same time.
        topic: of the images.
        publishers: full names of the nodes that publish them.

    Returns:
        A few sentences; empty if few images are lost.
    """
    if lost < FEWEST_LOST or lost < LOST_SHARE * (lost + arrived):
        return ''
    who = ' and '.join(sorted(publishers)) or 'their publisher'
    own = (
        ''
        if any(os.environ.get(name) for name in PROFILE_VARIABLES)
        else (' and of this node, where it is not set')
    )
    return (
        f'more than {LOST_SHARE:.0%} of the images on {topic} are lost in transport '
        '(frames_lost_in_transport). On one machine the default shared memory of Fast DDS is '
        'too small for images above 0.5 MB: set '
        f'{PROFILE_VARIABLES[0]}={fast_dds_profile()} in the environment of the process of '
        f'{who}{own}. Over a network, use compressed or smaller images '
        '(image_transport:=compressed)'
    )
