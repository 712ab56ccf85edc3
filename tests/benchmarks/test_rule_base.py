"""What many rows of a rule base cost a sale that is in order: three ledgers take turns, two with 2,000
rows of all kinds: exemptions, overrides, thresholds of some and conditions of drugs."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

from documents import INSTITUTIONS, NOON, NS, PRODUCTS, SHOP, code, line, receipt, sale
from test_clearing import MANY_ROWS, WORST_ROWS

from benchmarks.results import Results
from tracecode.engine.contract import Submissions
from tracecode.engine.lmdb import LmdbEngine
from tracecode.rule_base import RuleBase
from tracecode.v1 import document_pb2, journal_pb2

TURNS = 15
SALES = 4_000
CODES_PER_RECEIPT = 500


def submissions(documents: list[document_pb2.Document]) -> Submissions:
    """Documents received five seconds after their time."""
    return Submissions(
        [document.SerializeToString(deterministic=True) for document in documents],
        [(document.business_time.seconds + 5) * NS for document in documents],
        [""] * len(documents),
    )


def test_rows_that_concern_nobody_cost_a_sale_nothing(tmp_path: Path, results: Results) -> None:
    """Goal: sales are cleared as fast with 2,000 rows as with none. Method: turns, medians. Among the rows
    are such as move each guard of clearing for others. As a province writes them, a sale that comes within
    their hours is not looked up in them; told apart is the worst of them, `late_info_hours = 0` for somebody,
    with which every sale is."""
    engines = {
        "none": LmdbEngine(tmp_path / "none", RuleBase.parse('version = "0"', "none"), NOON * NS),
        "many": LmdbEngine(tmp_path / "many", MANY_ROWS, NOON * NS),
        "worst": LmdbEngine(tmp_path / "worst", WORST_ROWS, NOON * NS),
    }
    rates: dict[str, list[float]] = {name: [] for name in engines}
    for engine in engines.values():
        engine.import_products(PRODUCTS, NOON * NS)
        engine.import_institutions(INSTITUTIONS, NOON * NS)
    for turn in range(TURNS):
        serials = range(turn * SALES, (turn + 1) * SALES)
        time_of_turn = NOON + turn * 600
        stock = [
            receipt(
                SHOP,
                f"R{begin}",
                time_of_turn,
                line(*(code(serial) for serial in range(begin, begin + CODES_PER_RECEIPT))),
            )
            for begin in serials[::CODES_PER_RECEIPT]
        ]
        sales = submissions([sale(SHOP, f"S{n}", time_of_turn + 60, line(code(n))) for n in serials])
        # Each of them comes first, second and last as often as the others.
        names = sorted(engines)
        for name in names[turn % 3 :] + names[: turn % 3]:
            engines[name].record(submissions(stock))
            begin_seconds = time.perf_counter()
            engines[name].record(sales)
            rates[name].append(SALES / (time.perf_counter() - begin_seconds))
    for engine in engines.values():
        last = journal_pb2.JournalEntry.FromString(engine.entries(engine.sequence - 1, 1)[0])
        assert last.document.cleared
        engine.close()
    results.add_ratio("rules_2000_vs_0", median(rates["many"]), median(rates["none"]))
    results.add_ratio("rules_worst_vs_0", median(rates["worst"]), median(rates["none"]))
