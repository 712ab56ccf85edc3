"""What the city sells: drugs with their NHSA codes, the packs they come in, lots, and single boxes.

No public table maps identifiers (药品标识码) to NHSA codes, so the packs of real or generated drug codes
are made up here: their identifiers, cartons, lots and serial numbers have the shapes of real ones.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from random import Random

from tracecode.code import check_digit_holds
from tracecode.errors import ImportInvalid
from tracecode.v1.catalogue_pb2 import Product

__all__ = [
    "Box",
    "Carton",
    "Drug",
    "Drugs",
    "Lot",
    "Pack",
    "list_products",
    "make_drugs",
    "make_packs",
    "read_drugs",
]

WESTERN_LENGTH = 23
"""Characters of a western drug's NHSA code; Chinese patent medicines have 20."""

GENERATED_NAMES = 220
LOT_DAYS = 12
"""A maker's next lot reaches the shops after this many days (ours)."""

_GROUPS = tuple("A02BC A10BA B01AC C08CA C09CA C10AA J01CA J01FA M01AE N02BE R05CB R06AE".split())
_PATENT_GROUPS = tuple("A01BA A03AA A04CA A06CB A09BA A12HA C01AA D03AA E01AA G02AA".split())
_FORMS = ("A001", "A010", "B002", "D001", "N001", "E003")
_SYLLABLES = "阿奥氨布地非格环卡罗美那普沙司替头维硝左"
_HERBS = "参草翘柴丹当防葛归红黄金菊苓芎银远枣术芪"
_ENDINGS = ("西林", "他定", "洛芬", "沙坦", "地平", "拉唑")
_PATENT_FORMS = ("片", "颗粒", "胶囊", "丸", "口服液")
_WESTERN_FORMS = ("片", "分散片", "胶囊", "缓释片", "颗粒", "注射液")
_SPLITTABLE_UNITS = (10, 12, 14, 20, 24, 28, 30, 36)


@dataclass(frozen=True, slots=True)
class Drug:
    """A drug as the NHSA directory lists it."""

    code: str
    name: str


class Drugs:
    """All drug codes of the directory, and which of them lie how far apart.

    A western code is X, a class of 5, a name of 4, a form of 4, a pack of 4 digits and a maker of 5; so
    codes with 14 characters and the maker in common are packs of one product, and so on.
    """

    def __init__(self, drugs: Iterable[Drug]) -> None:
        self.all = list(drugs)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for drug in self.all:
            if len(drug.code) == WESTERN_LENGTH:
                self._by_name[drug.code[:10]].append(drug.code)

    def swap(self, rng: Random, code: str, grade: int, not_codes: tuple[str, ...]) -> str | None:
        """Another drug code that is 1 another pack, 2 another maker, 3 another form, 4 another product.

        5 is no drug at all but a consumable (C and 19 digits). None when the directory has no such code.
        """
        if grade == 5:
            return "C" + "".join(rng.choice("0123456789") for _ in range(19))
        if grade == 4:
            others = [self.all[rng.randrange(len(self.all))].code for _ in range(20)]
            found = [other for other in others if other[:10] != code[:10] and other[0] == code[0]]
        elif len(code) != WESTERN_LENGTH:
            return None
        else:
            found = [other for other in self._by_name[code[:10]] if _grade(code, other) == grade]
        found = [other for other in found if other not in not_codes]
        return rng.choice(found) if found else None


def _grade(code: str, other: str) -> int:
    if code[:14] != other[:14]:
        return 3
    return 1 if code[-5:] == other[-5:] else 2


@dataclass(frozen=True, slots=True)
class Lot:
    """One production lot of a pack. Dates as on the box, an expiry on day 00 meaning the month's last."""

    number: str
    made: str
    expiry: str


@dataclass(frozen=True, slots=True)
class Carton:
    """A middle or outer package of a pack; it has an identifier of its own."""

    identifier: str
    level: int
    units: int


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """One box with its canonical code."""

    pack: Pack
    code: str
    lot: Lot


@dataclass(slots=True, eq=False)
class Pack:
    """One pack of one maker: what an item's identifier stands for.

    `form` is N for 20 digits, G for GS1, E for an enterprise's own codes, which have no identifier.
    `remark` is the label of what makes the pack's sales look odd though nothing is; empty = nothing does.
    """

    index: int
    form: str
    identifier: str
    name: str
    maker: str
    drug_codes: tuple[str, ...]
    barcode: str
    splittable_units: int
    cartons: tuple[Carton, ...]
    price: str
    remark: str
    serial: int
    serial_forged: int
    lots: dict[int, Lot] = field(default_factory=dict)

    @property
    def drug_code(self) -> str:
        """The drug code under which the city bills it."""
        return self.drug_codes[0]

    def lot(self, rng: Random, day: date) -> Lot:
        """The lot that is delivered on a day."""
        era = day.toordinal() // LOT_DAYS
        if era not in self.lots:
            made = day - timedelta(days=rng.randrange(60, 200))
            expiry = made.replace(year=made.year + 2, day=1) - timedelta(days=1)
            # One maker in twenty prints the month only: GS1 writes that as day 00.
            text = f"{expiry:%Y-%m}-00" if rng.random() < 0.05 else expiry.isoformat()
            self.lots[era] = Lot(f"{made:%y%m%d}{rng.randrange(10, 100)}", made.isoformat(), text)
        return self.lots[era]

    def make_box(self, rng: Random, lot: Lot) -> Box:
        """The next box off the line: serial numbers follow each other, with a gap now and then."""
        self.serial += 1 if rng.random() > 0.01 else rng.randrange(2, 40)
        return Box(self, self._write_code(rng, self.serial), lot)

    def forge_code(self, rng: Random) -> str:
        """A code of this product that was never put on a box."""
        self.serial_forged += rng.randrange(1, 5000)
        return self._write_code(rng, self.serial_forged)

    def make_carton_code(self, rng: Random, carton: Carton) -> str:
        """The code of one carton. Cartons are numbered like boxes."""
        self.serial += 1
        return f"{carton.identifier}{self.serial:09d}{rng.randrange(10_000):04d}"

    def _write_code(self, rng: Random, serial: int) -> str:
        # The last four digits come from a secret algorithm, so they look like chance to anybody else.
        check = rng.randrange(10_000)
        if self.form == "N":
            return f"{self.identifier}{serial:09d}{check:04d}"
        if self.form == "G":
            return f"(01){self.identifier}(21){serial:09d}{'ABCDEFGHJK'[check % 10]}{check:04d}"
        return f"QY{self.index % 10_000:04d}{serial:010d}{check:04d}"

    def scan(self, rng: Random, box: Box) -> str:
        """What a scanner delivers of a box: for a GS1 symbol that depends on scanner and settings."""
        if self.form != "G":
            return box.code
        gtin, serial, lot = self.identifier, box.code[22:], box.lot.number
        expiry = box.lot.expiry[2:].replace("-", "")
        match rng.randrange(5):
            case 0:
                return f"]d201{gtin}21{serial}\x1d17{expiry}10{lot}"
            case 1:
                return f"(01){gtin}(21){serial}(17){expiry}(10){lot}"
            case 2:
                return f"01{gtin}17{expiry}10{lot}<GS>21{serial}"
            case 3:
                return f"https://id.gs1.org/01/{gtin}/10/{lot}/21/{serial}?17={expiry}"
            case _:
                return f"]C101{gtin}17{expiry}10{lot}\x1d21{serial}"


def read_drugs(path: Path) -> list[Drug]:
    """The drugs of a CSV file with the columns med_list_codg and generic_name.

    Raises ImportInvalid when a column is missing or a code has not the shape of a drug's, OSError when
    the file cannot be read.
    """
    drugs = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        for column in ("med_list_codg", "generic_name"):
            if column not in (reader.fieldnames or ()):
                raise ImportInvalid(1, column, "is missing; the first row must be med_list_codg,generic_name")
        for row, record in enumerate(reader, start=2):
            code, name = record["med_list_codg"].strip(), (record["generic_name"] or "").strip()
            if (len(code), code[:1]) not in ((WESTERN_LENGTH, "X"), (20, "Z")):
                raise ImportInvalid(
                    row, "med_list_codg", f"{code[:60]!r} is neither X and 22 characters nor Z and 19"
                )
            drugs.append(Drug(code, name))
    if len(drugs) < 100:
        raise ImportInvalid(0, "", f"only {len(drugs)} drugs; a city needs at least 100 to sell")
    return drugs


def make_drugs(rng: Random) -> list[Drug]:
    """A directory of made-up drugs whose codes have the shapes of real ones."""
    return list(_make_drugs(rng))


def _make_drugs(rng: Random) -> Iterator[Drug]:
    seen: set[str] = set()
    for number in range(GENERATED_NAMES):
        stem = "X" + rng.choice(_GROUPS) + f"{rng.choice('ABCDEFG')}{number:03d}"
        name = "".join(rng.sample(_SYLLABLES, 2)) + rng.choice(_ENDINGS)
        for form in rng.sample(_FORMS, rng.randrange(1, 4)):
            for maker in rng.sample(range(1, 6000), rng.randrange(2, 6)):
                for pack in range(rng.randrange(1, 4)):
                    code = f"{stem}{form}{pack + 1:02d}01{maker:05d}"
                    yield Drug(code, name + _WESTERN_FORMS[_FORMS.index(form)])
    for number in range(GENERATED_NAMES):
        stem = "Z" + rng.choice(_PATENT_GROUPS) + f"{rng.choice('BCDFGY')}{number:04d}"
        name = "".join(rng.sample(_HERBS, 3)) + rng.choice(_PATENT_FORMS)
        for maker in rng.sample(range(1, 6000), rng.randrange(2, 9)):
            code = f"{stem}0101{maker:05d}"
            if code not in seen:
                seen.add(code)
                yield Drug(code, name)


def make_packs(rng: Random, drugs: Drugs, count: int) -> list[Pack]:
    """The packs of `count` drugs: one to four identifiers each, with their cartons.

    2 % carry GS1 codes. A few carry an enterprise's own codes, or identifiers that have not reached the
    catalogue yet; neither can be looked up, so a ledger must judge them without knowing the product.
    """
    identifiers: set[str] = set()
    packs: list[Pack] = []
    for drug in rng.sample(drugs.all, min(count, len(drugs.all))):
        maker = f"第{drug.code[-5:]}号制药有限公司"
        for _ in range(rng.choices((1, 2, 3, 4), (50, 30, 15, 5))[0]):
            packs.append(_make_pack(rng, drugs, drug, maker, len(packs), identifiers))
    return packs


def _make_pack(rng: Random, drugs: Drugs, drug: Drug, maker: str, index: int, identifiers: set[str]) -> Pack:
    kind = rng.random()
    form = "G" if kind < 0.02 else "E" if kind < 0.024 else "N"
    remark = {"G": "gs1_code", "E": "enterprise_code", "N": ""}[form]
    smallest_carton = form == "N" and rng.random() < 0.006
    if form == "N" and not smallest_carton and rng.random() < 0.004:
        remark = "unmapped_product"
    if smallest_carton:
        remark = "smallest_unit_carton"
    barcode = _add_check_digit("69" + "".join(rng.choice("0123456789") for _ in range(10)))
    identifier = {"G": "0" + barcode, "E": "", "N": ""}[form] or _draw_identifier(rng, identifiers)
    cartons = []
    if not remark:
        if rng.random() < 0.3:
            cartons.append(Carton(_draw_identifier(rng, identifiers), 2, rng.choice((5, 6, 10))))
        if rng.random() < 0.35:
            cartons.append(Carton(_draw_identifier(rng, identifiers), 3, rng.choice((20, 24, 30, 40))))
    codes = [drug.code]
    other = drugs.swap(rng, drug.code, 1, (drug.code,)) if rng.random() < 0.3 else None
    if other is not None:
        codes.append(other)
    splittable = 0 if remark or rng.random() > 0.25 else rng.choice(_SPLITTABLE_UNITS)
    return Pack(
        index=index,
        form=form,
        identifier=identifier,
        name=drug.name,
        maker=maker,
        drug_codes=tuple(codes),
        barcode=barcode,
        splittable_units=splittable,
        cartons=tuple(cartons),
        price=f"{rng.randrange(350, 12_000) / 100:.2f}",
        remark=remark,
        serial=rng.randrange(1, 300_000_000),
        serial_forged=rng.randrange(600_000_000, 700_000_000),
    )


def _draw_identifier(rng: Random, taken: set[str]) -> str:
    while True:
        # 89 is the range of special drugs.
        head = "89" if rng.randrange(50) == 0 else f"8{rng.randrange(9)}"
        identifier = f"{head}{rng.randrange(100_000):05d}"
        if identifier not in taken:
            taken.add(identifier)
            return identifier


def _add_check_digit(digits: str) -> str:
    return next(digits + digit for digit in "0123456789" if check_digit_holds(digits + digit))


def list_products(packs: Iterable[Pack]) -> Iterator[Product]:
    """The catalogue's rows: an item and its cartons for every pack that can be looked up."""
    for pack in packs:
        if pack.remark in ("enterprise_code", "unmapped_product"):
            continue
        smallest_carton = pack.remark == "smallest_unit_carton"
        yield Product(
            identifier=pack.identifier,
            package_level=3 if smallest_carton else 1,
            name=pack.name,
            manufacturer_name=pack.maker,
            pack=f"{pack.splittable_units}片/盒" if pack.splittable_units else "1盒",
            drug_codes=pack.drug_codes,
            units_per_package=120 if smallest_carton else 1,
            splittable_units=pack.splittable_units,
            smallest_unit=True,
        )
        for carton in pack.cartons:
            yield Product(
                identifier=carton.identifier,
                package_level=carton.level,
                name=pack.name,
                manufacturer_name=pack.maker,
                pack=f"{carton.units}盒",
                drug_codes=pack.drug_codes,
                units_per_package=carton.units,
                item_identifier=pack.identifier,
            )
