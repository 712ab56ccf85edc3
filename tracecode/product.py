"""What a code stands for: how a billed drug code and a product differ, and how much is in a package.

NHSA drug codes are compared by their structure, because one maker's drug has several of them (one for each
pack) and a product several names. What the codes do not say, such as the form of a Chinese patent drug,
cannot be told from them.

    western         23 characters   X, class 5, name 4, form 4, strength and pack 4, enterprise 5
    Chinese patent  20 characters   Z, class 5, name 5, strength and pack 4, enterprise 5

Source: the six parts of the code are those of NHSA's coding rule for drugs; their widths fit all 13,738
codes of an NHSA publication, and in it a name is numbered alike in whatever class it stands, so the class
is not compared (ours).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from tracecode.v1 import catalogue_pb2

GRADE_SAME = 0
GRADE_PACK = 1
GRADE_MAKER = 2
GRADE_FORM = 3
GRADE_PRODUCT = 4
GRADE_NO_DRUG = 5

_WESTERN = re.compile(r"(X)[A-Z][0-9]{2}[A-Z]{2}([A-Z][0-9]{3})([A-Z][0-9]{3})[0-9]{4}([0-9]{5})")
_PATENT = re.compile(r"(Z)[A-Z][0-9]{2}[A-Z]{2}([A-Z][0-9]{4})()[0-9]{4}([0-9]{5})")
_OTHER = re.compile(r"([A-WY])[0-9A-Z]{7,}")
"""A code of a kind whose parts are not published; X and Z of another width are no codes."""


class _Parts(NamedTuple):
    """What is compared of a drug code; `form` is empty where the code does not say it."""

    kind: str
    name: str
    form: str
    maker: str


def swap_grade(billed: str, mapped: Iterable[str]) -> int:
    """How far a billed drug code is from the codes a product may be billed as: the mildest of all pairs.

    0 one of them. 1 same product, form and maker, other pack. 2 same product and form, other maker.
    3 same product, other form. 4 another product of the same kind. 5 not a drug of any kind they are of:
    a consumable, a drug of the other kind, or no drug code at all. Kinds without a published structure
    (herbal slices T and the like) are told by the first letter and are 0 or 4. Where nothing is mapped, or
    nothing that is a drug code, nothing can be said: 0. Letter case and blanks around a code do not count.
    Grades: ours.
    """
    mapped = tuple(mapped)
    if billed in mapped:
        return GRADE_SAME
    billed = billed.strip().upper()
    codes = [code.strip().upper() for code in mapped]
    if billed in codes:
        return GRADE_SAME
    parts = _part(billed)
    grades = [_grade(parts, other) for other in map(_part, codes) if other.kind]
    return min(grades, default=GRADE_SAME)


@lru_cache(maxsize=10_000)
def _part(code: str) -> _Parts:
    match = _WESTERN.fullmatch(code) or _PATENT.fullmatch(code)
    if match:
        return _Parts(*match.groups())
    other = _OTHER.fullmatch(code)
    return _Parts(other[1] if other else "", "", "", "")


def _grade(billed: _Parts, mapped: _Parts) -> int:
    if billed.kind != mapped.kind:
        return GRADE_NO_DRUG
    if not billed.name or billed.name != mapped.name:
        return GRADE_PRODUCT
    if billed.form != mapped.form:
        return GRADE_FORM
    return GRADE_PACK if billed.maker == mapped.maker else GRADE_MAKER


def is_outer_package(product: catalogue_pb2.Product) -> bool:
    """A middle or outer package, and not the smallest unit that bears a code (is_smallest)."""
    return product.package_level > 1 and not product.smallest_unit


def units_inside(product: catalogue_pb2.Product) -> int:
    """Smallest sales units of a package, 1 for an item or where the catalogue does not say."""
    return max(1, product.units_per_package)


def can_split(product: catalogue_pb2.Product) -> bool:
    """The catalogue says into how many units the pack may be split (2 or more)."""
    return product.splittable_units > 1
