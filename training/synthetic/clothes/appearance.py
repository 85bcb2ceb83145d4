"""Painted clothes and their shading: outfits, silhouettes, and the colour of each pixel.

Clothes are regions of the template body. They are offset along the normals, with folds, so that
the silhouette of a dressed person differs from that of the body; the labels follow the dressed
silhouette.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from training.synthetic.clothes.surface import SurfacePoints

__all__ = ['Outfits', 'coverage', 'offsets', 'paint', 'paint_cloth', 'sample_outfits', 'shade']

Outfits = dict[str, Tensor]
"""Parameters of B outfits: (B,) scalars and (B, 3) colours in 0..1."""

SKIN_LIGHT, SKIN_DARK = np.array([0.96, 0.80, 0.69]), np.array([0.23, 0.14, 0.10])
HAIR_COLORS = np.array(
    [
        [0.05, 0.04, 0.04],
        [0.13, 0.08, 0.05],
        [0.30, 0.18, 0.10],
        [0.55, 0.42, 0.25],
        [0.75, 0.62, 0.42],
        [0.45, 0.20, 0.10],
        [0.55, 0.55, 0.55],
        [0.85, 0.84, 0.82],
    ]
)
LEATHER = np.array(
    [[0.06, 0.06, 0.06], [0.25, 0.14, 0.08], [0.88, 0.88, 0.86], [0.45, 0.45, 0.47]]
)
PATTERN_NAMES = ('f1', 'f2', 'p1', 'p2', 'm1', 'm2', 'm3', 'mix', 'bias', 'strength', 'second')
WAIST = 1.05
"""Upper end of trousers, in the surface's `down` coordinate."""
DENIM_AND_CLOTH = np.array(
    [
        [0.10, 0.14, 0.25],
        [0.20, 0.30, 0.45],
        [0.06, 0.06, 0.07],
        [0.25, 0.24, 0.23],
        [0.50, 0.43, 0.33],
        [0.35, 0.35, 0.38],
        [0.78, 0.76, 0.72],
    ]
)


def sample_outfits(rng: np.random.Generator, count: int) -> Outfits:
    """Samples B outfits: shirt, trousers or shorts, shoes, hair, skin, patterns, folds."""
    values = _colors(rng, count) | _cuts(rng, count) | _stand_offs(rng, count)
    for garment, share in (('shirt', 0.5), ('legs', 0.15)):
        values |= {
            f'{garment}_{name}': value for name, value in _pattern(rng, count, share).items()
        }
    return {
        name: torch.tensor(np.asarray(value), dtype=torch.float32)
        for name, value in values.items()
    }


def coverage(points: SurfacePoints, outfit: Outfits, sharp: float) -> dict[str, Tensor]:
    """Coverage of each point by each garment, 0 to 1.

    Args:
        points: coordinates, each (V,) with outfits (B, 1), or each (M,) with outfits (M,).
        outfit: parameters that broadcast against the points.
        sharp: steepness of the edges per unit of the coordinates.
    """
    off_head = 1 - points.is_head
    neck_edge = outfit['neckline'] + outfit['v_neck'] * (points.z > 0) * (
        1 - points.x.abs() * 12
    ).clamp(min=0)
    torso = _beyond(points.down - neck_edge, sharp) * _beyond(outfit['hem'] - points.down, sharp)
    on_arm = points.along_arm >= 0
    sleeve = _beyond(outfit['sleeve'] - points.along_arm, sharp)
    shirt = off_head * torch.where(on_arm, sleeve, torso)
    legs = off_head * torch.where(
        on_arm,
        0.0,
        _beyond(points.down - WAIST, sharp) * _beyond(outfit['trouser_end'] - points.down, sharp),
    )
    shoes = torch.where(on_arm, 0.0, _beyond(points.down - outfit['shoe_top'], sharp))
    face = ((points.head_front + 0.15) / 0.5).clamp(0, 1)
    edge = outfit['hairline'] * face - outfit['hair_drop'] * (1 - face)
    hair = points.is_head * _beyond(points.head_up - edge, sharp)
    back = (points.z < -0.01) & (points.x.abs() < 0.11) & ~on_arm
    tail = (
        back
        * _beyond(outfit['long_hair'] - points.down, sharp)
        * (outfit['long_hair'] > 0)
        * (points.head_up < 0.4)
    )
    return {'shirt': shirt, 'legs': legs, 'shoes': shoes, 'hair': torch.maximum(hair, tail)}


def offsets(points: SurfacePoints, outfit: Outfits, folds: Tensor) -> Tensor:
    """Offsets of the dressed surface from the body, along its normals.

    Args:
        points: coordinates of the vertices, each (V,).
        outfit: parameters (B,).
        folds: (B, V) smooth functions about -2 to 2.

    Returns:
        (B, V) metres.
    """
    wide = {name: value[:, None] for name, value in outfit.items()}
    cover = coverage(points, wide, sharp=6.0)
    folds = 1 + wide['fold'] * folds
    hang = ((points.down - 0.5) / 1.5).clamp(0, 1)
    shirt = wide['shirt_off'] * folds + wide['shirt_flare'] * hang * (points.along_arm < 0)
    shirt = shirt + wide['shirt_flare'] * 0.5 * (points.along_arm.clamp(0, 2) / 2)
    legs = wide['legs_off'] * folds + wide['legs_flare'] * ((points.down - 2) / 2).clamp(0, 1)
    cloth = torch.maximum(cover['shirt'] * shirt, cover['legs'] * legs)
    cloth = torch.maximum(cloth, cover['shoes'] * wide['shoe_off'])
    return torch.maximum(cloth, cover['hair'] * wide['hair_off'] * (1 + 0.4 * (folds - 1)))


def paint(points: SurfacePoints, outfit: Outfits, stain: Tensor) -> tuple[Tensor, Tensor]:
    """The unlit colour of surface points.

    Args:
        points: coordinates, each (M,).
        outfit: parameters of each point's person, (M,) and (M, 3).
        stain: (M,) smooth random function about -2 to 2, for blotches of colour.

    Returns:
        albedo (M, 3) in 0..1 and gloss (M,).
    """
    cover = coverage(points, outfit, sharp=60.0)
    color = outfit['skin'].clone()
    color = _face(points, outfit, color)
    sock = (points.down > outfit['sock']) & (points.along_arm < 0)
    color = torch.where(sock[:, None], 0.6 * outfit['logo_color'] + 0.3, color)
    color = torch.where(
        ((outfit['glove'] > 0) & (points.along_arm > 2))[:, None], outfit['shoes'], color
    )
    color = _over(color, _patterned(points, outfit, stain, 'legs'), cover['legs'])
    color = _over(color, _shirt(points, outfit, stain), cover['shirt'])
    belt = (
        (outfit['belt'] > 0)
        & ((points.down - outfit['hem'] - 0.06).abs() < 0.06)
        & (points.along_arm < 0)
        & (outfit['hem'] < 1.6)
    )
    color = torch.where(belt[:, None], outfit['shoes'] * 0.6, color)
    color = _over(color, outfit['shoes'], cover['shoes'])
    color = _over(color, outfit['hair'], cover['hair'])
    bare = 1 - torch.stack(list(cover.values())).amax(0)
    color = color * (1 + (0.10 - 0.06 * bare) * stain)[:, None]
    return color.clamp(0, 1), outfit['gloss'] * (0.3 + 0.7 * bare)


def paint_cloth(points: SurfacePoints, outfit: Outfits, stain: Tensor) -> Tensor:
    """The unlit colour (M, 3) of a garment for torso and legs, over points of the body.

    Args:
        points: coordinates, each (M,).
        outfit: parameters of each point's person, (M,) and (M, 3).
        stain: (M,) smooth random function about -2 to 2, for blotches of colour.
    """
    is_top = (points.along_arm >= 0) | (points.down < outfit['hem'])
    color = torch.where(
        is_top[:, None], _shirt(points, outfit, stain), _patterned(points, outfit, stain, 'legs')
    )
    return (color * (1 + 0.06 * stain)[:, None]).clamp(0, 1)


def shade(albedo: Tensor, gloss: Tensor, normals: Tensor, light: Outfits) -> Tensor:
    """Shades surface points with one lamp, sky and ground.

    Args:
        albedo: (M, 3) in 0..1.
        gloss: (M,) strength of the highlight.
        normals: (M, 3) unit, camera frame.
        light: for each point `to_light` (M, 3), `up` (M, 3), `lamp` (M, 3), `sky` (M, 3),
            `wrap` (M,), and optionally `ground` (M, 3), the light from below.

    Returns:
        (M, 3), may exceed 1.
    """
    facing = (normals * light['to_light']).sum(-1)
    wrap = light['wrap']
    lamp = ((facing + wrap) / (1 + wrap)).clamp(min=0)[:, None] * light['lamp']
    upward = (normals * light['up']).sum(-1, keepdim=True)
    if 'ground' in light:
        sky = light['ground'] + (light['sky'] - light['ground']) * (0.5 + 0.5 * upward)
    else:
        sky = (0.65 + 0.35 * upward) * light['sky']
    half = light['to_light'] - normals.new_tensor([0.0, 0.0, 1.0])
    half = torch.nn.functional.normalize(half, dim=-1)
    shine = (normals * half).sum(-1).clamp(min=0) ** 16 * gloss
    return albedo * (lamp + sky) + shine[:, None] * light['lamp']


def _colors(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Colours (B, 3) of skin, hair and clothes."""
    tone = np.clip(rng.beta(1.3, 1.2, count), 0, 1)[:, None]
    skin = SKIN_LIGHT * (1 - tone) + SKIN_DARK * tone + rng.normal(0, 0.02, (count, 3))
    shirt = _cloth_colors(rng, count)
    denim = DENIM_AND_CLOTH[rng.integers(7, size=count)] + rng.normal(0, 0.04, (count, 3))
    legs = np.where(_chance(rng, count, 0.7)[:, None], denim, _cloth_colors(rng, count))
    legs = np.where(_chance(rng, count, 0.12)[:, None], shirt, legs)
    bald, hat = _chance(rng, count, 0.08), _chance(rng, count, 0.12)
    hair = HAIR_COLORS[rng.integers(len(HAIR_COLORS), size=count)]
    hair = np.where(bald[:, None], skin, hair + rng.normal(0, 0.02, (count, 3)))
    hair = np.where(hat[:, None], _cloth_colors(rng, count), hair)
    shoes = np.where(
        _chance(rng, count, 0.75)[:, None],
        LEATHER[rng.integers(4, size=count)],
        _cloth_colors(rng, count),
    )
    return {
        'skin': skin,
        'shirt': shirt,
        'legs': legs,
        'hair': hair,
        'shoes': shoes,
        'jacket_in': _cloth_colors(rng, count),
        'logo_color': _cloth_colors(rng, count),
        'hair_off': np.where(bald, 0.0, rng.uniform(0.006, 0.035, count)),
    }


def _cuts(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Ends of the garments (B,), in the surface's coordinates."""

    def pick(options: list[float], shares: list[float], spread: float) -> np.ndarray:
        """Samples (B,) options by their shares, with uniform noise up to the spread."""
        return rng.choice(options, size=count, p=shares) + rng.uniform(-spread, spread, count)

    return {
        'sleeve': pick([-0.5, 0.35, 0.6, 1.2, 1.95], [0.05, 0.2, 0.2, 0.1, 0.45], 0.1),
        'hem': pick([1.2, 1.7, 2.1, 2.7], [0.25, 0.45, 0.22, 0.08], 0.17),
        'neckline': rng.uniform(-0.12, 0.15, count),
        'v_neck': _chance(rng, count, 0.3) * rng.uniform(0.1, 0.5, count),
        'trouser_end': pick([2.35, 2.85, 3.3, 3.9, 4.1], [0.08, 0.12, 0.05, 0.6, 0.15], 0.1),
        'shoe_top': pick([4.35, 4.1, 3.75, 3.4], [0.5, 0.32, 0.12, 0.06], 0.03),
        'sock': np.where(_chance(rng, count, 0.5), rng.uniform(3.5, 4.3, count), 9),
        'hairline': rng.uniform(0.62, 0.82, count),
        'hair_drop': rng.uniform(-0.1, 0.45, count),
        'long_hair': _chance(rng, count, 0.22) * rng.uniform(0.2, 0.8, count),
        'beard': _chance(rng, count, 0.18),
        'glove': _chance(rng, count, 0.03),
        'belt': _chance(rng, count, 0.25),
        'jacket': _chance(rng, count, 0.22) * rng.uniform(0.015, 0.07, count),
        'logo': _chance(rng, count, 0.3),
        'logo_x': rng.normal(0, 0.05, count),
        'logo_y': rng.uniform(0.3, 0.7, count),
        'logo_w': rng.uniform(0.02, 0.14, count),
        'logo_h': rng.uniform(0.02, 0.18, count),
    }


def _stand_offs(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Offsets of clothes from the body, metres, depth of folds, and gloss; (B,)."""
    return {
        'shirt_off': rng.gamma(2.0, 0.006, count) + 0.003,
        'shirt_flare': _chance(rng, count, 0.35) * rng.uniform(0, 0.035, count),
        'legs_off': rng.gamma(2.0, 0.005, count) + 0.003,
        'legs_flare': _chance(rng, count, 0.4) * rng.uniform(0, 0.03, count),
        'shoe_off': rng.uniform(0.004, 0.014, count),
        'fold': rng.uniform(0.1, 0.6, count),
        'gloss': rng.uniform(0, 0.25, count),
    }


def _chance(rng: np.random.Generator, count: int, probability: float) -> np.ndarray:
    return rng.random(count) < probability


def _beyond(excess: Tensor, sharp: float) -> Tensor:
    """A linear step from 0 to 1 around an excess of 0."""
    return (excess * sharp + 0.5).clamp_(0, 1)


def _face(points: SurfacePoints, outfit: Outfits, color: Tensor) -> Tensor:
    """Paints eyes, brows, mouth and beard: a dozen pixels that show the direction of the face."""
    front = (points.head_front > 0.35) & (points.is_head > 0.5)
    side = (points.x.abs() - 0.031).abs()
    eyes = front & (side < 0.014) & ((points.head_up - 0.46).abs() < 0.035)
    brows = front & (side < 0.02) & ((points.head_up - 0.56).abs() < 0.025)
    mouth = front & (points.x.abs() < 0.024) & ((points.head_up - 0.13).abs() < 0.03)
    beard = (
        (outfit['beard'] > 0)
        & (points.is_head > 0.5)
        & (points.head_front > -0.1)
        & (points.head_up < 0.24)
        & (points.head_up > -0.15)
        & ~mouth
    )
    color = torch.where(beard[:, None], 0.3 * color + 0.7 * outfit['hair'], color)
    color = torch.where(mouth[:, None], color * color.new_tensor([0.85, 0.55, 0.55]), color)
    color = torch.where(brows[:, None], 0.5 * color + 0.5 * outfit['hair'], color)
    return torch.where(eyes[:, None], color * 0.25, color)


def _shirt(points: SurfacePoints, outfit: Outfits, stain: Tensor) -> Tensor:
    """Colour (M, 3) of the shirt with its pattern, print and open jacket."""
    front = (points.z > 0) & (points.along_arm < 0)
    logo = (
        front
        & (outfit['logo'] > 0)
        & ((points.x - outfit['logo_x']).abs() < outfit['logo_w'])
        & ((points.down - outfit['logo_y']).abs() < outfit['logo_h'])
    )
    shirt = _patterned(points, outfit, stain, 'shirt')
    shirt = torch.where(logo[:, None], outfit['logo_color'], shirt)
    opened = front & (points.x.abs() < outfit['jacket'])
    return torch.where(opened[:, None], outfit['jacket_in'], shirt)


def _patterned(points: SurfacePoints, outfit: Outfits, stain: Tensor, garment: str) -> Tensor:
    """Colour (M, 3) of a garment: its base with stripes, checks or blotches of a second colour."""
    value = {name: outfit[f'{garment}_{name}'] for name in PATTERN_NAMES}
    on_arm = points.along_arm >= 0
    across = torch.where(on_arm, points.z, points.x)
    downward = torch.where(on_arm, points.along_arm * 0.27, points.y)
    first = torch.sin(downward * value['f1'] + value['p1'])
    second = torch.sin(across * value['f2'] + value['p2'])
    level = value['m1'] * first + value['m2'] * second + value['mix'] * first * second
    level = level + value['m3'] * 3 * stain
    share = torch.sigmoid((level - value['bias']) * 8) * value['strength']
    return _over(outfit[garment], value['second'], share)


def _over(under: Tensor, above: Tensor, share: Tensor) -> Tensor:
    return under + (above - under) * share[:, None]


def _cloth_colors(rng: np.random.Generator, count: int) -> np.ndarray:
    """Typical colours of clothes (B, 3): mostly muted, some bright, many black or white."""
    hue = rng.random((count, 1)) * 2 * np.pi
    tint = 0.5 + 0.5 * np.cos(hue + np.array([0, 2.1, 4.2]))
    saturation = rng.beta(1.2, 2.0, (count, 1))
    value = rng.beta(1.1, 1.1, (count, 1)) * 0.92 + 0.04
    color = value * (1 - saturation + saturation * tint)
    gray = rng.choice([0.05, 0.9, 0.5], size=(count, 1), p=[0.45, 0.35, 0.2])
    return np.where(rng.random((count, 1)) < 0.25, gray + rng.normal(0, 0.03, (count, 3)), color)


def _pattern(rng: np.random.Generator, count: int, share: float) -> dict[str, np.ndarray]:
    """Parameters of a garment's pattern: none, stripes down or across, checks, or blotches."""
    kind = rng.choice(5, size=count, p=[0.36, 0.14, 0.2, 0.15, 0.15])
    mixes = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0.7, 0.7, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    mix = mixes[kind]
    return {
        'f1': np.exp(rng.uniform(np.log(15), np.log(130), count)),
        'f2': np.exp(rng.uniform(np.log(25), np.log(130), count)),
        'p1': rng.uniform(0, 6.3, count),
        'p2': rng.uniform(0, 6.3, count),
        'm1': mix[:, 0],
        'm2': mix[:, 1],
        'mix': mix[:, 2],
        'm3': mix[:, 3],
        'bias': rng.uniform(-0.5, 0.6, count),
        'strength': (rng.random(count) < share) * rng.uniform(0.3, 1, count),
        'second': _cloth_colors(rng, count),
    }
