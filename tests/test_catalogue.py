"""The catalogue's files: what is read, what is refused, and the sentence that says why."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from tracecode import catalogue
from tracecode.errors import ImportInvalid
from tracecode.v1.catalogue_pb2 import CodeReplacement, Hold, HoldReason, Institution, Product, ServicePeriod

PRODUCT = {
    "identifier": "8206233",
    "package_level": "1",
    "name": "阿莫西林胶囊",
    "manufacturer_name": "某某制药有限公司",
    "strength": "0.25g",
    "pack": "0.25g×24",
    "approval_number": "国药准字H20000001",
    "drug_codes": "XJ01CAA040A001010102699;ZA12HAY0555010100326",
    "units_per_package": "1",
    "splittable_units": "24",
    "smallest_unit": "true",
    "item_identifier": "",
}
INSTITUTION = {
    "institution_code": "P37020304446",
    "name": "示范大药房",
    "division_code": "370203",
    "group_code": "G1",
    "uploads_receipt_codes": "true",
    "service_periods": "2024-01-01..2026-12-31;2027-01-01..",
}
HOLD = {
    "hold_id": "R-2026-1",
    "reason": "RECALL",
    "code": "",
    "identifier": "8206233",
    "lot_number": "A240101",
    "start_date": "2026-03-01",
    "end_date": "",
    "authority": "省药监局召回通告 2026 年第 1 号",
}
REPLACEMENT = {"old_code": "82062330000001311234", "new_code": "82062330000001325678"}

Row = dict[str, str]
Read = Callable[[Path], Iterator[Any]]
READERS: dict[str, tuple[Read, Row]] = {
    "products": (catalogue.read_products, PRODUCT),
    "institutions": (catalogue.read_institutions, INSTITUTION),
    "holds": (catalogue.read_holds, HOLD),
    "code_replacements": (catalogue.read_code_replacements, REPLACEMENT),
}


def write_rows(path: Path, *rows: Row) -> Path:
    """A file of these rows, quoted where a cell needs it."""
    lines = [",".join(rows[0])]
    for row in rows:
        lines.append(",".join(f'"{cell}"' if "," in cell or "\n" in cell else cell for cell in row.values()))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read_error(read: Read, path: Path) -> ImportInvalid:
    """The error that reading this file to its end raises."""
    with pytest.raises(ImportInvalid) as caught:
        list(read(path))
    return caught.value


def test_a_row_becomes_the_message_it_names(tmp_path: Path) -> None:
    """Pins every column of every file: text, number, flag, reason, repeated value and period."""
    read = {
        noun: list(reader(write_rows(tmp_path / f"{noun}.csv", row)))
        for noun, (reader, row) in READERS.items()
    }

    assert read["products"] == [
        Product(
            identifier="8206233",
            package_level=1,
            name="阿莫西林胶囊",
            manufacturer_name="某某制药有限公司",
            strength="0.25g",
            pack="0.25g×24",
            approval_number="国药准字H20000001",
            drug_codes=["XJ01CAA040A001010102699", "ZA12HAY0555010100326"],
            units_per_package=1,
            splittable_units=24,
            smallest_unit=True,
        )
    ]
    assert read["institutions"] == [
        Institution(
            institution_code="P37020304446",
            name="示范大药房",
            division_code="370203",
            group_code="G1",
            uploads_receipt_codes=True,
            service_periods=[
                ServicePeriod(start_date="2024-01-01", end_date="2026-12-31"),
                ServicePeriod(start_date="2027-01-01"),
            ],
        )
    ]
    assert read["holds"] == [
        Hold(
            hold_id="R-2026-1",
            reason=HoldReason.HOLD_REASON_RECALL,
            identifier="8206233",
            lot_number="A240101",
            start_date="2026-03-01",
            authority="省药监局召回通告 2026 年第 1 号",
        )
    ]
    assert read["code_replacements"] == [CodeReplacement(**REPLACEMENT)]


def test_the_columns_are_the_fields_of_the_contract() -> None:
    """Pins that a new field of the contract is a column at once, and that `learned` never is."""
    assert catalogue.list_columns(Product) == list(PRODUCT)
    assert catalogue.list_columns(Institution) == list(INSTITUTION)
    assert catalogue.list_columns(Hold) == list(HOLD)
    assert catalogue.list_columns(CodeReplacement) == list(REPLACEMENT)


SHAPES = {
    "a byte order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "lines that end as on Windows": lambda text: text.replace("\n", "\r\n").encode(),
    "no line end at the end": lambda text: text.rstrip("\n").encode(),
    "blank lines": lambda text: text.replace("\n", "\n\n \n,,\n").encode(),
    "empty cells a spreadsheet added": lambda text: text.replace("\n", ",,\n").encode(),
    "flags in capitals": lambda text: text.replace("true", "TRUE").encode(),
    "a number as an amount": lambda text: text.replace(",24,", ",24.0,").encode(),
    "blanks around the cells": lambda text: text.replace(",", " , ").encode(),
    "columns in another order": lambda text: "\n".join(
        ",".join(reversed(line.split(","))) for line in text.splitlines()
    ).encode(),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_file_may_have(shape: str, tmp_path: Path) -> None:
    """Pins the differences between programs that write CSV which change nothing of what is read."""
    plain = write_rows(tmp_path / "plain.csv", PRODUCT, PRODUCT | {"identifier": "8206234"})
    shaped = tmp_path / "shaped.csv"
    shaped.write_bytes(SHAPES[shape](plain.read_text(encoding="utf-8")))

    products = list(catalogue.read_products(shaped))

    assert len(products) == 2
    assert products == list(catalogue.read_products(plain))


# The file, what is changed in its row, the field the error must name, and what the sentence must say.
ROW_ERRORS = [
    ("products", {"identifier": ""}, "identifier", "is empty; it must be 7 digits"),
    ("products", {"identifier": "820623"}, "identifier", "'820623' is not 7 digits"),
    ("products", {"identifier": "８２０６２３３"}, "identifier", "is not 7 digits"),
    ("products", {"identifier": "82062330000001311234"}, "identifier", "its identifier is 8206233"),
    ("products", {"identifier": "06924561884075"}, "identifier", "would be 4, not 5"),
    ("products", {"identifier": "6924561884074"}, "identifier", "zeros in front: 06924561884074"),
    ("products", {"identifier": "8.20623E+06"}, "identifier", "format the column as text"),
    ("products", {"identifier": "'8206233"}, "identifier", 'begins with "\'"'),
    ("products", {"package_level": "4"}, "package_level", "4 is no package level; 1 is the smallest"),
    ("products", {"package_level": ""}, "package_level", "0 is no package level"),
    ("products", {"package_level": "one"}, "package_level", "'one' is not a whole number"),
    ("products", {"package_level": "-1"}, "package_level", "'-1' is not a whole number"),
    ("products", {"name": "药" * 201}, "name", "has 201 characters; at most 200"),
    ("products", {"name": "阿莫\n西林"}, "name", "control character '\\n'"),
    ("products", {"approval_number": "药" * 101}, "approval_number", "at most 100"),
    ("products", {"drug_codes": "XJ01CAA040A00101010269"}, "drug_codes", "is not an NHSA drug code"),
    ("products", {"drug_codes": "XW01CAA040A001010102699"}, "drug_codes", "is not an NHSA drug code"),
    ("products", {"drug_codes": "82062330000001311234"}, "drug_codes", "is not an NHSA drug code"),
    ("products", {"drug_codes": "ZA12HAY0555010100326;ZA12HAY0555010100326"}, "drug_codes", "twice"),
    ("products", {"units_per_package": "0"}, "units_per_package", "1 for an item"),
    ("products", {"units_per_package": "1000001"}, "units_per_package", "between 1 and 1,000,000"),
    ("products", {"splittable_units": "1.5"}, "splittable_units", "'1.5' is not a whole number"),
    ("products", {"splittable_units": "9999999999999999999999"}, "splittable_units", "at most 9 digits"),
    ("products", {"smallest_unit": "yes"}, "smallest_unit", "'yes' is neither true nor false"),
    ("products", {"item_identifier": "8206234"}, "item_identifier", "holds no other item; leave it empty"),
    ("products", {"package_level": "2", "item_identifier": "82"}, "item_identifier", "is not 7 digits"),
    ("products", {"package_level": "2", "item_identifier": "8206233"}, "item_identifier", "hold itself"),
    ("institutions", {"institution_code": "P3702030444"}, "institution_code", "such as P37020304446"),
    ("institutions", {"institution_code": "p37020304446"}, "institution_code", "one capital letter"),
    ("institutions", {"division_code": "37020"}, "division_code", "6 digits of an administrative"),
    ("institutions", {"group_code": "G" * 65}, "group_code", "at most 64"),
    ("institutions", {"service_periods": "2024-01-01"}, "service_periods", "is no period"),
    ("institutions", {"service_periods": "..2024-01-01"}, "service_periods", "has no first day"),
    ("institutions", {"service_periods": "2024-02-30.."}, "service_periods", "no day of the calendar"),
    ("institutions", {"service_periods": "2024-1-1.."}, "service_periods", "write it as 2026-03-31"),
    ("institutions", {"service_periods": "2024-02-01..2024-01-01"}, "service_periods", "lies before"),
    ("holds", {"hold_id": ""}, "hold_id", "give the hold an id of its own"),
    ("holds", {"reason": ""}, "reason", "RECALL, INVESTIGATION, DEACTIVATED"),
    ("holds", {"reason": "召回"}, "reason", "RECALL, INVESTIGATION, DEACTIVATED"),
    ("holds", {"code": "82062330000001311234"}, "code", "make two rows of it"),
    ("holds", {"identifier": "", "lot_number": ""}, "code", "give a code, or identifier and lot_number"),
    ("holds", {"lot_number": ""}, "lot_number", "names the lot"),
    ("holds", {"start_date": "2026/03/01"}, "start_date", "'2026/03/01' is no day"),
    ("holds", {"end_date": "2026-02-01"}, "end_date", "lies before 2026-03-01"),
    (
        "holds",
        {"identifier": "", "lot_number": "", "code": "8.20623E+19"},
        "code",
        "what a spreadsheet makes of a long code",
    ),
    ("code_replacements", {"old_code": "6924561884074"}, "old_code", "is not one traceability code"),
    ("code_replacements", {"old_code": "99999999999999999999"}, "old_code", "is not one traceability code"),
    (
        "code_replacements",
        {"old_code": "82062330000001311234;82062330000001325678"},
        "old_code",
        "is not one traceability code",
    ),
    ("code_replacements", {"new_code": ""}, "new_code", "is empty"),
    ("code_replacements", {"new_code": "82062330000001311234"}, "new_code", "cannot replace itself"),
]


@pytest.mark.parametrize(("noun", "change", "field", "sentence"), ROW_ERRORS)
def test_a_row_that_cannot_be_used_is_named_with_its_field(
    noun: str, change: Row, field: str, sentence: str, tmp_path: Path
) -> None:
    """Pins row, field and remedy of each thing that can be wrong with a row."""
    read, row = READERS[noun]
    key = next(iter(row))
    good = {"products": "8206999", "institutions": "P99999999999", "holds": "R-0", "code_replacements": ""}
    others = [row | {key: good[noun]}] if good[noun] else []
    path = write_rows(tmp_path / "rows.csv", *others, row | change)

    error = read_error(read, path)

    assert (error.row, error.field) == (2 + len(others), field)
    assert sentence in error.message
    assert str(error).startswith(f"row {error.row}, {field}: ")


FILE_ERRORS = [
    (b"", 0, "the file is empty; its first row must be identifier,package_level"),
    (b"\n\n\n", 0, "the file is empty"),
    (b"PK\x03\x04rest", 1, "an Excel workbook, not CSV; save it as 'CSV UTF-8"),
    (b"\xd0\xcf\x11\xe0rest", 1, "an Excel workbook"),
    (b"\x1f\x8brest", 1, "compressed; unpack it first"),
    ("identifier\n".encode("utf-16"), 1, "UTF-16, not UTF-8"),
    ("identifier\n".encode("utf-16-le"), 1, "NUL byte"),
    (b"identifier,name\n", 1, "missing columns: package_level, manufacturer_name"),
    (b"8206233,1,name\n", 1, "unknown columns: '8206233'"),
]


@pytest.mark.parametrize(("content", "row", "sentence"), FILE_ERRORS)
def test_a_file_that_is_no_catalogue_is_called_what_it_is(
    content: bytes, row: int, sentence: str, tmp_path: Path
) -> None:
    """Pins the sentence for each kind of wrong file, met before any row is read."""
    path = tmp_path / "products.csv"
    path.write_bytes(content)

    error = read_error(catalogue.read_products, path)

    assert error.row == row
    assert sentence in str(error)


HEADER = ",".join(PRODUCT)
HEADER_ERRORS = [
    (HEADER + ",price", "unknown columns: 'price'"),
    (HEADER + ",learned", "unknown columns: 'learned'"),
    (HEADER.replace("drug_codes", "drug_code"), "'drug_code' (meant as drug_codes?)"),
    (HEADER.replace("drug_codes", "drug_code"), "missing columns: drug_codes"),
    (HEADER + ",name", "columns named twice: name"),
    (HEADER.replace(",", ";"), "separated by semicolons; separate them by commas"),
    (HEADER.replace(",", "\t"), "separated by tabs"),
]


@pytest.mark.parametrize(("header", "sentence"), HEADER_ERRORS)
def test_a_column_unknown_missing_or_twice_is_named(header: str, sentence: str, tmp_path: Path) -> None:
    """Pins that a header is all right or refused with the columns at fault, never read by position."""
    path = tmp_path / "products.csv"
    path.write_text(f"{header}\n{','.join(PRODUCT.values())}\n", encoding="utf-8")

    error = read_error(catalogue.read_products, path)

    assert error.row == 1
    assert sentence in error.message


ROW = ",".join(PRODUCT.values())
LINE_ERRORS = [
    (ROW.encode("gbk", "replace"), "", "reads as GBK"),
    (ROW.encode() + b"\xff\xff\xff", "", "is not UTF-8 at byte"),
    (ROW.encode() + b"\0", "", "NUL byte"),
    (ROW.encode() + b" " * 70_000, "", "longer than 65,536 bytes"),
    (ROW.replace("阿莫西林胶囊", '"阿莫西林').encode(), "", "cannot be split into cells"),
    (ROW.replace("阿莫西林胶囊", '"阿"莫西林').encode(), "", "cannot be split into cells"),
    (ROW.replace("阿莫西林胶囊", "阿莫,西林").encode(), "", "13 cells, the header 12"),
    (b"8206233,1,name", "manufacturer_name", "the row ends after 3 of 12 cells"),
]


@pytest.mark.parametrize(("line", "field", "sentence"), LINE_ERRORS)
def test_a_line_that_cannot_be_read_is_named_with_its_row(
    line: bytes, field: str, sentence: str, tmp_path: Path
) -> None:
    """Pins the row of a damaged line, as a spreadsheet counts it: blank rows above it count."""
    path = tmp_path / "products.csv"
    good = ROW.replace("8206233", "8206234")
    path.write_bytes(f"{HEADER}\n\n{good}\n".encode() + line + b"\n")

    error = read_error(catalogue.read_products, path)

    assert (error.row, error.field) == (4, field)
    assert sentence in error.message


@pytest.mark.parametrize("noun", READERS)
def test_a_key_that_stands_twice_is_named_with_both_rows(noun: str, tmp_path: Path) -> None:
    """Pins that a file never says two things of one product, institution, hold or old code."""
    read, row = READERS[noun]

    error = read_error(read, write_rows(tmp_path / "rows.csv", row, row))

    assert (error.row, error.field) == (3, next(iter(row)))
    assert "stands in row 2 already" in error.message


def test_codes_that_replace_each_other_in_a_circle_are_refused(tmp_path: Path) -> None:
    """Pins that following replacements always comes to an end, whatever the order of the rows."""
    codes = [f"8206233000000{number}1234" for number in (131, 132, 133)]
    rows = [{"old_code": old, "new_code": new} for old, new in zip(codes, codes[1:] + codes[:1], strict=True)]

    assert len(list(catalogue.read_code_replacements(write_rows(tmp_path / "chain.csv", *rows[:2])))) == 2
    error = read_error(catalogue.read_code_replacements, write_rows(tmp_path / "circle.csv", *rows))

    assert (error.row, error.field) == (4, "new_code")
    assert "circle" in error.message


def test_a_file_that_is_not_there_is_the_systems_error(tmp_path: Path) -> None:
    """Pins that a wrong path is told apart from a wrong file."""
    with pytest.raises(FileNotFoundError):
        list(catalogue.read_products(tmp_path / "none.csv"))


@given(
    st.lists(strategies.products(), max_size=4, unique_by=lambda product: product.identifier),
    st.lists(
        strategies.institutions(), max_size=4, unique_by=lambda institution: institution.institution_code
    ),
    st.lists(strategies.holds(), max_size=4, unique_by=lambda hold: hold.hold_id),
)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    products: list[Product],
    institutions: list[Institution],
    holds: list[Hold],
) -> None:
    """Pins that writing loses nothing: quotation marks, commas, semicolons, characters of any plane."""
    folder = tmp_path_factory.mktemp("catalogue")

    assert catalogue.write_products(folder / "products.csv", products) == len(products)
    assert catalogue.write_institutions(folder / "institutions.csv", institutions) == len(institutions)
    assert catalogue.write_holds(folder / "holds.csv", holds) == len(holds)

    assert list(catalogue.read_products(folder / "products.csv")) == products
    assert list(catalogue.read_institutions(folder / "institutions.csv")) == institutions
    assert list(catalogue.read_holds(folder / "holds.csv")) == holds


def test_what_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    """Pins that a writer meets the same checks as a reader, with the row the value would have had."""
    products = [
        Product(identifier="8206233", package_level=1, units_per_package=1),
        Product(identifier="8206234", package_level=1, units_per_package=1, name="two\nlines"),
    ]

    with pytest.raises(ImportInvalid, match=re.escape("row 3, name: ")):
        catalogue.write_products(tmp_path / "products.csv", products)


@pytest.mark.parametrize("garbage", [st.binary(max_size=400), st.text(max_size=400).map(str.encode)])
def test_garbage_is_refused_in_words(garbage: st.SearchStrategy[bytes], tmp_path: Path) -> None:
    """Pins that no bytes whatever, below a right header or alone, raise anything but ImportInvalid."""
    path = tmp_path / "products.csv"

    @given(garbage, st.booleans())
    def read(content: bytes, headed: bool) -> None:
        path.write_bytes((HEADER.encode() + b"\n" if headed else b"") + content)
        refused = ""
        products: list[Product] = []
        try:
            products = list(catalogue.read_products(path))
        except ImportInvalid as error:
            refused = error.message
        assert products == []
        assert refused or headed

    read()
