"""DUP_CROSS_REGION. Goal: the odd sale of two in different pooling areas, and no other.

Method: a table.
"""

from dataclasses import replace

from scenes import ALERT, SILENT, WARN, cases, tell_chain, weigh

from tracecode.life_cycle import InstitutionFacts
from tracecode.rules.dup_cross_region import find


@cases(
    ("another area", "0h sale A\n> 1d sale C", ALERT),
    ("the same area", "0h sale A\n> 1d sale B", SILENT),
    ("the earlier is not odd", "> 0h sale A\n1d sale C", SILENT),
    ("the earlier is odd", "0h receive C\n> 1d sale A\n2d sale C", ALERT),
    ("the holder is not odd", "0h receive C\n1d sale A\n> 2d sale C", SILENT),
    ("a sister shop far away", "0h sale A\n> 1d sale E", WARN),
    ("returned before", "0h sale A\n1h return A\n> 1d sale C", SILENT),
    ("one near, one far", "0h sale A\n1h sale C\n> 1d sale B", ALERT),
    ("received far away is no sale", "0h receive A\n> 1d receive C", SILENT),
)
def test_sold_in_two_areas(told: str, said: str) -> None:
    """Pins that it goes with the odd sale only, and compares four digits."""
    assert weigh(find(tell_chain(told))) == said


def test_the_code_of_an_unknown_institution_says_where_it_is() -> None:
    """Pins the fallback on the first digits of fixmedins_code."""
    told = tell_chain("0h sale A\n> 1d sale C")
    near = replace(told, institution=InstitutionFacts("P13059900009"))
    far = replace(told, institution=InstitutionFacts("P51010000009"))

    assert (weigh(find(near)), weigh(find(far))) == (SILENT, ALERT)
