"""What it costs to read scans in batches: a thousand of each kind, as tills deliver them, in one round.

The GS1 row has a peer in the same run: biip, a published parser of GS1 element strings. The twenty digits
have none that knows them; gs1encoder, which checks element strings in C, stands in with 180,000 a second.
"""

from collections.abc import Callable
from random import Random

import biip
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.results import Results
from tracecode._native import keys_of
from tracecode.code import CodeClass, read_scan

SCANS_PER_ROUND = 1000
GS1ENCODER_PER_SECOND = 180_000


def make_twenty_digits(random: Random) -> str:
    """A 20-digit code: a product's seven digits, a serial number and four more."""
    return f"8{random.randrange(10**6):06d}{random.randrange(10**9):09d}{random.randrange(10**4):04d}"


def make_gs1(random: Random) -> str:
    """A GS1 element string as a scanner sends it: GTIN, lot, a separator, serial number."""
    body = f"0690{random.randrange(10**9):09d}"
    check = -sum(int(digit) * (3, 1)[position % 2] for position, digit in enumerate(body)) % 10
    return f"01{body}{check}10L{random.randrange(10**5)}\x1d21{random.randrange(10**12):012d}"


MAKERS: dict[CodeClass, Callable[[Random], str]] = {
    CodeClass.TWENTY_DIGIT: make_twenty_digits,
    CodeClass.GS1: make_gs1,
}


def per_second(benchmark: BenchmarkFixture) -> float:
    """Scans read in a second, by the median round."""
    assert benchmark.stats is not None
    return SCANS_PER_ROUND / float(benchmark.stats.stats.median)


@pytest.mark.parametrize("code_class", MAKERS, ids=lambda code_class: code_class.name.lower())
def test_keys_of_scans(benchmark: BenchmarkFixture, results: Results, code_class: CodeClass) -> None:
    """Pins the time of a thousand scans in one call, and that each was read as what `read_scan` reads."""
    random = Random(1)
    scans = [MAKERS[code_class](random) for _ in range(SCANS_PER_ROUND)]
    benchmark.group = f"read {SCANS_PER_ROUND} {code_class.name.lower()} scans"

    keys = benchmark(keys_of, scans)

    readings = [reading for scan in scans for reading in read_scan(scan)]
    assert keys == [reading.key for reading in readings]
    assert {reading.code_class for reading in readings} == {code_class}
    name = {CodeClass.TWENTY_DIGIT: "parse20", CodeClass.GS1: "parse_gs1"}[code_class]
    results.add_figure(f"{name}_per_second", per_second(benchmark))
    if code_class is CodeClass.TWENTY_DIGIT:
        results.add_ratio("parse20_vs_gs1encoder", per_second(benchmark), GS1ENCODER_PER_SECOND)


def test_biip_reads_the_same_gs1_scans(benchmark: BenchmarkFixture, results: Results) -> None:
    """Pins the peer's time on the same thousand GS1 scans, and that it finds the same serial numbers."""
    random = Random(1)
    scans = [make_gs1(random) for _ in range(SCANS_PER_ROUND)]
    benchmark.group = f"read {SCANS_PER_ROUND} gs1 scans"

    messages = [result.gs1_message for result in benchmark(lambda: [biip.parse(scan) for scan in scans])]

    serials = [message.element_strings.get(ai="21") for message in messages if message is not None]
    assert [element.value for element in serials if element is not None] == [
        scan.rpartition("\x1d21")[2] for scan in scans
    ]
    results.add_figure("parse_gs1_biip_per_second", per_second(benchmark))
    ours = results.figures["parse_gs1_per_second"]
    assert isinstance(ours, float)
    results.add_ratio("parse_gs1_vs_biip", ours, per_second(benchmark))
