"""The catalogue's files: products, institutions, holds and code replacements as CSV.

One row is one message of `tracecode.v1` and one column is one field of it, named as the field is. A
file is UTF-8, with or without a byte order mark; the first row names the columns, in any order; blank
rows are skipped. Flags are `true` or `false`, repeated values are joined with `;`, and a service
period is `2024-01-01..2026-12-31`, with nothing after the dots while it is open.

What a spreadsheet does to such a file unasked (another encoding, codes as numbers, lost zeros) is
named for what it is. This module knows files and values only: whether an identifier is known, or a
code was ever seen, is the ledger's to say.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tracecode.code import CodeClass, check_digit_holds, read_scan
from tracecode.errors import ImportInvalid
from tracecode.v1.catalogue_pb2 import CodeReplacement, Hold, HoldReason, Institution, Product, ServicePeriod

__all__ = [
    "check_code_replacement",
    "check_hold",
    "check_institution",
    "check_product",
    "list_columns",
    "read_code_replacements",
    "read_holds",
    "read_institutions",
    "read_products",
    "write_code_replacements",
    "write_holds",
    "write_institutions",
    "write_products",
]

# Wide enough for a product with 1,000 drug codes; a longer line is a file of another kind, or a
# quotation mark that was never closed, and is refused before it fills the memory.
LINE_BYTES_MAX: Final = 65_536
# The national interfaces allow names of 200 characters, approval numbers of 100, free text of 500.
NAME_CHARACTERS_MAX: Final = 200
APPROVAL_NUMBER_CHARACTERS_MAX: Final = 100
TEXT_CHARACTERS_MAX: Final = 500
# Numbers and ids that an institution or an authority makes: of the size of a document number.
ID_CHARACTERS_MAX: Final = 64
DRUG_CODES_MAX: Final = 1_000
# An agreement is renewed every year or two.
SERVICE_PERIODS_MAX: Final = 100
# Far above any carton and any jar, and low enough to catch a code that slipped into the column.
UNITS_MAX: Final = 1_000_000

# The ledger's own remark; a file that could set it would make a guess look like the catalogue.
_NEVER_IMPORTED: Final = frozenset({"learned"})
_SEVEN_DIGITS: Final = re.compile(r"[0-9]{7}")
_FOURTEEN_DIGITS: Final = re.compile(r"[0-9]{14}")
_SIX_DIGITS: Final = re.compile(r"[0-9]{6}")
_INSTITUTION_CODE: Final = re.compile(r"[A-Z][0-9]{11}")
# Western drugs have 23 characters, Chinese patent medicines 20: the shapes of every code in the
# published NHSA directory (5,475 and 8,263 of them).
_WESTERN_DRUG_CODE: Final = re.compile(r"X[A-V][0-9]{2}[A-Z]{2}[A-Z][0-9]{3}[A-Z][0-9]{3}[0-9]{9}")
_PATENT_DRUG_CODE: Final = re.compile(r"Z[A-Z][0-9]{2}[A-Z]{2}[A-Z][0-9]{13}")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SCIENTIFIC: Final = re.compile(r"[0-9]+([.,][0-9]+)?[Ee]\+?[0-9]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_LEAD_OF_CODE: Final = re.compile(r"[='\"\s]")
_FLAGS: Final = {"true": True, "false": False, "1": True, "0": False, "": False}
_CODE_CLASSES: Final = frozenset({CodeClass.TWENTY_DIGIT, CodeClass.GS1, CodeClass.ENTERPRISE})
# What a file of another kind begins with, and what to do about it.
_FOREIGN_HEADS: Final = (
    (b"PK\x03\x04", "an Excel workbook, not CSV; save it as 'CSV UTF-8 (comma delimited)'"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook, not CSV; save it as 'CSV UTF-8 (comma delimited)'"),
    (b"\x1f\x8b", "compressed; unpack it first (gunzip)"),
    (b"\xff\xfe", "UTF-16, not UTF-8; save it as 'CSV UTF-8 (comma delimited)'"),
    (b"\xfe\xff", "UTF-16, not UTF-8; save it as 'CSV UTF-8 (comma delimited)'"),
)

M = TypeVar("M", bound=Message)


def read_products(path: Path) -> Iterator[Product]:
    """The products of a CSV file, each checked, one at a time.

    Raises ImportInvalid with the row (the header is row 1) and the field, OSError if there is no such
    file. Rows before a bad one have been given out by then: read a file to its end before you keep
    any of it.
    """
    return _read(path, Product, check_product, "identifier")


def read_institutions(path: Path) -> Iterator[Institution]:
    """The institutions of a CSV file; as `read_products`."""
    return _read(path, Institution, check_institution, "institution_code")


def read_holds(path: Path) -> Iterator[Hold]:
    """The holds of a CSV file; as `read_products`. Reasons are RECALL, INVESTIGATION, DEACTIVATED."""
    return _read(path, Hold, check_hold, "hold_id")


def read_code_replacements(path: Path) -> Iterator[CodeReplacement]:
    """The code replacements of a CSV file; as `read_products`. A circle of replacements is refused."""
    successors: dict[str, str] = {}

    def check(replacement: CodeReplacement) -> None:
        check_code_replacement(replacement)
        successors[replacement.old_code] = replacement.new_code
        code = replacement.new_code
        while code in successors:
            code = successors[code]
            if code == replacement.new_code:
                raise ImportInvalid(
                    0,
                    "new_code",
                    f"{replacement.new_code!r} is itself replaced, in the end by the same code: "
                    "a circle; remove the row that is wrong",
                )

    return _read(path, CodeReplacement, check, "old_code")


def write_products(path: Path, products: Iterable[Product]) -> int:
    """Write products as a CSV file that `read_products` takes; returns how many.

    Raises ImportInvalid with the row for a value that could not be read back.
    """
    return _write(path, Product, products, check_product)


def write_institutions(path: Path, institutions: Iterable[Institution]) -> int:
    """Write institutions as a CSV file; as `write_products`."""
    return _write(path, Institution, institutions, check_institution)


def write_holds(path: Path, holds: Iterable[Hold]) -> int:
    """Write holds as a CSV file; as `write_products`."""
    return _write(path, Hold, holds, check_hold)


def write_code_replacements(path: Path, replacements: Iterable[CodeReplacement]) -> int:
    """Write code replacements as a CSV file; as `write_products`."""
    return _write(path, CodeReplacement, replacements, check_code_replacement)


def list_columns(message: type[Message]) -> list[str]:
    """The column names of a CSV file of this message's rows, in the order in which we write them."""
    return [field.name for field in _find_fields(message)]


# --- what one row must be -----------------------------------------------------------------------


def check_product(product: Product) -> None:
    """Raise ImportInvalid (row 0) naming the first field of a product that cannot be used."""
    _check_identifier("identifier", product.identifier)
    if product.package_level not in (1, 2, 3):
        raise _invalid(
            "package_level",
            f"{product.package_level} is no package level; 1 is the smallest sales unit 小码, 2 中码, 3 大码",
        )
    _check_text("name", product.name, NAME_CHARACTERS_MAX)
    _check_text("manufacturer_name", product.manufacturer_name, NAME_CHARACTERS_MAX)
    _check_text("strength", product.strength, NAME_CHARACTERS_MAX)
    _check_text("pack", product.pack, NAME_CHARACTERS_MAX)
    _check_text("approval_number", product.approval_number, APPROVAL_NUMBER_CHARACTERS_MAX)
    if len(product.drug_codes) > DRUG_CODES_MAX:
        raise _invalid(
            "drug_codes", f"{len(product.drug_codes)} codes; at most {DRUG_CODES_MAX:,} for one product"
        )
    for drug_code in product.drug_codes:
        _check_drug_code("drug_codes", drug_code)
    if len(set(product.drug_codes)) < len(product.drug_codes):
        raise _invalid("drug_codes", "one drug code stands there twice; remove one of the two")
    _check_units("units_per_package", product.units_per_package, 1, "1 for an item, more for a carton")
    _check_units("splittable_units", product.splittable_units, 0, "0 or 1 if it is not splittable")
    if product.item_identifier:
        if product.package_level == 1:
            raise _invalid("item_identifier", "an item (package level 1) holds no other item; leave it empty")
        _check_identifier("item_identifier", product.item_identifier)
        if product.item_identifier == product.identifier:
            raise _invalid(
                "item_identifier",
                f"{product.identifier} cannot hold itself; each package level has an identifier of its own",
            )


def check_institution(institution: Institution) -> None:
    """Raise ImportInvalid (row 0) naming the first field of an institution that cannot be used."""
    code = institution.institution_code
    if not _INSTITUTION_CODE.fullmatch(code):
        raise _invalid(
            "institution_code", _describe(code, "one capital letter and 11 digits, such as P37020304446")
        )
    _check_text("name", institution.name, NAME_CHARACTERS_MAX)
    if not _SIX_DIGITS.fullmatch(institution.division_code):
        raise _invalid(
            "division_code",
            _describe(
                institution.division_code, "the 6 digits of an administrative division, such as 370203"
            ),
        )
    _check_text("group_code", institution.group_code, ID_CHARACTERS_MAX)
    if len(institution.service_periods) > SERVICE_PERIODS_MAX:
        raise _invalid(
            "service_periods",
            f"{len(institution.service_periods)} periods; at most {SERVICE_PERIODS_MAX} for one institution",
        )
    for period in institution.service_periods:
        if not period.start_date:
            raise _invalid(
                "service_periods", "a period has no first day; write 2024-01-01.. or 2024-01-01..2026-12-31"
            )
        _check_period("service_periods", "service_periods", period.start_date, period.end_date)


def check_hold(hold: Hold) -> None:
    """Raise ImportInvalid (row 0) naming the first field of a hold that cannot be used."""
    if not hold.hold_id:
        raise _invalid("hold_id", "is empty; give the hold an id of its own, so that it can be changed later")
    _check_text("hold_id", hold.hold_id, ID_CHARACTERS_MAX)
    if hold.reason == HoldReason.HOLD_REASON_UNSPECIFIED or hold.reason not in HoldReason.values():
        raise _invalid("reason", f"is missing or unknown; give one of {', '.join(_list_reasons())}")
    if hold.code and (hold.identifier or hold.lot_number):
        raise _invalid(
            "code", "a hold is on a code, or on a lot of an identifier, not both; make two rows of it"
        )
    if hold.code:
        _check_code("code", hold.code)
    else:
        if not hold.identifier:
            raise _invalid(
                "code", "is empty, and so is identifier; give a code, or identifier and lot_number"
            )
        _check_identifier("identifier", hold.identifier)
        if not hold.lot_number:
            raise _invalid(
                "lot_number", "is empty; a hold on an identifier names the lot 生产批号 it is about"
            )
        _check_text("lot_number", hold.lot_number, ID_CHARACTERS_MAX)
    _check_period("start_date", "end_date", hold.start_date, hold.end_date)
    _check_text("authority", hold.authority, TEXT_CHARACTERS_MAX)


def check_code_replacement(replacement: CodeReplacement) -> None:
    """Raise ImportInvalid (row 0) naming the first field of a replacement that cannot be used."""
    _check_code("old_code", replacement.old_code)
    _check_code("new_code", replacement.new_code)
    if replacement.old_code == replacement.new_code:
        raise _invalid("new_code", "is the old code; a code cannot replace itself")


def _invalid(field: str, message: str) -> ImportInvalid:
    return ImportInvalid(0, field, message)


def _describe(value: str, wanted: str) -> str:
    """What is wrong with a code-like value, in one sentence with the remedy."""
    if not value:
        return f"is empty; it must be {wanted}"
    shown = repr(value if len(value) <= 60 else value[:60] + "…")
    if _SCIENTIFIC.fullmatch(value):
        return (
            f"{shown} is what a spreadsheet makes of a long code, and its digits are lost; "
            "format the column as text, paste the codes again and export again"
        )
    if _LEAD_OF_CODE.match(value):
        return f"{shown} begins with {value[0]!r}; write the bare code: {wanted}"
    if value != value.strip():
        return f"{shown} ends in a blank; write the bare code: {wanted}"
    return f"{shown} is not {wanted}"


def _check_identifier(field: str, value: str) -> None:
    if _SEVEN_DIGITS.fullmatch(value):
        return
    if _FOURTEEN_DIGITS.fullmatch(value):
        if not check_digit_holds(value):
            digit = next(digit for digit in "0123456789" if check_digit_holds(value[:13] + digit))
            raise _invalid(
                field,
                f"the check digit of GTIN {value} would be {digit}, not {value[13]}: a digit is wrong; "
                "compare it with the pack",
            )
        return
    if value.isdecimal() and value.isascii():
        if 8 <= len(value) <= 13 and check_digit_holds(value):
            raise _invalid(
                field,
                f"{value!r} is a GTIN of {len(value)} digits; write it with 14, zeros in front: {value:0>14}",
            )
        if len(value) == 20:
            raise _invalid(field, f"{value!r} is a whole traceability code; its identifier is {value[:7]}")
    raise _invalid(field, _describe(value, "7 digits (药品标识码) or a GTIN of 14 digits"))


def _check_code(field: str, value: str) -> None:
    wanted = "one traceability code: 20 digits, (01)…(21)…, or an enterprise's own"
    if _SCIENTIFIC.fullmatch(value) or _LEAD_OF_CODE.match(value):
        raise _invalid(field, _describe(value, wanted))
    readings = read_scan(value)
    if len(readings) > 1 or readings[0].code_class not in _CODE_CLASSES:
        raise _invalid(field, _describe(value, wanted))


def _check_drug_code(field: str, value: str) -> None:
    if not (_WESTERN_DRUG_CODE.fullmatch(value) or _PATENT_DRUG_CODE.fullmatch(value)):
        wanted = (
            "an NHSA drug code: X and 22 characters, such as XJ01CAA040A001010102699, "
            "or Z and 19, such as ZA12HAY0555010100326"
        )
        raise _invalid(field, _describe(value, wanted))


def _check_text(field: str, value: str, characters_max: int) -> None:
    if len(value) > characters_max:
        raise _invalid(field, f"has {len(value)} characters; at most {characters_max} are kept")
    control = _CONTROL.search(value)
    if control:
        raise _invalid(
            field, f"holds the control character {control.group()!r} (a line break or the like); remove it"
        )


def _check_units(field: str, value: int, units_min: int, meaning: str) -> None:
    if not units_min <= value <= UNITS_MAX:
        raise _invalid(field, f"{value} is not between {units_min} and {UNITS_MAX:,}: {meaning}")


def _check_date(field: str, value: str) -> None:
    try:
        if not _DATE.fullmatch(value):
            raise ValueError
        date.fromisoformat(value)
    except ValueError:
        raise _invalid(field, f"{value!r} is no day of the calendar; write it as 2026-03-31") from None


def _check_period(start_field: str, end_field: str, start_date: str, end_date: str) -> None:
    """A period whose either end may be open."""
    if start_date:
        _check_date(start_field, start_date)
    if end_date:
        _check_date(end_field, end_date)
    if start_date and end_date and end_date < start_date:
        raise _invalid(end_field, f"{end_date} lies before {start_date}, the first day; exchange the two")


# --- rows and columns ---------------------------------------------------------------------------


def _find_fields(message: type[Message]) -> list[FieldDescriptor]:
    fields = cast(Sequence[FieldDescriptor], message.DESCRIPTOR.fields)
    return [field for field in fields if field.name not in _NEVER_IMPORTED]


def _list_reasons() -> list[str]:
    return [name.removeprefix("HOLD_REASON_") for name, number in HoldReason.items() if number]


def _read_flag(cell: str) -> bool:
    try:
        return _FLAGS[cell.strip().lower()]
    except KeyError:
        raise ValueError(f"{cell!r} is neither true nor false") from None


def _read_number(cell: str) -> int:
    text = cell.strip()
    if not text:
        return 0
    # A spreadsheet that took the column for amounts writes 24 as 24.0.
    whole = re.fullmatch(r"([0-9]{1,9})(\.0+)?", text)
    if not whole:
        raise ValueError(f"{cell[:60]!r} is not a whole number of at most 9 digits")
    return int(whole.group(1))


def _read_reason(cell: str) -> int:
    name = cell.strip().upper().removeprefix("HOLD_REASON_")
    if name not in _list_reasons():
        raise ValueError(f"{cell[:60]!r} is no reason; give one of {', '.join(_list_reasons())}")
    return HoldReason.Value(f"HOLD_REASON_{name}")


def _read_period(text: str) -> ServicePeriod:
    start_date, dots, end_date = text.partition("..")
    if not dots:
        raise ValueError(
            f"{text[:60]!r} is no period; write 2024-01-01..2026-12-31, or 2024-01-01.. while it is open"
        )
    return ServicePeriod(start_date=start_date.strip(), end_date=end_date.strip())


def _read_parts(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(";") if part.strip()]


def _choose_reader(field: FieldDescriptor) -> Callable[[str], Any]:
    """What makes a field's value of a cell; it raises ValueError with the sentence to show."""
    if field.message_type is not None:
        return lambda cell: [_read_period(part) for part in _read_parts(cell)]
    if field.is_repeated:
        return _read_parts
    if field.enum_type is not None:
        return _read_reason
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _read_flag
    if field.type == FieldDescriptor.TYPE_UINT32:
        return _read_number
    return str.strip


def _write_cell(field: FieldDescriptor, value: Any) -> str:
    if field.message_type is not None:
        return ";".join(f"{period.start_date}..{period.end_date}" for period in value)
    if field.is_repeated:
        return ";".join(value)
    if field.enum_type is not None:
        return HoldReason.Name(value).removeprefix("HOLD_REASON_")
    if field.type == FieldDescriptor.TYPE_BOOL:
        return "true" if value else "false"
    return str(value)


def _read(path: Path, message: type[M], check: Callable[[M], None], key: str) -> Iterator[M]:
    rows = _read_rows(path)
    header = next(rows, None)
    if header is None:
        raise ImportInvalid(
            0, "", f"the file is empty; its first row must be {','.join(list_columns(message))}"
        )
    columns = _read_header(header[0], header[1], message)
    key_rows: dict[str, int] = {}
    for row, cells in rows:
        # A spreadsheet pads every row alike, the header too; one row that is longer alone is shifted.
        if len(cells) > len(header[1]) or any(cells[len(columns) :]):
            raise ImportInvalid(
                row,
                "",
                f"has {len(cells)} cells, the header {len(header[1])}: a comma inside a text, "
                'perhaps; put that text between " and "',
            )
        if len(cells) < len(columns):
            raise ImportInvalid(
                row,
                columns[len(cells)][0],
                f"is missing: the row ends after {len(cells)} of {len(columns)} cells",
            )
        values = {}
        for (name, read), cell in zip(columns, cells, strict=False):
            try:
                values[name] = read(cell)
            except ValueError as error:
                raise ImportInvalid(row, name, str(error)) from None
        record = message(**values)
        try:
            check(record)
        except ImportInvalid as error:
            raise ImportInvalid(row, error.field, error.message) from None
        first_row = key_rows.setdefault(values[key], row)
        if first_row != row:
            raise ImportInvalid(
                row, key, f"{values[key]!r} stands in row {first_row} already; keep the row that is right"
            )
        yield record


def _read_header(
    row: int, cells: list[str], message: type[Message]
) -> list[tuple[str, Callable[[str], Any]]]:
    """The columns of a file in its own order, each with what reads its cells."""
    readers = {field.name: _choose_reader(field) for field in _find_fields(message)}
    names = [cell.strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    for separator, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(names) == 1 and names[0].count(separator) > len(readers) // 2:
            raise ImportInvalid(row, "", f"the columns are separated by {word}; separate them by commas")
    unknown = [name for name in names if name not in readers]
    missing = [name for name in readers if name not in names]
    twice = sorted({name for name in names if names.count(name) > 1} - set(unknown))
    faults = []
    if unknown:
        shown = []
        for name in unknown[:10]:
            close = difflib.get_close_matches(name, missing, 1)
            shown.append(f"{name[:60]!r}" + (f" (meant as {close[0]}?)" if close else ""))
        faults.append(f"unknown columns: {', '.join(shown)}" + (" …" if len(unknown) > 10 else ""))
    if missing:
        faults.append(f"missing columns: {', '.join(missing)}")
    if twice:
        faults.append(f"columns named twice: {', '.join(twice)}")
    if faults:
        raise ImportInvalid(row, "", f"{'; '.join(faults)}. The first row must name {','.join(readers)}")
    return [(name, readers[name]) for name in names]


def _read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a file that hold anything, numbered as a spreadsheet numbers them."""
    row = 0
    # csv asks for a line only when it needs one, so a line that fails belongs to the row after the last.
    reader = csv.reader(_read_lines(path), strict=True)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ImportInvalid(
                row + 1, "", f'cannot be split into cells ({error}); a " inside a text is written twice: ""'
            ) from None
        except ImportInvalid as error:
            raise ImportInvalid(row + 1, error.field, error.message) from None
        row += 1
        if any(cell.strip() for cell in cells):
            yield row, cells


def _read_lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        head = file.read(4)
        for mark, kind in _FOREIGN_HEADS:
            if head.startswith(mark):
                raise ImportInvalid(0, "", f"the file is {kind}")
        file.seek(3 if head.startswith(b"\xef\xbb\xbf") else 0)
        while line := file.readline(LINE_BYTES_MAX + 1):
            if len(line) > LINE_BYTES_MAX:
                raise ImportInvalid(
                    0, "", f"is longer than {LINE_BYTES_MAX:,} bytes; is this the right file, one row a line?"
                )
            if b"\0" in line:
                raise ImportInvalid(
                    0, "", "holds a NUL byte; the file is damaged or no text, save it again as 'CSV UTF-8'"
                )
            yield _decode(line)


def _decode(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        place = error.start + 1
    try:
        line.decode("gb18030")
    except UnicodeDecodeError:
        raise ImportInvalid(0, "", f"is not UTF-8 at byte {place}; save the file as 'CSV UTF-8'") from None
    raise ImportInvalid(
        0,
        "",
        f"is not UTF-8 at byte {place} but reads as GBK; save the file as 'CSV UTF-8 (comma delimited)', "
        "or run: iconv -f GB18030 -t UTF-8",
    )


def _write(path: Path, message: type[M], records: Iterable[M], check: Callable[[M], None]) -> int:
    fields = _find_fields(message)
    row = 1
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(list_columns(message))
        for record in records:
            row += 1
            try:
                check(record)
            except ImportInvalid as error:
                raise ImportInvalid(row, error.field, error.message) from None
            writer.writerow([_write_cell(field, getattr(cast(Any, record), field.name)) for field in fields])
    return row - 1
