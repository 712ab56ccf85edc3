"""Codes from their numbers: which product, which serial, and the twenty digits, by the thousand.

The serials are scattered over a product's range, so that codes that are received or sold together lie far
apart in every index, ours and the peers'. Knows nothing of the ledger, so that a peer's client starts
quickly.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

PRODUCTS: Final = 1_000
CODES_PER_LINE: Final = 50

Numbers = NDArray[np.int64]
Octets = NDArray[np.uint8]

FOUR_DIGITS: Final[Octets] = np.array([list(b"%04d" % i) for i in range(10_000)], np.uint8)
IDENTIFIERS: Final = [f"{8_100_000 + 7 * i}" for i in range(PRODUCTS)]
_IDENTIFIER_OCTETS: Final[Octets] = np.array([list(text.encode()) for text in IDENTIFIERS], np.uint8)


def write_digits(values: Numbers, width: int) -> Octets:
    """Each value as `width` decimal digits, in a last axis of octets."""
    groups = -(-width // 4)
    octets = np.empty((*values.shape, 4 * groups), np.uint8)
    rest = values
    for group in range(groups - 1, -1, -1):
        rest, four = np.divmod(rest, 10_000)
        octets[..., 4 * group : 4 * group + 4] = FOUR_DIGITS[four]
    return octets[..., 4 * groups - width :]


def scatter(numbers: Numbers, seed: int = 0) -> Numbers:
    """A permutation of 0 .. 2**29-1 without a pattern: multiplication by odd numbers and shifts, modulo
    2**29."""
    mask = np.int64(2**29 - 1)
    values = (numbers + seed) & mask
    for factor in (0x2C1B3C6D, 0x297A2D39):
        values = (values * factor) & mask
        values ^= values >> 15
    return values


def products_of(numbers: Numbers) -> Numbers:
    """The product of each code: one for all codes of a receipt's line."""
    return scatter(numbers // CODES_PER_LINE, 77) % PRODUCTS


def write_codes(numbers: Numbers) -> Octets:
    """The twenty digits of each code: the product's seven, nine of a serial number, four more."""
    octets = np.empty((*numbers.shape, 20), np.uint8)
    octets[..., :7] = _IDENTIFIER_OCTETS[products_of(numbers)]
    octets[..., 7:16] = write_digits(scatter(numbers), 9)
    octets[..., 16:] = FOUR_DIGITS[scatter(numbers, 12_345) % 10_000]
    return octets


def list_codes(numbers: Numbers) -> list[str]:
    """The codes as a scanner delivers them."""
    text = write_codes(numbers).tobytes().decode("ascii")
    return [text[at : at + 20] for at in range(0, len(text), 20)]
