"""Titles and descriptions that name category, taste and price band in varied words, but never the popularity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.simulator import vocabulary as words


@dataclass(frozen=True)
class Wording:
    """What a text says about one item.

    Attributes:
        category_l1, category_l2: names.
        nouns: words for such a product.
        taste: index of the taste family.
        band: price band, 0 cheapest to 2.
        gender: 0 F, 1 M, 2 for everybody.
    """

    category_l1: str
    category_l2: str
    nouns: tuple[str, ...]
    taste: int
    band: int
    gender: int


def write_text(item: Wording, rng: np.random.Generator) -> tuple[str, str]:
    """A title and a description of 100 to 400 characters."""
    family = taste_of(item.taste)
    chosen = {
        "noun": pick(item.nouns, rng),
        "colour": pick(family.colours, rng),
        "material": pick(family.materials, rng),
        "adjective": pick(words.BAND_ADJECTIVES[item.band], rng),
        "series": pick(words.SERIES, rng),
        "mood": family.mood,
        "l1": item.category_l1,
        "l2": item.category_l2,
    }
    title = "{series} {colour} {material} {noun}".format(**chosen)
    middle = [
        pick(words.BAND_PHRASES[item.band], rng),
        pick(words.FAMILIES, rng),
        pick(words.MOODS, rng),
        *(words.FILLERS[row] for row in rng.permutation(len(words.FILLERS))[: rng.integers(0, 3)]),
        words.FOR_WHOM[item.gender],
    ]
    sentences = [pick(words.OPENINGS, rng), *(middle[row] for row in rng.permutation(len(middle)))]
    return title, " ".join(sentence.format(**chosen) for sentence in sentences if sentence)


def taste_sentence(taste: int, rng: np.random.Generator) -> str:
    """One sentence that says colour and material, for items with a text of their own."""
    family = taste_of(taste)
    return words.TASTE_SENTENCE.format(
        colour=pick(family.colours, rng), material=pick(family.materials, rng), mood=family.mood
    )


def taste_of(taste: int) -> words.Taste:
    """The taste family of a code."""
    return words.TASTES[taste]


def pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    """One of the options, drawn uniformly."""
    return options[int(rng.integers(len(options)))]
