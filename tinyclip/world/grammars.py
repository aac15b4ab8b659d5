"""The four worlds' ways of speaking: words, synonyms and sentences, as data for `caption.py`.

The first template of each is its canonical caption; the number is how often a template is drawn. Sentences that leave things out ("a circle",
"something red") are natural, and they teach colour apart from shape, which is what a pair never seen together needs. No noun or adjective
starts with a vowel, so "a" is always right.
"""

from .animals import ACTIONS, COATS, PLACES
from .animals import ANIMALS as KINDS
from .caption import Grammar, Slot
from .scene import COLOURS, COLUMNS, RELATIONS, ROWS, SHAPES, SIZES

_SIZES = (("small", "little"), ("large", "big"))
_COLOURS = tuple((name,) for name in COLOURS)
_SYNONYMS = {
    "circle": ("circle", "disc"),
    "square": ("square", "box"),
    "cross": ("cross", "plus"),
    "ring": ("ring", "hoop"),
    "moon": ("moon", "crescent"),
}
_SHAPES = tuple(_SYNONYMS.get(name, (name,)) for name in SHAPES)
_AT_ROW = (("at the top",), ("halfway down",), ("at the bottom",))
_AT_COLUMN = (("on the left",), ("in the center",), ("on the right",))
_RELATIONS = (("left of", "to the left of"), ("right of", "to the right of"), ("above", "over"), ("below", "under"))
assert len(_SIZES) == len(SIZES) and len(_RELATIONS) == len(RELATIONS)

SINGLE = Grammar(
    factors=5,
    slots={
        "size": Slot(0, _SIZES),
        "colour": Slot(1, _COLOURS),
        "shape": Slot(2, _SHAPES),
        "at_row": Slot(3, _AT_ROW),
        "at_column": Slot(4, _AT_COLUMN),
        "row": Slot(3, tuple((name,) for name in ROWS)),
        "column": Slot(4, tuple((name,) for name in COLUMNS)),
    },
    templates=(
        ("a {size} {colour} {shape}", 6),
        ("a {colour} {size} {shape}", 0.5),
        ("there is a {size} {colour} {shape}", 0.5),
        ("a picture of a {size} {colour} {shape}", 0.5),
        ("a {size} {shape} that is {colour}", 0.5),
        ("a {size} {colour} {shape} in the {row} {column}", 1),
        ("a {colour} {shape} {at_row}", 0.5),
        ("a {colour} {shape} {at_column}", 0.5),
        ("a {colour} {shape}", 2),
        ("a {size} {shape}", 1),
        ("a {shape}", 3),
        ("something {colour}", 1.5),
        ("something {size} and {colour}", 0.5),
        ("something {colour} {at_row}", 0.25),
        ("a {shape} {at_column}", 0.25),
    ),
)

SIXTEEN = Grammar(
    factors=5,
    slots={"colour": Slot(1, _COLOURS[:4]), "shape": Slot(2, tuple((name,) for name in SHAPES[:4]))},
    templates=(("a {colour} {shape}", 1),),
)

PAIRS = Grammar(
    factors=7,
    slots={
        "size_1": Slot(0, _SIZES),
        "colour_1": Slot(1, _COLOURS),
        "shape_1": Slot(2, _SHAPES),
        "relation": Slot(3, _RELATIONS),
        "side": Slot(3, (("on the left",), ("on the right",), ("at the top",), ("at the bottom",))),
        "size_2": Slot(4, _SIZES),
        "colour_2": Slot(5, _COLOURS),
        "shape_2": Slot(6, _SHAPES),
    },
    templates=(
        ("a {colour_1} {shape_1} {relation} a {colour_2} {shape_2}", 10),
        ("there is a {colour_1} {shape_1} {relation} a {colour_2} {shape_2}", 0.5),
        ("{relation} a {colour_2} {shape_2} is a {colour_1} {shape_1}", 0.5),
        ("a {size_1} {colour_1} {shape_1} {relation} a {size_2} {colour_2} {shape_2}", 1),
        ("a {size_1} {colour_1} {shape_1} {relation} a {colour_2} {shape_2}", 0.25),
        ("a {colour_1} {shape_1} {relation} a {size_2} {colour_2} {shape_2}", 0.25),
        ("a {colour_1} {shape_1} and a {colour_2} {shape_2}", 2),
        ("a {shape_1} {relation} a {shape_2}", 2),
        ("something {colour_1} {relation} something {colour_2}", 2),
        ("a {colour_1} {shape_1} {side}", 2),
        ("something {colour_1} {side}", 2),
        ("a {shape_1} {side}", 3),
        ("a {colour_1} {shape_1}", 2),
        ("something {colour_1}", 0.5),
        ("a {shape_1}", 1.5),
    ),
)

ANIMALS = Grammar(
    factors=4,
    slots={
        "animal": Slot(0, tuple((name,) for name in KINDS)),
        "coat": Slot(1, tuple((name,) for name in COATS)),
        "action": Slot(2, tuple((name,) for name in ACTIONS)),
        "place": Slot(3, tuple((name,) for name in PLACES)),
    },
    templates=(
        ("a {coat} {animal} {action} {place}", 5),
        ("a {animal} {action} {place}", 1),
        ("a picture of a {coat} {animal} {action} {place}", 0.5),
        ("{place} a {coat} {animal} is {action}", 0.5),
        ("a {coat} {animal} {action}", 1),
        ("a {animal} {action}", 1),
        ("a {animal} {place}", 0.5),
        ("a {coat} {animal} {place}", 1),
        ("a {coat} {animal}", 1),
        ("a {animal}", 4),
        ("something {action}", 4),
        ("something {coat} {action}", 1),
        ("something {coat} {place}", 1),
    ),
)
