"""What a code stands for. Goal: the degree of a swap from the structure of drug codes. Method: tables."""

import pytest
from hypothesis import given
from strategies import drug_codes

from tracecode.product import can_split, is_outer_package, swap_grade, units_inside
from tracecode.v1.catalogue_pb2 import Product

WESTERN = "XJ01CAA040A001010102699"
PATENT = "ZA12HAY0555010100326"
SLICES = "T001700689"


@pytest.mark.parametrize(
    ("billed", "mapped", "grade"),
    [
        pytest.param(WESTERN, [WESTERN], 0, id="the code itself"),
        pytest.param(WESTERN, [PATENT, WESTERN], 0, id="one of several"),
        pytest.param(f" {WESTERN.lower()} ", [WESTERN], 0, id="small letters and blanks"),
        pytest.param("XJ01CAA040A001020202699", [WESTERN], 1, id="other strength and pack"),
        pytest.param("XJ01CAA040A001010100863", [WESTERN], 2, id="other maker"),
        pytest.param("XJ01CAA040A001020200863", [WESTERN], 2, id="other maker and pack"),
        pytest.param("XJ01CAA040B002010102699", [WESTERN], 3, id="other form of one maker"),
        pytest.param("XD11AXT002N001010100001", ["XL04ADT002N001010100001"], 1, id="one name in two classes"),
        pytest.param("XJ01CAA041A001010102699", [WESTERN], 4, id="other product"),
        pytest.param("XA02ABN057A001010305849", [WESTERN], 4, id="quite another product"),
        pytest.param("ZA12HAY0555020200326", [PATENT], 1, id="patent, other pack"),
        pytest.param("ZA12HAY0555010109999", [PATENT], 2, id="patent, other maker"),
        pytest.param("ZA12HAY0556010100326", [PATENT], 4, id="patent, other product"),
        pytest.param(PATENT, [WESTERN], 5, id="patent for western"),
        pytest.param(WESTERN, [PATENT], 5, id="western for patent"),
        pytest.param(PATENT, [WESTERN, "ZA12HAY0556010100326"], 4, id="the mildest of two"),
        pytest.param("C14010325100000045370000062", [WESTERN], 5, id="a consumable"),
        pytest.param("", [WESTERN], 5, id="nothing"),
        pytest.param("保健品", [WESTERN], 5, id="a word"),
        pytest.param(WESTERN[:-1], [WESTERN], 5, id="cut short"),
        pytest.param("T001700690", [SLICES], 4, id="other slices"),
        pytest.param(WESTERN, [SLICES], 5, id="a drug for slices"),
        pytest.param(WESTERN, [], 0, id="nothing mapped"),
        pytest.param(WESTERN, ["n/a", "X123"], 0, id="no drug codes mapped"),
        pytest.param("n/a", ["n/a"], 0, id="the same nonsense"),
    ],
)
def test_how_far_a_billed_drug_is_from_the_scanned_one(billed: str, mapped: list[str], grade: int) -> None:
    """Pins the grades 0 to 5 at each part of the code."""
    assert swap_grade(billed, mapped) == grade


@given(drug_codes(), drug_codes())
def test_a_swap_is_as_far_one_way_as_the_other(one: str, other: str) -> None:
    """Pins that the grade of two codes of drugs does not depend on which was billed."""
    assert swap_grade(one, [other]) == swap_grade(other, [one])
    assert swap_grade(one, [one]) == 0


@given(drug_codes(), drug_codes(), drug_codes())
def test_another_mapped_code_never_makes_a_swap_worse(billed: str, one: str, other: str) -> None:
    """Pins that the mildest pair counts, in any order."""
    assert swap_grade(billed, [one, other]) == swap_grade(billed, [other, one])
    assert swap_grade(billed, [one, other]) <= swap_grade(billed, [one])


@pytest.mark.parametrize(
    ("product", "outer", "units", "splittable"),
    [
        (Product(package_level=1, units_per_package=1, splittable_units=24), False, 1, True),
        (Product(package_level=1, splittable_units=1), False, 1, False),
        (Product(package_level=2, units_per_package=10), True, 10, False),
        (Product(package_level=3, units_per_package=120, smallest_unit=True), False, 120, False),
        (Product(package_level=3), True, 1, False),
        (Product(), False, 1, False),
    ],
)
def test_what_is_in_a_package(product: Product, outer: bool, units: int, splittable: bool) -> None:
    """Pins levels, the smallest unit that bears a code, and what the catalogue leaves out."""
    assert (is_outer_package(product), units_inside(product), can_split(product)) == (
        outer,
        units,
        splittable,
    )
