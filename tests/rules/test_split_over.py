"""SPLIT_OVER. Goal: the units of one pack are counted right: returns, reports, other shops. Method: a table.

The pack holds 24.
"""

from scenes import ALERT, SILENT, WARN, cases, fact, tell_chain, weigh

from tracecode.evidence import ChainEvidence
from tracecode.rule_base import Thresholds
from tracecode.rules.split_over import find
from tracecode.v1.catalogue_pb2 import Product

UNKNOWN = "0h split A units=1\n1h split A units=1\n2h split A units=1\n> 3h split A units=1"


@cases(
    ("as many as it holds", "0h split A units=12\n> 1h split A units=12", SILENT),
    ("one more", "0h split A units=12\n> 1h split A units=13", ALERT),
    ("at once", "> 0h split A units=25", ALERT),
    (
        "the earlier sales are not over",
        "0h split A units=12\n> 1h split A units=12\n2h split A units=12",
        SILENT,
    ),
    ("some came back", "0h split A units=20\n1h splitreturn A units=4\n> 2h split A units=8", SILENT),
    ("too few came back", "0h split A units=20\n1h splitreturn A units=3\n> 2h split A units=8", ALERT),
    (
        "they came back in two parts",
        """
          0h split A units=20
          1h splitreturn A units=2
          2h splitreturn A units=2
        > 3h split A units=8
        """,
        SILENT,
    ),
    ("all came back", "0h split A units=24\n1h splitreturn A units=24\n> 2h split A units=24", SILENT),
    ("a deleted one does not count", "0h split A units=24 deleted\n> 1h split A units=24", SILENT),
    ("a refused one does not count", "0h split A units=24 refused\n> 1h split A units=24", SILENT),
    (
        "one sale by two channels counts once",
        """
          0h split A units=20 settle=s channel=1
          1h split A units=20 settle=s channel=2
        > 2h split A units=4
        """,
        SILENT,
    ),
    ("a refused attempt is over too", "0h split A units=20\n> 1h split A units=5 refused", ALERT),
    ("equals elsewhere count", "0h split A units=20\n> 1h split B units=5", ALERT),
    ("a typist elsewhere does not", "0h receive A\n1h split B units=20\n> 2h split A units=5", SILENT),
    ("a whole sale is another matter", "0h split A units=24\n> 1h sale A", SILENT),
    ("inside a package", "0h split A units=20\n> 1h split A units=5 inside", SILENT),
)
def test_units_of_a_pack(told: str, said: str) -> None:
    """Pins the sum and what does not belong to it."""
    assert weigh(find(tell_chain(told))) == said


def test_a_pack_of_unknown_size_is_counted_in_sales() -> None:
    """Pins WARN from the fourth split sale, for an unknown product and for one without units."""
    for product in (None, Product(identifier="8206233")):
        assert weigh(find(tell_chain(UNKNOWN, product=product))) == WARN
        third = UNKNOWN.replace("> 3h split A units=1", "").replace("2h", "> 2h")
        assert weigh(find(tell_chain(third, product=product))) == SILENT


def test_a_region_may_tolerate_some_units() -> None:
    """Pins the tolerance."""
    thresholds = Thresholds(split_tolerance_units=1)

    assert weigh(find(tell_chain("> 0h split A units=25", thresholds=thresholds))) == SILENT
    assert weigh(find(tell_chain("> 0h split A units=26", thresholds=thresholds))) == ALERT


def test_the_sum_is_told() -> None:
    """Pins the evidence."""
    (finding,) = find(tell_chain("0h split A units=12\n> 1h split A units=13"))

    told = [fact(finding, name) for name in ("units_split", "units_of_pack", "earlier_sale")]
    assert told == ["25", "24", "12"]


@cases(
    ("more than the catalogue", tell_chain("> 0h split A units=30", split_units_max=30), SILENT),
    ("beyond it", tell_chain("> 0h split A units=31", split_units_max=30), ALERT),
    ("fewer than the catalogue", tell_chain("> 0h split A units=7", split_units_max=6), ALERT),
    ("known where the product is not", tell_chain(UNKNOWN, product=None, split_units_max=4), SILENT),
    ("and over", tell_chain(UNKNOWN, product=None, split_units_max=3), ALERT),
    ("none allowed is said elsewhere", tell_chain("> 0h split A units=7", split_units_max=0), SILENT),
)
def test_a_drug_condition_counts_before_the_catalogue(told: ChainEvidence, said: str) -> None:
    """Pins the units of a drug condition, and that 0 leaves the sum to the catalogue."""
    assert weigh(find(told)) == said
