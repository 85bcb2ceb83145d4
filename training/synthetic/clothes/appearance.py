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

__all__ = ['Outfits', 'coverage', 'offsets', 'paint', 'paint_cloth',
           'sample_outfits', 'shade']

Outfits = dict[str, Tensor]
"""Parameters of B outfits: (B,) scalars and (B, 3) colours in 0..1."""

SKIN_LIGHT, SKIN_DARK = np.array([.96, .80, .69]), np.array([.23, .14, .10])
HAIR_COLORS = np.array([[.05, .04, .04], [.13, .08, .05], [.30, .18, .10], [.55, .42, .25],
                        [.75, .62, .42], [.45, .20, .10], [.55, .55, .55], [.85, .84, .82]])
LEATHER = np.array([[.06, .06, .06], [.25, .14, .08], [.88, .88, .86], [.45, .45, .47]])
PATTERN_NAMES = ('f1', 'f2', 'p1', 'p2', 'm1', 'm2', 'm3', 'mix', 'bias', 'strength', 'second')
WAIST = 1.05
"""Upper end of trousers, in the surface's `down` coordinate."""
DENIM_AND_CLOTH = np.array([[.10, .14, .25], [.20, .30, .45], [.06, .06, .07], [.25, .24, .23],
                            [.50, .43, .33], [.35, .35, .38], [.78, .76, .72]])


def sample_outfits(rng: np.random.Generator, count: int) -> Outfits:
    """Samples B outfits: shirt, trousers or shorts, shoes, hair, skin, patterns, folds."""
    values = _colors(rng, count) | _cuts(rng, count) | _stand_offs(rng, count)
    for garment, share in (('shirt', .5), ('legs', .15)):
        values |= {f'{garment}_{name}': value
                   for name, value in _pattern(rng, count, share).items()}
    return {name: torch.tensor(np.asarray(value), dtype=torch.float32)
            for name, value in values.items()}


def coverage(points: SurfacePoints, outfit: Outfits, sharp: float) -> dict[str, Tensor]:
    """Coverage of each point by each garment, 0 to 1.

    Args:
        points: coordinates, each (V,) with outfits (B, 1), or each (M,) with outfits (M,).
        outfit: parameters that broadcast against the points.
        sharp: steepness of the edges per unit of the coordinates.
    """
    off_head = 1 - points.is_head
    neck_edge = outfit['neckline'] + outfit['v_neck'] * (points.z > 0) * (
        1 - points.x.abs() * 12).clamp(min=0)
    torso = _beyond(points.down - neck_edge, sharp) * _beyond(outfit['hem'] - points.down, sharp)
    on_arm = points.along_arm >= 0
    sleeve = _beyond(outfit['sleeve'] - points.along_arm, sharp)
    shirt = off_head * torch.where(on_arm, sleeve, torso)
    legs = off_head * torch.where(on_arm, 0.0, _beyond(points.down - WAIST, sharp)
                                  * _beyond(outfit['trouser_end'] - points.down,
                                                          sharp))
    shoes = torch.where(on_arm, 0.0, _beyond(points.down - outfit['shoe_top'], sharp))
    face = ((points.head_front + .15) / .5).clamp(0, 1)
    edge = outfit['hairline'] * face - outfit['hair_drop'] * (1 - face)
    hair = points.is_head * _beyond(points.head_up - edge, sharp)
    back = (points.z < -.01) & (points.x.abs() < .11) & ~on_arm
    tail = back * _beyond(outfit['long_hair'] - points.down, sharp) * (
        outfit['long_hair'] > 0) * (points.head_up < .4)
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
    hang = ((points.down - .5) / 1.5).clamp(0, 1)
    shirt = wide['shirt_off'] * folds + wide['shirt_flare'] * hang * (points.along_arm < 0)
    shirt = shirt + wide['shirt_flare'] * .5 * (points.along_arm.clamp(0, 2) / 2)
    legs = wide['legs_off'] * folds + wide['legs_flare'] * ((points.down - 2) / 2).clamp(0, 1)
    cloth = torch.maximum(cover['shirt'] * shirt, cover['legs'] * legs)
    cloth = torch.maximum(cloth, cover['shoes'] * wide['shoe_off'])
    return torch.maximum(cloth, cover['hair'] * wide['hair_off'] * (1 + .4 * (folds - 1)))


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
    color = torch.where(sock[:, None], .6 * outfit['logo_color'] + .3, color)
    color = torch.where(((outfit['glove'] > 0) & (points.along_arm > 2))[:, None],
                        outfit['shoes'], color)
    color = _over(color, _patterned(points, outfit, stain, 'legs'), cover['legs'])
    color = _over(color, _shirt(points, outfit, stain), cover['shirt'])
    belt = (outfit['belt'] > 0) & ((points.down - outfit['hem'] - .06).abs() < .06) & (
        points.along_arm < 0) & (outfit['hem'] < 1.6)
    color = torch.where(belt[:, None], outfit['shoes'] * .6, color)
    color = _over(color, outfit['shoes'], cover['shoes'])
    color = _over(color, outfit['hair'], cover['hair'])
    bare = 1 - torch.stack(list(cover.values())).amax(0)
    color = color * (1 + (.10 - .06 * bare) * stain)[:, None]
    return color.clamp(0, 1), outfit['gloss'] * (.3 + .7 * bare)


def paint_cloth(points: SurfacePoints, outfit: Outfits, stain: Tensor) -> Tensor:
    """The unlit colour (M, 3) of a garment for torso and legs, over points of the body.

    Args:
        points: coordinates, each (M,).
        outfit: parameters of each point's person, (M,) and (M, 3).
        stain: (M,) smooth random function about -2 to 2, for blotches of colour.
    """
    is_top = (points.along_arm >= 0) | (points.down < outfit['hem'])
    color = torch.where(is_top[:, None], _shirt(points, outfit, stain),
                        _patterned(points, outfit, stain, 'legs'))
    return (color * (1 + .06 * stain)[:, None]).clamp(0, 1)


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
        sky = light['ground'] + (light['sky'] - light['ground']) * (.5 + .5 * upward)
    else:
        sky = (.65 + .35 * upward) * light['sky']
    half = light['to_light'] - normals.new_tensor([0.0, 0.0, 1.0])
    half = torch.nn.functional.normalize(half, dim=-1)
    shine = (normals * half).sum(-1).clamp(min=0) ** 16 * gloss
    return albedo * (lamp + sky) + shine[:, None] * light['lamp']


def _colors(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Colours (B, 3) of skin, hair and clothes."""
    tone = np.clip(rng.beta(1.3, 1.2, count), 0, 1)[:, None]
    skin = SKIN_LIGHT * (1 - tone) + SKIN_DARK * tone + rng.normal(0, .02, (count, 3))
    shirt = _cloth_colors(rng, count)
    denim = DENIM_AND_CLOTH[rng.integers(7, size=count)] + rng.normal(0, .04, (count, 3))
    legs = np.where(_chance(rng, count, .7)[:, None], denim, _cloth_colors(rng, count))
    legs = np.where(_chance(rng, count, .12)[:, None], shirt, legs)
    bald, hat = _chance(rng, count, .08), _chance(rng, count, .12)
    hair = HAIR_COLORS[rng.integers(len(HAIR_COLORS), size=count)]
    hair = np.where(bald[:, None], skin, hair + rng.normal(0, .02, (count, 3)))
    hair = np.where(hat[:, None], _cloth_colors(rng, count), hair)
    shoes = np.where(_chance(rng, count, .75)[:, None], LEATHER[rng.integers(4, size=count)],
                     _cloth_colors(rng, count))
    return {'skin': skin, 'shirt': shirt, 'legs': legs, 'hair': hair, 'shoes': shoes,
            'jacket_in': _cloth_colors(rng, count), 'logo_color': _cloth_colors(rng, count),
            'hair_off': np.where(bald, .0, rng.uniform(.006, .035, count))}


def _cuts(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Ends of the garments (B,), in the surface's coordinates."""
    def pick(options: list[float], shares: list[float], spread: float) -> np.ndarray:
        """Samples (B,) options by their shares, with uniform noise up to the spread."""
        return (rng.choice(options, size=count, p=shares)
                + rng.uniform(-spread, spread, count))

    return {
        'sleeve': pick([-.5, .35, .6, 1.2, 1.95], [.05, .2, .2, .1, .45], .1),
        'hem': pick([1.2, 1.7, 2.1, 2.7], [.25, .45, .22, .08], .17),
        'neckline': rng.uniform(-.12, .15, count),
        'v_neck': _chance(rng, count, .3) * rng.uniform(.1, .5, count),
        'trouser_end': pick([2.35, 2.85, 3.3, 3.9, 4.1], [.08, .12, .05, .6, .15], .1),
        'shoe_top': pick([4.35, 4.1, 3.75, 3.4], [.5, .32, .12, .06], .03),
        'sock': np.where(_chance(rng, count, .5), rng.uniform(3.5, 4.3, count), 9),
        'hairline': rng.uniform(.62, .82, count), 'hair_drop': rng.uniform(-.1, .45, count),
        'long_hair': _chance(rng, count, .22) * rng.uniform(.2, .8, count),
        'beard': _chance(rng, count, .18), 'glove': _chance(rng, count, .03),
        'belt': _chance(rng, count, .25),
        'jacket': _chance(rng, count, .22) * rng.uniform(.015, .07, count),
        'logo': _chance(rng, count, .3), 'logo_x': rng.normal(0, .05, count),
        'logo_y': rng.uniform(.3, .7, count), 'logo_w': rng.uniform(.02, .14, count),
        'logo_h': rng.uniform(.02, .18, count),
    }


def _stand_offs(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Offsets of clothes from the body, metres, depth of folds, and gloss; (B,)."""
    return {
        'shirt_off': rng.gamma(2.0, .006, count) + .003,
        'shirt_flare': _chance(rng, count, .35) * rng.uniform(0, .035, count),
        'legs_off': rng.gamma(2.0, .005, count) + .003,
        'legs_flare': _chance(rng, count, .4) * rng.uniform(0, .03, count),
        'shoe_off': rng.uniform(.004, .014, count), 'fold': rng.uniform(.1, .6, count),
        'gloss': rng.uniform(0, .25, count),
    }


def _chance(rng: np.random.Generator, count: int, probability: float) -> np.ndarray:
    return rng.random(count) < probability


def _beyond(excess: Tensor, sharp: float) -> Tensor:
    """A linear step from 0 to 1 around an excess of 0."""
    return (excess * sharp + .5).clamp_(0, 1)


def _face(points: SurfacePoints, outfit: Outfits, color: Tensor) -> Tensor:
    """Paints eyes, brows, mouth and beard: a dozen pixels that show the direction of the face."""
    front = (points.head_front > .35) & (points.is_head > .5)
    side = (points.x.abs() - .031).abs()
    eyes = front & (side < .014) & ((points.head_up - .46).abs() < .035)
    brows = front & (side < .02) & ((points.head_up - .56).abs() < .025)
    mouth = front & (points.x.abs() < .024) & ((points.head_up - .13).abs() < .03)
    beard = (outfit['beard'] > 0) & (points.is_head > .5) & (points.head_front > -.1) & (
        points.head_up < .24) & (points.head_up > -.15) & ~mouth
    color = torch.where(beard[:, None], .3 * color + .7 * outfit['hair'], color)
    color = torch.where(mouth[:, None], color * color.new_tensor([.85, .55, .55]), color)
    color = torch.where(brows[:, None], .5 * color + .5 * outfit['hair'], color)
    return torch.where(eyes[:, None], color * .25, color)


def _shirt(points: SurfacePoints, outfit: Outfits, stain: Tensor) -> Tensor:
    """Colour (M, 3) of the shirt with its pattern, print and open jacket."""
    front = (points.z > 0) & (points.along_arm < 0)
    logo = front & (outfit['logo'] > 0) & (
        (points.x - outfit['logo_x']).abs() < outfit['logo_w']) & (
        (points.down - outfit['logo_y']).abs() < outfit['logo_h'])
    shirt = _patterned(points, outfit, stain, 'shirt')
    shirt = torch.where(logo[:, None], outfit['logo_color'], shirt)
    opened = front & (points.x.abs() < outfit['jacket'])
    return torch.where(opened[:, None], outfit['jacket_in'], shirt)


def _patterned(points: SurfacePoints, outfit: Outfits, stain: Tensor,
               garment: str) -> Tensor:
    """Colour (M, 3) of a garment: its base with stripes, checks or blotches of a second colour."""
    value = {name: outfit[f'{garment}_{name}'] for name in PATTERN_NAMES}
    on_arm = points.along_arm >= 0
    across = torch.where(on_arm, points.z, points.x)
    downward = torch.where(on_arm, points.along_arm * .27, points.y)
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
    tint = .5 + .5 * np.cos(hue + np.array([0, 2.1, 4.2]))
    saturation = rng.beta(1.2, 2.0, (count, 1))
    value = rng.beta(1.1, 1.1, (count, 1)) * .92 + .04
    color = value * (1 - saturation + saturation * tint)
    gray = rng.choice([.05, .9, .5], size=(count, 1), p=[.45, .35, .2])
    return np.where(rng.random((count, 1)) < .25, gray + rng.normal(0, .03, (count, 3)), color)


def _pattern(rng: np.random.Generator, count: int, share: float) -> dict[str, np.ndarray]:
    """Parameters of a garment's pattern: none, stripes down or across, checks, or blotches."""
    kind = rng.choice(5, size=count, p=[.36, .14, .2, .15, .15])
    mixes = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [.7, .7, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    mix = mixes[kind]
    return {
        'f1': np.exp(rng.uniform(np.log(15), np.log(130), count)),
        'f2': np.exp(rng.uniform(np.log(25), np.log(130), count)),
        'p1': rng.uniform(0, 6.3, count), 'p2': rng.uniform(0, 6.3, count),
        'm1': mix[:, 0], 'm2': mix[:, 1], 'mix': mix[:, 2], 'm3': mix[:, 3],
        'bias': rng.uniform(-.5, .6, count),
        'strength': (rng.random(count) < share) * rng.uniform(.3, 1, count),
        'second': _cloth_colors(rng, count),
    }
