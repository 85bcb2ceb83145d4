"""Plots of UV maps: the chart, the two distance matrices (paper Figure 4), the distortion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse.csgraph import dijkstra

from decomr_core.body_models.joints import JOINT_NAMES
from decomr_core.body_models.parts import GROUP_NAMES
from decomr_core.uv.location_map import GROUP_WEIGHTS
from decomr_core.uv.mesh_graph import edge_graph
from decomr_core.uv.quality import log_area_scales, uv_of_vertices
from decomr_core.uv.uv_map import UVMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from decomr_core.body_models import BodyModel

__all__ = ['plot_uv_map', 'plot_weight_map', 'save_figure']

# Rows and columns of the drawn matrices: a fixed random choice of vertices, sorted by body part.
NUM_DRAWN, SEED = 700, 0
# Parts from head to foot, left before right, so that adjacent parts are adjacent in the matrices.
PART_ORDER = (15, 12, 9, 6, 3, 0, 13, 16, 18, 20, 22, 14, 17, 19, 21, 23, 1, 4, 7, 10, 2, 5, 8, 11)
# Log of the area scale at the ends of the colour map: half and twice the mean.
COLOUR_LIMIT = float(np.log(2))
PANEL_INCHES, DPI = 5.0, 110


def plot_uv_map(body: BodyModel, uv_map: UVMap, report: dict[str, Any] | None = None) -> Figure:
    """Four panels: chart by part, distances on the mesh and in the map, area distortion.

    Args:
        body: the body of the map.
        uv_map: the map.
        report: result of `report_uv_map` for the titles; None omits the numbers.
    """
    figure, axes = _figure(2, 2)
    _draw_chart(axes[0, 0], body, uv_map)
    on_mesh, in_map = _drawn_distances(body, uv_map)
    scores = '' if report is None else f': S1 {report["s1_hop"]:.3f}, S2 {report["s2_hop"]:.3f}'
    for axis, matrix, title in (
        (axes[0, 1], on_mesh, 'edges between vertices on the mesh'),
        (axes[1, 0], in_map, f'distances in the map{scores}'),
    ):
        image = axis.imshow(matrix / matrix.max(), cmap='viridis', vmin=0, vmax=1)
        axis.set_title(title)
        axis.set_xlabel('vertex, sorted by body part')
        axis.set_ylabel('vertex, sorted by body part')
        figure.colorbar(image, ax=axis, label='share of the largest distance', shrink=0.8)
    _draw_areas(figure, axes[1, 1], body, uv_map)
    return figure


def plot_weight_map(weights: np.ndarray) -> Figure:
    """The loss weight of each texel (paper, supplementary Figure 3).

    Args:
        weights: (R, R), zero outside the chart, mean 1 inside.
    """
    figure, axes = _figure(1, 1)
    from matplotlib.colors import LogNorm  # after _figure, which tells how to install matplotlib

    image = axes[0, 0].imshow(
        np.where(weights > 0, weights, np.nan),
        cmap='viridis',
        norm=LogNorm(),
        extent=(0, 1, 1, 0),
        interpolation='nearest',
    )
    ratios = ' : '.join(f'{weight:g}' for weight in GROUP_WEIGHTS)
    axes[0, 0].set_title(f'{", ".join(GROUP_NAMES)} = {ratios}', fontsize=9)
    axes[0, 0].set_xlabel('u')
    axes[0, 0].set_ylabel('v')
    figure.colorbar(image, ax=axes[0, 0], label='loss weight, mean 1', shrink=0.8)
    return figure


def save_figure(figure: Figure, path: str) -> None:
    """Writes a figure to an image file.

    Raises:
        ValueError: the suffix of the name is not an image format.
    """
    figure.savefig(path, dpi=DPI)


def _figure(rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f'plots need matplotlib ({error}): pip install matplotlib') from error
    figure = Figure(
        figsize=(PANEL_INCHES * columns * 1.15, PANEL_INCHES * rows), layout='constrained'
    )
    return figure, figure.subplots(rows, columns, squeeze=False)


def _draw_chart(axis: Axes, body: BodyModel, uv_map: UVMap) -> None:
    import matplotlib

    parts = np.asarray(body.vertex_parts)
    first = uv_map.vertex_index[uv_map.faces[:, 0]]
    colours = matplotlib.colormaps['tab20'](np.linspace(0, 1, 20))[:, :3]
    # Adjacent parts of the kinematic tree get distinct colours.
    palette = colours[(np.arange(len(JOINT_NAMES)) * 7) % len(colours)]
    _draw_faces(axis, uv_map, palette[parts[first]])
    axis.set_title(f"'{body.name}': {len(uv_map.faces)} faces, coloured by body part")


def _draw_areas(figure: Figure, axis: Axes, body: BodyModel, uv_map: UVMap) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scales, shares = log_area_scales(np.asarray(body.v_template, dtype=np.float64), uv_map)
    colours = ScalarMappable(Normalize(-COLOUR_LIMIT, COLOUR_LIMIT), 'coolwarm')
    _draw_faces(axis, uv_map, colours.to_rgba(scales)[:, :3])
    axis.set_title(
        'area in the map against area on the body: '
        f'std of the log {np.sqrt(shares @ scales**2):.3f}'
    )
    bar = figure.colorbar(colours, ax=axis, label='times the mean scale', shrink=0.8)
    bar.set_ticks([-COLOUR_LIMIT, 0, COLOUR_LIMIT], labels=['1/2', '1', '2'])


def _draw_faces(axis: Axes, uv_map: UVMap, colours: np.ndarray) -> None:
    from matplotlib.collections import PolyCollection

    axis.add_collection(
        PolyCollection(
            uv_map.uv[uv_map.faces], facecolors=colours, edgecolors=colours, linewidths=0.2
        )
    )
    axis.set(xlim=(0, 1), ylim=(1, 0), aspect='equal', xlabel='u', ylabel='v')


def _drawn_distances(body: BodyModel, uv_map: UVMap) -> tuple[np.ndarray, np.ndarray]:
    """Two (K, K) matrices for the same vertices: edge counts on the mesh, distances in the map."""
    vertices, faces = np.asarray(body.v_template, dtype=np.float64), np.asarray(body.faces)
    chosen = np.random.default_rng(SEED).permutation(len(vertices))[:NUM_DRAWN]
    rank = np.argsort(PART_ORDER)[np.asarray(body.vertex_parts)[chosen]]
    chosen = chosen[np.lexsort((vertices[chosen, 1], rank))]
    on_mesh = dijkstra(edge_graph(vertices, faces), indices=chosen, unweighted=True)[:, chosen]
    uv = uv_of_vertices(faces, uv_map, len(vertices))[chosen]
    return on_mesh, np.linalg.norm(uv[:, None] - uv, axis=2)
