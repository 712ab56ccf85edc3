"""The trade that is measured: products, institutions, receipts of all codes, and sales of random ones.

Document r of the receipts brings the codes 1000 r to 1000 r + 999 to one institution, fifty of one product on
a line; a sale takes three random codes that its institution received, one on a line.

Documents are made by the thousand: protobuf writes one of each form, and only digits of fixed width are
replaced in it. tests/test_benchmarks.py compares what comes out with what protobuf writes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from benchmarks.codes import (
    CODES_PER_LINE,
    IDENTIFIERS,
    PRODUCTS,
    Numbers,
    Octets,
    list_codes,
    products_of,
    scatter,
    write_codes,
    write_digits,
)
from tracecode.engine.contract import Engine, Recorded, Submissions
from tracecode.errors import DocumentRejected, Overloaded
from tracecode.v1 import catalogue_pb2, document_pb2, finding_pb2, ledger_service_pb2

NS: Final = 1_000_000_000
INSTITUTIONS_MAX: Final = 500
CODES_PER_RECEIPT: Final = 1_000
LINES_PER_SALE: Final = 3
EXPIRY: Final = "2035-12-31"
RECEIVED_SECONDS_AGO: Final = 86_400

DRUG_CODES: Final = [f"XJ01CAA040E001{i:09d}" for i in range(PRODUCTS)]
_DRUG_CODE_OCTETS: Final[Octets] = np.array([list(text.encode()) for text in DRUG_CODES], np.uint8)


# --- documents ----------------------------------------------------------------------------------


class Form:
    """A document as protobuf writes it, in which fields of fixed width are written over."""

    def __init__(self, sample: document_pb2.Document, fields: dict[str, str]) -> None:
        """`fields` says what stands in the sample for each field: text that occurs once in it."""
        self._octets = np.frombuffer(sample.SerializeToString(deterministic=True), np.uint8)
        written = self._octets.tobytes()
        self._places: dict[str, slice] = {}
        for name, text in fields.items():
            assert written.count(text.encode()) == 1, f"{name} is not found once in the sample"
            at = written.index(text.encode())
            self._places[name] = slice(at, at + len(text.encode()))
        # Seconds of this century take five octets as a varint.
        time_at = written.index(b"\x1a\x06\x08") + 3
        self._places["time"] = slice(time_at, time_at + 5)

    def write(self, count: int, values: dict[str, Octets], seconds: Numbers) -> list[bytes]:
        """`count` documents; `values` has one row of octets for each of them, by field."""
        rows = np.tile(self._octets, (count, 1))
        for name, octets in values.items():
            rows[:, self._places[name]] = octets
        shifted = seconds[:, None] >> np.arange(0, 35, 7)
        rows[:, self._places["time"]] = (shifted & 0x7F) | np.array([128, 128, 128, 128, 0])
        size, text = len(self._octets), rows.tobytes()
        return [text[at : at + size] for at in range(0, len(text), size)]


def _sale_form(*, lots: bool, prescription: bool, number: str = "XS") -> tuple[Form, dict[str, str]]:
    """A reported sale of three lines. A till that has no scanner for lots leaves lot and expiry out."""
    fields = {"institution": "P00000000001", "number": number + "0000000002", "settlement": "0" * 17 + "3"}
    fields |= {"visit": "MZ000000000004", "person": "f" * 31 + "5", "fee": "FE00000000000006"}
    lines = []
    for i in range(LINES_PER_SALE):
        fields |= {f"drug{i}": f"XJ99CAA040E00100000002{i}", f"code{i}": f"{10**19 + i}"}
        line = document_pb2.Line(
            line_number=i + 1, drug_code=fields[f"drug{i}"], codes=[fields[f"code{i}"]], quantity="1"
        )
        if lots:
            fields[f"lot{i}"] = f"1000001{i}"
            line.lot_number, line.expiry_date = fields[f"lot{i}"], EXPIRY
        if prescription:
            line.prescription, line.unit_price = True, "23.80"
            line.institution_drug_name = "阿莫西林胶囊"
        lines.append(line)
    lines[0].fee_detail_number = fields["fee"]
    sale = document_pb2.Sale(
        stage=document_pb2.SALE_STAGE_REPORTED,
        settlement_id=fields["settlement"],
        visit_number=fields["visit"],
        settlement_type=document_pb2.SETTLEMENT_TYPE_INSURED,
        person_token=fields["person"],
        person_certificate_type="01",
    )
    sample = document_pb2.Document(
        institution_code=fields["institution"],
        document_number=fields["number"],
        business_time=Timestamp(seconds=1_700_000_000),
        lines=lines,
        terminal_id="POS-01",
        sale=sale,
    )
    return Form(sample, fields), fields


def _receipt_form() -> Form:
    fields = {"institution": "P00000000001", "number": "RK0000000002"}
    lines = []
    for i in range(CODES_PER_RECEIPT // CODES_PER_LINE):
        codes = [f"{10**19 + CODES_PER_LINE * i + j}" for j in range(CODES_PER_LINE)]
        fields |= {f"code{CODES_PER_LINE * i + j}": code for j, code in enumerate(codes)}
        fields |= {f"drug{i}": f"XJ99CAA040E0010000003{i:02d}", f"lot{i}": f"100001{i:02d}"}
        lines.append(
            document_pb2.Line(
                line_number=i + 1,
                drug_code=fields[f"drug{i}"],
                codes=codes,
                quantity=str(CODES_PER_LINE),
                lot_number=fields[f"lot{i}"],
                manufacture_date="2024-01-05",
                expiry_date=EXPIRY,
            )
        )
    sample = document_pb2.Document(
        institution_code=fields["institution"],
        document_number=fields["number"],
        business_time=Timestamp(seconds=1_700_000_000),
        lines=lines,
        receipt=document_pb2.Receipt(supplier_name="国药控股", delivery_note_number="SHD-2026"),
    )
    return Form(sample, fields)


_RECEIPT: Final = _receipt_form()
_SALES: Final = [
    _sale_form(lots=lots, prescription=prescription)[0]
    for lots in (True, False)
    for prescription in (True, False)
]
_LOTS: Final = (True, True, False, False)
# A document number in Chinese is in order, but native clearing leaves it to the rules.
_UNCLEARED: Final = [
    _sale_form(lots=lots, prescription=prescription, number="销售")[0]
    for lots in (True, False)
    for prescription in (True, False)
]


@dataclass(frozen=True, slots=True)
class Workload:
    """A trade of so many codes, all received; a whole number of receipts for every institution."""

    codes: int
    received_time: int
    """Seconds since 1970 UTC at which all goods came in."""

    @classmethod
    def of(cls, codes: int) -> Workload:
        """The trade of so many codes that came in a day ago."""
        return cls(codes, int(time.time()) - RECEIVED_SECONDS_AGO)

    @property
    def institutions(self) -> int:
        """How many institutions share the codes."""
        return min(INSTITUTIONS_MAX, self.codes // CODES_PER_RECEIPT)

    @property
    def codes_per_institution(self) -> int:
        """Codes that each of them received."""
        return self.codes // self.institutions

    @property
    def sales_max(self) -> int:
        """Sale documents there are codes for."""
        return self.institutions * (self.codes_per_institution // LINES_PER_SALE)

    def __post_init__(self) -> None:
        if self.codes % (CODES_PER_RECEIPT * self.institutions):
            raise ValueError(
                f"{self.codes} codes do not make whole receipts for {self.institutions} institutions"
            )

    def list_products(self) -> list[catalogue_pb2.Product]:
        """The catalogue."""
        return [
            catalogue_pb2.Product(
                identifier=identifier,
                package_level=1,
                name="阿莫西林胶囊",
                manufacturer_name="甲厂",
                strength="0.25g",
                pack="0.25g×24",
                drug_codes=[drug_code],
                units_per_package=1,
                splittable_units=24,
            )
            for identifier, drug_code in zip(IDENTIFIERS, DRUG_CODES, strict=True)
        ]

    def list_institutions(self) -> list[catalogue_pb2.Institution]:
        """The register; all of them upload what they receive."""
        return [
            catalogue_pb2.Institution(
                institution_code=name_institution(i),
                name=f"药店{i}",
                division_code="310101",
                uploads_receipt_codes=True,
            )
            for i in range(self.institutions)
        ]

    def receipts(self, first: int = 0, count: int | None = None) -> Iterator[list[bytes]]:
        """The documents by which the codes came in, a hundred at a time; past the last, new codes."""
        end = self.codes // CODES_PER_RECEIPT if count is None else first + count
        for begin in range(first, end, 100):
            yield self._receipts(np.arange(begin, min(begin + 100, end), dtype=np.int64))

    def _receipts(self, documents: Numbers) -> list[bytes]:
        numbers = documents[:, None] * CODES_PER_RECEIPT + np.arange(CODES_PER_RECEIPT)
        codes = write_codes(numbers)
        on_lines = numbers[:, ::CODES_PER_LINE]
        drugs, lots = _DRUG_CODE_OCTETS[products_of(on_lines)], write_lots(on_lines)
        values = {"institution": write_institutions(documents % self.institutions)}
        values["number"] = write_numbers(b"RK", documents, 10)
        values |= {f"code{i}": codes[:, i] for i in range(CODES_PER_RECEIPT)}
        values |= {f"drug{i}": drugs[:, i] for i in range(drugs.shape[1])}
        values |= {f"lot{i}": lots[:, i] for i in range(drugs.shape[1])}
        return _RECEIPT.write(len(documents), values, np.full(len(documents), self.received_time))

    def sold_codes(self, documents: Numbers) -> tuple[Numbers, Numbers]:
        """For each sale its institution, and the numbers of the three codes that it sells."""
        places = documents % self.institutions
        institutions = (places * 379 + 11) % self.institutions
        sold = (documents // self.institutions)[:, None] * LINES_PER_SALE + np.arange(LINES_PER_SALE)
        # A permutation of what the institution received: 7919 is prime and divides no such number here.
        own = (sold * 7919 + 101) % self.codes_per_institution
        receipts = institutions[:, None] + self.institutions * (own // CODES_PER_RECEIPT)
        return institutions, receipts * CODES_PER_RECEIPT + own % CODES_PER_RECEIPT

    def sales(self, first: int, count: int, now: int, *, plain: bool = True) -> list[bytes]:
        """Sale documents `first` .. `first + count - 1`, of the hour before `now`. One that is not plain is
        in order all the same, but native code cannot clear it.

        Raises ValueError when there are no more codes to sell.
        """
        if first + count > self.sales_max:
            raise ValueError(f"{self.codes} codes make {self.sales_max} sales, not {first + count}")
        documents: list[bytes] = [b""] * count
        for begin in range(0, count, 400_000):
            some = min(400_000, count - begin)
            for kind, form in enumerate(_SALES if plain else _UNCLEARED):
                ids = np.arange(first + begin + kind, first + begin + some, len(_SALES), dtype=np.int64)
                at = slice(begin + kind, begin + some, len(_SALES))
                documents[at] = self._sales(form, ids, now, lots=_LOTS[kind], plain=plain)
        return documents

    def _sales(self, form: Form, documents: Numbers, now: int, *, lots: bool, plain: bool) -> list[bytes]:
        institutions, numbers = self.sold_codes(documents)
        codes, drugs = write_codes(numbers), _DRUG_CODE_OCTETS[products_of(numbers)]
        values = {
            "institution": write_institutions(institutions),
            "number": write_numbers(b"XS" if plain else "销售".encode(), documents, 10),
            "settlement": write_digits(documents * 7 + 10**17, 18),
            "visit": write_numbers(b"MZ", documents, 12),
            "person": np.concatenate([write_digits(scatter(documents, i), 16) for i in (5, 6)], axis=1),
            "fee": write_numbers(b"FE", documents, 14),
        }
        for i in range(LINES_PER_SALE):
            values |= {f"code{i}": codes[:, i], f"drug{i}": drugs[:, i]}
            if lots:
                values[f"lot{i}"] = write_lots(numbers[:, i])
        return form.write(len(documents), values, now - 3_600 + documents % 3_000)

    def read_sale(self, document: int, now: int, *, plain: bool = True) -> document_pb2.Document:
        """The same sale as `sales` makes it, built field by field: the slow way, to compare with."""
        (institution,), (numbers,) = self.sold_codes(np.array([document], np.int64))
        kind = document % len(_SALES)
        lines = []
        for i, (number, code) in enumerate(zip(numbers, list_codes(numbers), strict=True)):
            line = document_pb2.Line(line_number=i + 1, codes=[code], quantity="1")
            line.drug_code = DRUG_CODES[products_of(numbers[i : i + 1])[0]]
            if _LOTS[kind]:
                line.lot_number, line.expiry_date = f"{10_000_000 + number // CODES_PER_LINE:08d}", EXPIRY
            if kind in (0, 2):
                line.prescription, line.unit_price = True, "23.80"
                line.institution_drug_name = "阿莫西林胶囊"
            lines.append(line)
        lines[0].fee_detail_number = f"FE{document:014d}"
        ids = np.array([document], np.int64)
        return document_pb2.Document(
            institution_code=name_institution(int(institution)),
            document_number=f"{'XS' if plain else '销售'}{document:010d}",
            business_time=Timestamp(seconds=now - 3_600 + document % 3_000),
            lines=lines,
            terminal_id="POS-01",
            sale=document_pb2.Sale(
                stage=document_pb2.SALE_STAGE_REPORTED,
                settlement_id=f"{document * 7 + 10**17:018d}",
                visit_number=f"MZ{document:012d}",
                settlement_type=document_pb2.SETTLEMENT_TYPE_INSURED,
                person_token="".join(f"{scatter(ids, i)[0]:016d}" for i in (5, 6)),
                person_certificate_type="01",
            ),
        )

    def questions(self, count: int, size: int) -> tuple[list[bytes], Numbers]:
        """`count` VerifyCodes requests of `size` random codes that the asking institution has, no
        code twice in one request, and the numbers of these codes in the order of asking."""
        random = np.random.default_rng(3)
        institutions = random.integers(0, self.institutions, count)
        own = np.array([random.choice(self.codes_per_institution, size, replace=False) for _ in range(count)])
        receipts = institutions[:, None] + self.institutions * (own // CODES_PER_RECEIPT)
        numbers = (receipts * CODES_PER_RECEIPT + own % CODES_PER_RECEIPT).astype(np.int64)
        requests = []
        for institution, some in zip(institutions, numbers, strict=True):
            drugs = products_of(some)
            request = ledger_service_pb2.VerifyCodesRequest(
                institution_code=name_institution(int(institution)),
                codes=[
                    ledger_service_pb2.CodeQuestion(code=code, drug_code=DRUG_CODES[drug])
                    for code, drug in zip(list_codes(some), drugs, strict=True)
                ],
            )
            requests.append(request.SerializeToString())
        return requests, numbers.reshape(-1)


def name_institution(number: int) -> str:
    """The code of institution `number`."""
    return f"P31010{number:06d}"


def write_institutions(numbers: Numbers) -> Octets:
    """`name_institution` for many."""
    return write_numbers(b"P31010", numbers, 6)


def write_numbers(prefix: bytes, numbers: Numbers, width: int) -> Octets:
    """A prefix before each number."""
    head = np.tile(np.frombuffer(prefix, np.uint8), (len(numbers), 1))
    return np.concatenate([head, write_digits(numbers, width)], axis=1)


def write_lots(numbers: Numbers) -> Octets:
    """The lot of each code: one for all codes of a receipt's line."""
    return write_digits(10_000_000 + numbers // CODES_PER_LINE, 8)


class Till:
    """Sells what a workload received, each code once."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.sold = 0

    @property
    def left(self) -> int:
        """Sales that there are still codes for."""
        return self.workload.sales_max - self.sold

    def sell(self, count: int, *, plain: bool = True) -> list[bytes]:
        """The next `count` sales, of the last hour; fewer where the codes come to an end."""
        count = min(count, self.left)
        documents = self.workload.sales(self.sold, count, int(time.time()), plain=plain)
        self.sold += count
        return documents


# --- telling them to an engine ------------------------------------------------------------------


def group(documents: Sequence[bytes], size: int) -> list[Submissions]:
    """The documents, received now, in groups that are committed together."""
    now_ns = time.time_ns()
    return [
        Submissions(some, [now_ns] * len(some), [""] * len(some))
        for some in (list(documents[at : at + size]) for at in range(0, len(documents), size))
    ]


def record(engine: Engine, documents: Submissions) -> list[Recorded]:
    """The one place that records; while the engine pushes back, it waits and tells it again."""
    while True:
        try:
            return engine.record(documents)
        except Overloaded:
            time.sleep(0.002)


def check_silent(answers: Iterable[Recorded]) -> None:
    """Every document was taken, as the first of its identity, and nothing was found in it."""
    for answer in answers:
        if isinstance(answer, DocumentRejected):
            raise AssertionError(f"a document was rejected: {answer}")
        verdict = finding_pb2.Verdict.FromString(answer) if isinstance(answer, bytes) else answer
        assert verdict.sequence > 0
        assert verdict.outcome == finding_pb2.OUTCOME_ACCEPTED
        assert not verdict.repeat
        assert not name_findings(verdict.findings)


def name_findings(findings: Iterable[finding_pb2.Finding]) -> list[str]:
    """The findings that say anything; what is in order may be told as PASS."""
    names = (finding_pb2.FindingType.Name(finding.type) for finding in findings)
    return [name for name in names if name != "FINDING_TYPE_PASS"]
