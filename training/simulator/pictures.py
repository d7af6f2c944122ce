"""Drawn product pictures: colour shows the taste, shape category_l1, texture the price band, frame category_l2.

A shape is a closed curve in polar coordinates: r(angle) of a polygon, a star or a flower with n corners, filled or with
a hole. Position, size, rotation and shade vary a little from item to item.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contracts.ids import IntArray
from training.simulator.texts import taste_of
from training.simulator.traits import ItemTraits

SIZE: Final = 64
NUM_SHAPES: Final = 42
"""Distinct shapes; more categories than this share shapes."""

Pixels = NDArray[np.uint8]
_Plane = NDArray[np.float32]

_CORNERS = 7
_KINDS = 3
_MARKS = 16
_HOLE = 0.45
_GRID = (np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2) / (SIZE / 2)


@dataclass(frozen=True)
class Motif:
    """What a picture shows of one item: codes from 0."""

    category_l1: int
    category_l2: int
    taste: int
    price_band: int


def draw_picture(motif: Motif, rng: np.random.Generator) -> Pixels:
    """Draws one picture [64, 64, 3]."""
    base = np.array(taste_of(motif.taste).rgb, dtype=np.float32)
    colour = np.clip(base + rng.normal(0, 12, 3), 0, 255)
    paper = 232 + rng.normal(0, 5, 3)
    shift_x, shift_y = rng.uniform(-0.08, 0.08, 2)
    y, x = np.meshgrid(_GRID - shift_y, _GRID - shift_x, indexing="ij")
    mask = _shape(motif.category_l1, x, y, size=rng.uniform(0.6, 0.72), turn=rng.uniform(-0.15, 0.15))
    shade = _texture(motif.price_band, x, y)[..., None]
    pixels = paper + mask[..., None] * (colour * shade - paper)
    _mark_frame(pixels, motif.category_l2, colour)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _shape(code: int, x: _Plane, y: _Plane, *, size: float, turn: float) -> _Plane:
    """Share of each pixel that the shape covers [64, 64]."""
    kind, corners = code % _KINDS, 3 + code // _KINDS % _CORNERS
    angle, radius = np.arctan2(y, x) + turn, np.hypot(x, y)
    wave = np.mod(angle * corners / (2 * np.pi), 1.0) * 2 - 1
    if kind == 0:
        half = np.pi / corners
        edge = np.cos(half) / np.cos(wave * half)
    elif kind == 1:
        edge = 0.4 + 0.6 * np.abs(wave)
    else:
        edge = 0.7 + 0.3 * np.cos(wave * np.pi)
    edge = edge * size
    mask = np.clip((edge - radius) * SIZE / 2, 0, 1)
    if code // (_KINDS * _CORNERS) % 2:
        mask = mask * np.clip((radius - _HOLE * edge) * SIZE / 2, 0, 1)
    covered: _Plane = mask.astype(np.float32)
    return covered


def _texture(band: int, x: _Plane, y: _Plane) -> _Plane:
    """Plain, striped or chequered: a factor on the colour with mean 1 [64, 64]."""
    stripes = np.sin(x * 22) > 0
    if band == 0:
        return np.ones_like(x)
    if band == 1:
        return np.where(stripes, 1.14, 0.86).astype(np.float32)
    factor: _Plane = np.where(stripes ^ (np.sin(y * 22) > 0), 1.25, 0.75).astype(np.float32)
    return factor


def _mark_frame(pixels: NDArray[np.floating], code: int, colour: NDArray[np.floating]) -> None:
    """Marks one of 16 places along the frame; for codes from 16 on, also draws a bar whose length shows the code."""
    side, place = divmod(code % _MARKS, 4)
    along = slice(6 + place * 14, 6 + place * 14 + 8)
    across = (slice(1, 5), slice(SIZE - 5, SIZE - 1))[side % 2]
    pixels[(across, along) if side < 2 else (along, across)] = colour * 0.6
    bars = code // _MARKS
    pixels[SIZE - 8 : SIZE - 6, 8 : 8 + bars * 4] = colour * 0.6


def draw_pictures(folder: Path, names: list[str], traits: ItemTraits, price_band: IntArray, seed: int) -> None:
    """Writes one PNG per item; it depends on the seed, the item's row and its traits only.

    Args:
        folder: the raw folder.
        names: paths relative to it [N].
        traits: of the same items.
        price_band: codes [N].
        seed: of the shop.
    """
    for row, name in enumerate(names):
        motif = Motif(
            category_l1=int(traits.category_l1[row]),
            category_l2=int(traits.category_l2[row]),
            taste=int(traits.taste[row]),
            price_band=int(price_band[row]),
        )
        pixels = draw_picture(motif, np.random.default_rng([seed, row]))
        Image.fromarray(pixels).save(folder / name, compress_level=1)
