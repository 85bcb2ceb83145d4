"""Exports the network at the first start, if the runtime needs an export."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from decomr_core.estimation.prepare import export_in_subprocess, is_export_missing

if TYPE_CHECKING:
    from decomr_ros.settings.parameters import NodeParameters

__all__ = ['export_if_missing']


def export_if_missing(
    parameters: NodeParameters, report: Callable[[str], None], is_ending: Callable[[], bool]
) -> None:
    """Exports the network if the runtime needs an export and the cache does not contain it.

    Args:
        parameters: the parameters of the node.
        report: called with a sentence before the export and at each of its steps.
        is_ending: polled during the export; True aborts it.

    Raises:
        FileNotFoundError: the weights do not exist.
        RuntimeError: the export failed or was aborted.
    """
    if is_export_missing(parameters.runtime, parameters.weights):
        report(
            f'no exported model of weights {parameters.weights} for {parameters.runtime} yet; '
            'making it now; decomr prepare makes it ahead'
        )
        export_in_subprocess(parameters.weights, report, is_ending)
