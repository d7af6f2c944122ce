"""The words of the drawn catalogue: categories with their products, taste families, price bands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_WORDS = """
furniture / chairs: armchair, dining chair
furniture / tables: coffee table, side table
furniture / shelves: bookcase, wall shelf
furniture / beds: bed frame, daybed
lighting / lamps: floor lamp, desk lamp
lighting / pendants: pendant light, chandelier
lighting / lanterns: garden lantern, candle lantern
lighting / spots: wall spot, ceiling spot
kitchen / cookware: saucepan, casserole
kitchen / knives: chef's knife, bread knife
kitchen / bakeware: cake tin, baking tray
kitchen / storage: spice rack, storage jar
tableware / plates: dinner plate, serving platter
tableware / mugs: coffee mug, tea cup
tableware / glasses: wine glass, water tumbler
tableware / cutlery: fork set, spoon set
textiles / cushions: floor cushion, sofa cushion
textiles / blankets: throw blanket, quilt
textiles / curtains: blackout curtain, sheer curtain
textiles / rugs: runner rug, area rug
garden / pots: plant pot, hanging planter
garden / tools: pruning shears, hand trowel
garden / seating: garden bench, hammock
garden / watering: watering can, garden hose
footwear / sneakers: running shoe, court shoe
footwear / boots: ankle boot, hiking boot
footwear / sandals: slide sandal, strap sandal
footwear / slippers: house slipper, clog
jackets / coats: wool coat, trench coat
jackets / parkas: winter parka, down jacket
jackets / vests: quilted vest, gilet
jackets / raincoats: rain shell, poncho
shirts / tees: crew tee, pocket tee
shirts / blouses: button blouse, wrap top
shirts / sweaters: crew sweater, cardigan
shirts / hoodies: zip hoodie, pullover hoodie
bags / backpacks: daypack, laptop backpack
bags / totes: shopper tote, market bag
bags / wallets: card holder, coin purse
bags / suitcases: cabin case, duffel
jewellery / rings: signet ring, stacking ring
jewellery / necklaces: pendant necklace, chain necklace
jewellery / earrings: hoop earring, stud earring
jewellery / bracelets: cuff bracelet, charm bracelet
watches / wristwatches: field watch, dress watch
watches / divers: dive watch, regatta watch
watches / straps: watch strap, buckle strap
watches / clocks: wall clock, alarm clock
audio / headphones: over-ear headphones, studio headphones
audio / earbuds: wireless earbuds, sport earbuds
audio / speakers: bookshelf speaker, travel speaker
audio / turntables: record player, phono stage
computing / keyboards: mechanical keyboard, travel keyboard
computing / mice: trackball, wireless mouse
computing / stands: laptop stand, monitor arm
computing / cables: charging cable, adapter hub
sports / yoga: yoga mat, yoga block
sports / cycling: bike helmet, saddle bag
sports / climbing: chalk bag, climbing harness
sports / swimming: swim goggles, kickboard
camping / tents: trekking tent, tarp shelter
camping / sleeping: sleeping bag, camping mat
camping / stoves: camp stove, mess kit
camping / bottles: thermos flask, drinking bottle
camping / torches: head torch, camp lantern
beauty / skincare: face cream, body lotion
beauty / makeup: lip tint, eye palette
beauty / fragrance: eau de parfum, room mist
beauty / brushes: hair brush, powder brush
beauty / soaps: bar soap, bath salts
toys / blocks: building blocks, marble run
toys / puzzles: jigsaw puzzle, wooden puzzle
toys / plush: plush bear, hand puppet
toys / games: board game, card game
toys / vehicles: toy truck, train set
instruments / strings: acoustic guitar, ukulele
instruments / keys: stage piano, melodica
instruments / drums: hand drum, practice pad
instruments / winds: recorder, harmonica
instruments / accessories: guitar strap, music stand
stationery / notebooks: bound notebook, sketchbook
stationery / pens: fountain pen, fineliner set
stationery / organisers: desk tray, pen case
stationery / cards: greeting card set, letter set
"""


@dataclass(frozen=True)
class Subcategory:
    """A category_l2 with the nouns of its products."""

    category_l1: str
    name: str
    nouns: tuple[str, ...]


@dataclass(frozen=True)
class Taste:
    """A family of colours and materials."""

    colours: tuple[str, ...]
    materials: tuple[str, ...]
    mood: str
    rgb: tuple[int, int, int]


def _parse() -> tuple[Subcategory, ...]:
    parsed = []
    for line in _WORDS.strip().splitlines():
        path, _, nouns = line.partition(": ")
        category, _, name = path.partition(" / ")
        parsed.append(Subcategory(category, name, tuple(nouns.split(", "))))
    return tuple(parsed)


SUBCATEGORIES: Final = _parse()

TASTES: Final = (
    Taste(
        ("amber", "rust", "terracotta", "cognac"),
        ("oak", "leather", "copper", "clay"),
        "warm and earthy",
        (205, 98, 40),
    ),
    Taste(
        ("navy", "teal", "slate", "ice blue"), ("steel", "glass", "denim", "enamel"), "cool and clear", (38, 98, 190)
    ),
    Taste(("moss", "sage", "olive", "fern"), ("bamboo", "linen", "cork", "jute"), "calm and natural", (70, 150, 62)),
    Taste(
        ("magenta", "coral", "violet", "fuchsia"),
        ("acrylic", "velvet", "silicone", "satin"),
        "bold and playful",
        (200, 50, 150),
    ),
)
"""Taste m of the choice model; `rgb` is the colour of its pictures."""

BAND_EDGES: Final = (-0.5, 0.5)
"""Upper bounds of the first two price bands in price_z."""
BAND_ADJECTIVES: Final = (
    ("simple", "handy", "everyday", "starter"),
    ("solid", "classic", "well-made", "versatile"),
    ("premium", "handcrafted", "exquisite", "collector's"),
)
BAND_PHRASES: Final = (
    ("A bargain for small budgets.", "Low price, honest value.", "Made to be affordable."),
    ("A fair price for lasting quality.", "The sensible middle of our range.", "Good value that lasts."),
    ("For those who want the finest.", "Luxury in every detail.", "The top of our range, finished by hand."),
)

SERIES: Final = ("Alma", "Birk", "Corvo", "Dune", "Elgin", "Fjell", "Gala", "Halden", "Iris", "Juno", "Kite", "Lumo")
OPENINGS: Final = (
    "This {adjective} {noun} in {colour} {material} fits right in.",
    "Meet our {adjective} {noun}: {colour}, with {material} where it counts.",
    "A {adjective} {noun}, made of {material} and finished in {colour}.",
    "The {series} {noun} comes in {colour} and {material}, {adjective} as ever.",
)
FILLERS: Final = (
    "Easy to look after and ready when you are.",
    "Ships in a recycled box within two days.",
    "It was tried out by our team for a whole season.",
    "Small differences between pieces are part of the charm.",
    "A thoughtful gift, and hard to give away.",
    "Instructions are enclosed; no tools are needed.",
    "Our customers like how little space it takes.",
    "Covered by our two-year guarantee.",
)
MOODS: Final = ("The look is {mood}.", "Its style: {mood}.", "For homes and people that are {mood}.")
FAMILIES: Final = ("Part of our {l2} in {l1}.", "Find more {l2} under {l1}.", "One of the {l1} picks among the {l2}.")
FOR_WHOM: Final = ("Cut for women.", "Cut for men.", "")
TASTE_SENTENCE: Final = "Available in {colour} {material}, {mood}."
