"""The two twins that read a scan, Python and C, agree on every text.

The oracle is tracecode/code.py. What the clearing code sees through `read_plain` must be what the oracle says
in full, and only where the oracle has nothing to tell the clerk.
"""

from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import element_strings, scans, twenty_digit_codes, urls, worn_scans

from tracecode import _native, code
from tracecode.code import CodeClass, Hint, Repair

PLAIN = (CodeClass.TWENTY_DIGIT, CodeClass.GS1, CodeClass.ENTERPRISE)


def assert_twins_agree(raw: str) -> None:
    """Compare every door of the native twin with the oracle on one text."""
    expected = code.read_scan(raw)

    assert _native.read_scan(raw) == expected
    assert _native.keys_of([raw]) == [expected[0].key if len(expected) == 1 else b""]
    if raw.isascii():
        key = _native.read_plain_key(raw.encode("ascii"))
        if key is not None:
            assert len(expected) == 1
            assert (expected[0].key, expected[0].hint) == (key, Hint.NONE)
            assert expected[0].code_class in PLAIN


@settings(max_examples=1000, deadline=None)
@given(scans())
@example("")
@example("\ud800")
@example("8" * 20)
@example("83003850000000131888" * 3)
def test_the_twins_agree_on_every_scan(raw: str) -> None:
    """Pins that no text, valid, worn or absurd, is read in two ways."""
    assert_twins_agree(raw)


@settings(max_examples=500, deadline=None)
@given(st.one_of(element_strings(), urls()))
def test_the_twins_agree_on_element_strings_and_urls(raw: str) -> None:
    """Pins the two grammars in which most rules live, with nothing but texts of that kind."""
    assert_twins_agree(raw)


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=40))
def test_the_twins_agree_on_any_unicode(raw: str) -> None:
    """Pins that both survive texts which nobody designed: unpaired surrogates, marks, every script."""
    assert_twins_agree(raw)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_are_plain_or_left_alone(raw: bytes) -> None:
    """Pins that `read_plain` takes any bytes, clears no byte above 127 and nothing that the oracle doubts."""
    key = _native.read_plain_key(raw)

    if key is not None:
        (reading,) = code.read_scan(raw.decode("ascii"))
        assert (reading.key, reading.hint) == (key, Hint.NONE)


@settings(max_examples=200, deadline=None)
@given(twenty_digit_codes(), st.sampled_from(["", "\r\n", "\t"]))
def test_an_ordinary_scan_is_plain(digits: str, suffix: str) -> None:
    """Pins that the common case needs no full path: if clearing refused it, every line would be slow."""
    assert _native.read_plain_key((digits + suffix).encode()) == b"N" + bytes.fromhex(digits)


@pytest.mark.parametrize(
    "raw",
    [
        "]d2010692456188407421ABC\x1d17270900\x1d10L1",
        "010692456188407421ABC4<GS>17270900",
        "(01)06924561884074(21)ABC",
        "https://www.mashangfangxin.com/drugQueryResult?code=83003850000000131888",
        "8385793-0000879766660",
        "ENT-2025-000123",
        "12345678901234567899",
    ],
)
def test_a_repaired_code_without_a_hint_is_plain(raw: str) -> None:
    """Pins that a sure repair does not cost the fast path."""
    (reading,) = code.read_scan(raw)

    assert reading.key
    assert _native.read_plain_key(raw.encode()) == reading.key


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "无",
        "6924561884074",
        "99999999999999999999",
        "83003850000000131888,83515410004748401667",
        "8300385000000013188883515410004748401667",
        "]D201069245618840742112345678",
        "01069245618840741727093010LOT121SERIAL0001234567",
        "]C100106141412345678908",
        "８３００３８５０００００００１３１８８８",
    ],
)
def test_what_needs_attention_is_not_plain(raw: str) -> None:
    """Pins the refusals of `read_plain`: no code, several codes, a hint, a logistic unit, folded text."""
    assert _native.read_plain_key(raw.encode()) is None


@settings(max_examples=50, deadline=None)
@given(st.lists(worn_scans(), max_size=8))
def test_a_batch_reads_like_its_scans(raws: list[str]) -> None:
    """Pins that the batch doors keep order and length, and that one scan cannot leak into the next."""
    readings = [code.read_scan(raw) for raw in raws]

    assert _native.read_scans(raws) == readings
    assert _native.keys_of(raws) == [parts[0].key if len(parts) == 1 else b"" for parts in readings]


def test_a_batch_of_something_else_is_refused() -> None:
    """Pins that a batch names its fault instead of reading a number or a None as text."""
    with pytest.raises(TypeError, match="not None"):
        _native.keys_of([None])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        _native.read_scan(b"83003850000000131888")  # type: ignore[arg-type]


def test_the_longest_scan_is_read_by_both() -> None:
    """Pins the bound on length at its edge, and what folding may make of a shorter text."""
    longest = ",".join(["83003850000000131888"] * 195)
    for raw in (
        longest,
        longest + " " * (code.SCAN_LENGTH_MAX - len(longest)),
        "9" * 4096,
        "9" * 4097,
        "ﷺ" * 300,
    ):
        assert_twins_agree(raw)

    assert len(_native.read_scan(longest)) == 195
    assert _native.read_scan("9" * 4097)[0].hint is Hint.WRONG_LENGTH
    assert _native.read_scan("ﷺ" * 300)[0].hint is Hint.WRONG_LENGTH


def test_a_hostile_text_costs_both_the_same_bounded_work() -> None:
    """Pins the bound on the search for lost separators: identifiers inside values inside values take 150,000
    steps to come to nothing; after the bound the text counts as ambiguous, not as malformed."""
    hostile = "]d20106924561884074" + "10" + "71071171271371471571671721" * 3 + "#"
    assert_twins_agree(hostile)
    for length in range(19, len(hostile), 3):
        assert_twins_agree(hostile[:length] + "#")

    assert code.read_scan(hostile)[0].code_class is CodeClass.AMBIGUOUS
    assert code.read_scan("]d20106924561884074" + "1071021#")[0].code_class is CodeClass.MALFORMED


def test_the_strategies_reach_every_class_hint_and_repair() -> None:
    """Pins that the agreement above is about all rules: 1,000 scans show each class, hint and repair."""
    seen: Counter[object] = Counter()

    @settings(max_examples=1000, deadline=None, database=None, derandomize=True)
    @given(st.one_of(scans(), urls()))
    def read(raw: str) -> None:
        for reading in _native.read_scan(raw):
            seen.update([reading.code_class, reading.hint, *reading.repairs])

    read()

    assert {*CodeClass, *Hint, *Repair} - {Repair.NONE} - set(seen) == set()
