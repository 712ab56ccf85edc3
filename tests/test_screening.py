"""Screening: every model finds whom it should on a small labelled city, and nobody honest is suspected."""

import json
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from simulated import make_fraud_city

from tracecode.city.schemes import SCHEMES
from tracecode.city.screening_score import ScreeningScore, score_screening
from tracecode.city.simulate import Frauds, simulate
from tracecode.document import DELETED_TYPES, DocumentKind
from tracecode.errors import RuleBaseInvalid, SpillFull
from tracecode.screening import run_screening
from tracecode.screening.base import Relations
from tracecode.screening.judge import Peer, judge, suspect
from tracecode.screening.model import Kind, Lead, Level, Model, State
from tracecode.screening.models import MODELS, duplicate_rate, resale_source
from tracecode.screening.run import read_leads
from tracecode.screening.score import ClosedCase, score_subjects
from tracecode.screening.thresholds import Thresholds
from tracecode.screening.write import write_register_of
from tracecode.views.lines import DELETIONS, LINES

THRESHOLDS = Thresholds.default()
SMALL_MEMORY = "40MB"
"""Less than the tables of the small city take."""
DEFAULT_TEXT = (Path(__file__).parents[1] / "tracecode/screening/thresholds.toml").read_text("utf-8")


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small city with every scheme in it."""
    return make_fraud_city(tmp_path_factory)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where relations, leads and scores lie."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def scored(city: Path, work: Path) -> ScreeningScore:
    """The city, screened."""
    return score_screening(city, work)


def find_relations(work: Path) -> Relations:
    """The relations of the scored city."""
    return Relations.under(work / "relations", work / "care_homes.csv")


# --- the city -----------------------------------------------------------------------------------


def test_every_scheme_and_every_double_is_labelled(city: Path) -> None:
    """Pins that a score speaks of all models: each is expected somewhere, and of all honest doubles."""
    rows = [json.loads(row) for row in (city / "labels.jsonl").read_text().splitlines()]
    subjects = [row for row in rows if "level" in row]

    assert {name for row in subjects for name in row["expected"]} == {model.name for model in MODELS}
    assert {row["label"] for row in subjects if not row["fraud"]} == {
        "busy_hospital",
        "village_doctor",
        "care_home_supplier",
        "care_home_resident",
        "chain_transfers",
        "long_prescription",
        "long_prescriptions",
        "double_scanning_cashier",
        "promotion_day",
        "daily_patient",
        "long_illness",
    }
    assert len({scheme.label for scheme in SCHEMES}) == len(SCHEMES)


def test_the_year_ends_within_a_city_of_two_regions(city: Path) -> None:
    """Pins the season that year_end_burst looks for, and that regions can be compared."""
    text = (city / "documents.jsonl").read_text()

    assert '"businessTime":"2026-12-31' in text
    assert '"businessTime":"2027-01-0' in text
    codes = (city / "institutions.csv").read_text().splitlines()[1:]
    assert len({row.split(",")[0][1:7] for row in codes}) == 2


def test_a_city_too_small_for_its_schemes_is_refused(tmp_path: Path) -> None:
    """Pins a sentence that says how large it must be."""
    with pytest.raises(ValueError, match="at least 40"):
        simulate(1, 12, 5, tmp_path, frauds=Frauds.INSTITUTION)


# --- the models ---------------------------------------------------------------------------------


def test_every_labelled_fraud_is_at_the_top_of_its_models_list(scored: ScreeningScore) -> None:
    """Pins recall and precision of every model on the small city, and the order of its list."""
    assert scored.misses == ()
    assert scored.false_leads == ()
    assert all(row.labelled and row.recall == 1 and row.precision == 1 for row in scored.models)
    assert all(row.worst_place <= row.right for row in scored.models)


def test_nobody_honest_is_graded_below_b(scored: ScreeningScore) -> None:
    """Pins the doubles: who only looks like a fraud keeps a good grade, and so does the rest of the city."""
    assert scored.honest_worst in "AB"
    assert set(scored.other_grades) <= set("AB")
    assert set(scored.fraud_grades) & set("CD")


def test_every_lead_says_why_in_both_languages(scored: ScreeningScore) -> None:
    """Pins that reasons carry their numbers, are Chinese and English, and name the threshold that was met."""
    for lead in scored.summary.leads:
        assert any("\u4e00" <= letter <= "\u9fff" for letter in lead.why_zh), lead
        assert lead.why_en.isascii(), lead
        assert "{" not in lead.why_zh + lead.why_en
        assert any(letter.isdigit() for letter in lead.why_en)
        assert ">=" in lead.threshold


def test_the_points_of_a_score_add_up(scored: ScreeningScore) -> None:
    """Pins that there is a why for every point of risk and of credit."""
    for score in scored.summary.scores:
        assert sum(point.points for point in score.risk_points) == pytest.approx(score.risk)
        assert 100 + sum(point.points for point in score.credit_points) == pytest.approx(score.credit)
        assert all(point.why_zh and point.why_en for point in (*score.risk_points, *score.credit_points))


# --- the run ------------------------------------------------------------------------------------


def test_a_run_that_was_broken_off_goes_on_where_it_stopped(
    scored: ScreeningScore, work: Path, tmp_path: Path
) -> None:
    """Pins that stored results are taken once, and that what they depend on voids them."""
    period = scored.summary.first, scored.summary.last

    def stop(done: int, total: int, what: str) -> None:
        if what == "resale_in":
            raise KeyboardInterrupt

    some = tuple(model for model in MODELS if model.name in ("duplicate_rate", "resale_in", "resale_out"))
    with pytest.raises(KeyboardInterrupt):
        run_screening(find_relations(work), tmp_path, *period, models=some, progress=stop)
    summary = run_screening(find_relations(work), tmp_path, *period, models=some)

    assert summary.resumed == ("duplicate_rate",)
    assert read_leads(tmp_path) == [replace(lead, numbers=dict(lead.numbers)) for lead in summary.leads]
    assert {lead.subject for lead in summary.leads} <= {lead.subject for lead in scored.summary.leads}
    stricter = Thresholds.parse(DEFAULT_TEXT.replace('version = "2026-11"', 'version = "2026-12"'))
    assert (
        run_screening(find_relations(work), tmp_path, *period, models=some, thresholds=stricter).resumed == ()
    )


def test_a_division_is_screened_alone(scored: ScreeningScore, work: Path, tmp_path: Path) -> None:
    """Pins that `division` leaves the others out."""
    period = scored.summary.first, scored.summary.last
    some = tuple(model for model in MODELS if model.name == "no_code_share")

    summary = run_screening(find_relations(work), tmp_path, *period, division="4404", models=some)

    assert summary.scores
    assert {score.subject[1:5] for score in summary.scores} == {"4404"}
    with pytest.raises(ValueError, match="up to six digits"):
        run_screening(find_relations(work), tmp_path, *period, division="44' OR 1")


def test_memory_is_bounded_by_a_setting(scored: ScreeningScore, work: Path, tmp_path: Path) -> None:
    """Pins that the setting reaches DuckDB: what cannot fit in memory goes to disk, with the same leads, but
    for no more than it may take there, and where not even that suffices the run is refused."""
    period = scored.summary.first, scored.summary.last
    some = tuple(model for model in MODELS if model.name in ("duplicate_rate", "no_code_share"))
    spilled: list[str] = []

    def look(done: int, total: int, what: str) -> None:
        spilled.extend(path.name for path in (tmp_path / "spill").glob("*"))

    summary = run_screening(
        find_relations(work),
        tmp_path,
        *period,
        models=some,
        memory_limit=SMALL_MEMORY,
        threads=1,
        progress=look,
    )

    assert spilled
    names = {model.name for model in some}
    assert [(lead.model, lead.subject, lead.support) for lead in summary.leads] == [
        (lead.model, lead.subject, lead.support) for lead in scored.summary.leads if lead.model in names
    ]
    with pytest.raises(SpillFull, match="more than 1 bytes of disk"):
        run_screening(
            find_relations(work),
            tmp_path / "bounded",
            *period,
            models=some,
            memory_limit=SMALL_MEMORY,
            spill_bytes_max=1,
            threads=1,
        )
    with pytest.raises(duckdb.Error, match=r"[Mm]emory"):
        run_screening(find_relations(work), tmp_path / "less", *period, memory_limit="1MB")


def test_what_cannot_be_screened_is_said(tmp_path: Path) -> None:
    """Pins a sentence for a period that ends before it begins, and for a directory without lines."""
    relations = Relations.under(tmp_path)

    with pytest.raises(ValueError, match="before it begins"):
        run_screening(relations, tmp_path / "out", date(2026, 2, 1), date(2026, 1, 1))
    with pytest.raises(FileNotFoundError, match="no lines lie"):
        run_screening(relations, tmp_path / "out", date(2026, 1, 1), date(2026, 2, 1))
    (tmp_path / "lines").mkdir()
    pq.write_table(LINES.empty_table(), tmp_path / "lines/part-0.parquet")
    relations = Relations.under(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"institutions\.parquet is missing"):
        run_screening(relations, tmp_path / "out", date(2026, 1, 1), date(2026, 2, 1))
    write_register_of([], [], tmp_path)
    assert run_screening(relations, tmp_path / "out", date(2026, 1, 1), date(2026, 2, 1)).leads == ()


# --- leads and scores ---------------------------------------------------------------------------


def make_lead(model: Model, level: Level, support: int, subject: str = "P44040200101") -> Lead:
    """A lead with the strength its level gives."""
    strength = {Level.WARN: 0.3, Level.ALERT: 0.8}[level]
    return Lead(
        model=model.name,
        version=1,
        kind=model.kind,
        subject=subject,
        level=level,
        state=State.LEAD,
        value=1.0,
        support=support,
        z=None,
        peer_group="",
        peer_count=0,
        peer_median=None,
        threshold="",
        strength=strength,
        rank=1,
        why_zh="因",
        why_en="why",
    )


def test_one_code_never_makes_a_suspicion() -> None:
    """Pins the guard: three codes, or two independent models, and nothing less."""
    models = {model.name: model for model in MODELS}
    one, three = (make_lead(duplicate_rate.MODEL, Level.WARN, codes) for codes in (1, 3))
    late = make_lead(models["late_uploads"], Level.ALERT, 500)

    assert [lead.state for lead in suspect([one], models, THRESHOLDS)] == [State.LEAD]
    assert [lead.state for lead in suspect([late], models, THRESHOLDS)] == [State.LEAD]
    assert [lead.state for lead in suspect([three], models, THRESHOLDS)] == [State.SUSPECTED]
    assert [lead.state for lead in suspect([one, late], models, THRESHOLDS)] == [State.SUSPECTED] * 2


def test_risk_credit_and_grade_follow_their_formulas() -> None:
    """Pins risk = 100 (1 - prod(1 - w s)), the credit it leaves, cases that repeat, and grades."""
    subject = "P44040200101"
    nobody, *_ = score_subjects([], [(Kind.INSTITUTION, subject)], THRESHOLDS)
    leads = [
        make_lead(model, Level.ALERT, 9)
        for model in MODELS
        if model.name in ("duplicate_rate", "no_code_share")
    ]
    (found,) = score_subjects(leads, [], THRESHOLDS)
    cases = [ClosedCase(Kind.INSTITUTION, subject, outcome) for outcome in ("fined", "fined")]
    (punished,) = score_subjects(leads, [], THRESHOLDS, cases)

    assert (nobody.risk, nobody.credit, nobody.grade, nobody.inspection_factor) == (0, 100, "A", 0.5)
    assert found.risk == pytest.approx(100 * (1 - (1 - 0.6 * 0.8) * (1 - 0.5 * 0.8)))
    assert found.credit == pytest.approx(100 - 0.6 * found.risk)
    assert (found.grade, found.inspection_factor) == ("D", 4.0)
    assert punished.credit == pytest.approx(max(0.0, found.credit - 20 - 30))


def test_peers_are_the_narrowest_group_that_is_large_enough() -> None:
    """Pins robust z: half of 20 small shops have a rate of 0, one stands out among its like."""
    peers = {f"P{number:02d}": Peer(f"P{number:02d}", "P", 1, number // 10) for number in range(20)}
    rows = [
        {"subject": f"P{number:02d}", "value": 0.01 * (number % 3), "support": 1, "codes_sold": 9}
        for number in range(10)
    ]
    rows.append({"subject": "P19", "value": 0.5, "support": 9, "codes_sold": 18})
    for row in rows:
        row |= {"persons": 1, "repeat_sales": 9}

    leads = judge(duplicate_rate.MODEL, pa.Table.from_pylist(rows), peers, THRESHOLDS)

    assert [(lead.subject, lead.level, lead.peer_group) for lead in leads] == [
        ("P19", Level.ALERT, "grade 1 × letter P × decile 1")
    ]
    assert leads[0].peer_count == 10
    assert leads[0].z is not None
    assert leads[0].z > 3.5
    assert "50.00%" in leads[0].why_en


# --- thresholds ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("weight = 0.8", "wieght = 0.8", "weight"),
        ("weight = 0.8", "weight = 1.8", "above 0 and at most 1"),
        ("warn = [{ support = 1 }]", "warn = [{ suport = 1 }]", "suport"),
        ("lookback_days = 180\n", "", "lookback_days"),
        ("lookback_days = 180\n", "lookback_days = 180\nlookforward_days = 1\n", "lookforward_days"),
        ("credit_min = 75.0", "credit_min = 95.0", "best first"),
        ('version = "2026-11"', "version =", "thresholds"),
    ],
)
def test_thresholds_that_cannot_be_used_are_refused(before: str, after: str, message: str) -> None:
    """Pins that a slip in the file is an error that names it, never a silent default."""
    assert before in DEFAULT_TEXT

    with pytest.raises(RuleBaseInvalid, match=message):
        Thresholds.parse(DEFAULT_TEXT.replace(before, after))


def test_every_model_has_thresholds_and_every_threshold_a_model() -> None:
    """Pins that neither is forgotten, and that a model's numbers stand in the file alone."""
    assert set(THRESHOLDS.models) == {model.name for model in MODELS}
    for model in MODELS:
        for name in THRESHOLDS.models[model.name].parameters:
            path = Path(__file__).parents[1] / f"tracecode/screening/models/{model.name}.py"
            assert name in path.read_text("utf-8"), (model.name, name)
    assert resale_source.MODEL.kind is Kind.PERSON


# --- single models, on rows made by hand --------------------------------------------------------

_EMPTY = {"timestamp[us]": datetime(2026, 1, 1), "date32[day]": date(2026, 1, 1), "bool": False, "string": ""}


def make_row(day: date, **values: Any) -> dict[str, Any]:
    """A row of the lines relation: one insured sale of one box, but for what is given."""
    row = {
        field.name: None
        if field.nullable
        else _EMPTY.get(str(field.type), 0 if "list" not in str(field.type) else [])
        for field in LINES
    }
    time = datetime(day.year, day.month, day.day, 2)
    return row | {
        "business_day": day,
        "business_time": time,
        "receive_time": time,
        "kind": 1,
        "operation": 2,
        "stage": 2,
        "settlement_type": 1,
        "line_number": 1,
        "line_rows": 1,
        "quantity": Decimal(1),
        "price": Decimal(100),
        "amount": Decimal(100),
        "drug_code": "XA01AA",
        **values,
    }


def make_deletion(day: date, institution_code: str, number: str = "", serial: str = "") -> dict[str, Any]:
    """A row of the deletions relation: of a sale by its number, or of all with a batch serial."""
    time = datetime(day.year, day.month, day.day, 12)
    return {
        "sequence": 9_000,
        "receive_time": time,
        "business_time": time,
        "business_day": day,
        "institution_code": institution_code,
        "division_code": institution_code[1:7],
        "document_number": "D",
        "deleted_type": DELETED_TYPES[DocumentKind.SALE],
        "deleted_document_number": number,
        "batch_serial": serial,
    }


def screen_rows(rows: list[dict[str, Any]], out: Path, name: str, first: date, last: date) -> list[Lead]:
    """The leads of one model over these rows, which lie in one file a day as those of a ledger do."""
    for number, row in enumerate(rows, start=1):
        row["sequence"] = number
        row["document_number"] = row["document_number"] or f"D{number}"
        row["division_code"] = row["division_code"] or row["institution_code"][1:7]
    days = {row["business_day"] for row in rows}
    for day in days:
        folder = out / f"lines/day={day}/division=all"
        folder.mkdir(parents=True)
        table = pa.Table.from_pylist([row for row in rows if row["business_day"] == day], LINES)
        pq.write_table(table, folder / "part-0.parquet")
    write_register_of([], [], out)
    models = [model for model in MODELS if model.name == name]
    return list(run_screening(Relations.under(out), out / "run", first, last, models=models).leads)


def test_a_year_end_is_compared_with_the_one_before(tmp_path: Path) -> None:
    """Pins that the season's own rise a year ago is taken off, up to twofold; swiping then excuses nobody."""
    new, seasonal, always = (f"P4404020010{number}" for number in (1, 2, 3))
    rows = []

    def tell(institution: str, last: date, peak: int) -> None:
        for back in range(60):
            day = last - timedelta(days=back)
            amount = Decimal(100 * peak if back < 4 else 100)
            rows.append(make_row(day, institution_code=institution, amount=amount))

    this, before = date(2026, 12, 30), date(2026, 12, 30) - timedelta(days=364)
    for institution, peak in ((new, 5), (seasonal, 5), (always, 7)):
        tell(institution, this, peak)
    tell(seasonal, before, 2)
    tell(always, before, 10)

    leads = screen_rows(rows, tmp_path, "year_end_burst", date(2026, 12, 1), date(2026, 12, 31))
    numbers = {lead.subject: (lead.value, lead.numbers["year_before"]) for lead in leads}

    assert numbers == {new: (5.0, 0.0), always: (3.5, 10.0)}
    assert "its own third day a year ago was 10.0 times" in leads[1].why_en


def test_what_was_deleted_since_is_no_year_end_of_the_year_before(tmp_path: Path) -> None:
    """Pins that sales of a year ago that were taken back excuse nothing, whenever and however."""
    deleted, batch, kept = (f"P4404020010{number}" for number in (1, 2, 3))
    rows = []
    this, before = date(2026, 12, 30), date(2026, 12, 30) - timedelta(days=364)
    for institution in (deleted, batch, kept):
        for last, peak in ((this, 5), (before, 2)):
            for back in range(60):
                day = last - timedelta(days=back)
                amount, number = Decimal(100), f"{institution}-{day}"
                rows.append(
                    make_row(day, institution_code=institution, amount=amount, document_number=number)
                )
                if back < 4:
                    amount, number = Decimal(100 * (peak - 1)), f"{institution}-{day}-more"
                    serial = "B1" if last == before else ""
                    rows.append(
                        make_row(
                            day,
                            institution_code=institution,
                            amount=amount,
                            document_number=number,
                            batch_serial=serial,
                        )
                    )
    deletions = [
        make_deletion(
            before + timedelta(days=1), deleted, number=f"{deleted}-{before - timedelta(days=back)}-more"
        )
        for back in range(4)
    ]
    deletions.append(make_deletion(date(2026, 6, 1), batch, serial="B1"))
    folder = tmp_path / "deletions"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(deletions, DELETIONS), folder / "part-0.parquet")

    leads = screen_rows(rows, tmp_path, "year_end_burst", date(2026, 12, 1), date(2026, 12, 31))

    assert {lead.subject: (lead.value, lead.numbers["year_before"]) for lead in leads} == {
        deleted: (5.0, 1.0),
        batch: (5.0, 1.0),
    }


def test_one_drug_on_one_day_in_two_pooling_areas_is_a_lead_on_the_second_day(tmp_path: Path) -> None:
    """Pins that a journey is no lead, and that two pharmacies of one town are not far apart."""
    rows = []

    def buy(person: str, day: int, *institutions: str) -> None:
        rows.extend(
            make_row(date(2026, 12, day), person_token=person, institution_code=institution)
            for institution in institutions
        )

    here, near, far = "P44040200101", "P44040300101", "P37028100101"
    for day in (3, 9):
        buy("two days", day, here, far)
        buy("neighbours", day, here, near)
    buy("one journey", 5, here, far)
    buy("moved house", 4, here)
    buy("moved house", 20, far)

    leads = screen_rows(rows, tmp_path, "many_pharmacies", date(2026, 12, 1), date(2026, 12, 31))

    assert [(lead.subject, lead.value, lead.support) for lead in leads] == [("two days", 2.0, 2)]
