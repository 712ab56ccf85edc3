"""The benchmarks' own parts: that their documents are in order, and that their results are written as they
say.

What they measure is `make bench`'s; here a thousand codes show that the workload is still what the engine
clears.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from benchmarks import results
from benchmarks.codes import IDENTIFIERS, PRODUCTS, list_codes, products_of, scatter
from benchmarks.page_cache import OCTETS_PER_READ, read_files
from benchmarks.peers import claim_batches
from benchmarks.results import Results, find_row, name_scale, render_table, write_table
from benchmarks.workload import Till, Workload, check_silent, group, record

from tracecode.code import CodeClass, read_scan
from tracecode.engine.lmdb import LmdbEngine
from tracecode.ledger import Ledger
from tracecode.person import PersonKey
from tracecode.v1 import journal_pb2, ledger_service_pb2

CODES = 1_000
PERSON_KEY = PersonKey(b"bench" * 8)


def open_ledger(folder: Path, workload: Workload) -> Ledger:
    """A ledger that received the workload's goods."""
    ledger = Ledger.open(
        folder, engine="lmdb", person_key=PERSON_KEY, clock_ns=lambda: workload.received_time * 10**9
    )
    ledger.import_products(workload.list_products())
    ledger.import_institutions(workload.list_institutions())
    for documents in workload.receipts():
        for submissions in group(documents, 10):
            check_silent(record(ledger.engine, submissions))
    return ledger


def marks(ledger: Ledger, after: int) -> list[bool]:
    """Of each document behind `after`, whether native code cleared it."""
    entries = [journal_pb2.JournalEntry.FromString(entry) for entry in ledger.engine.entries(after, 10_000)]
    return [entry.document.cleared for entry in entries if entry.HasField("document")]


def test_the_workload_is_cleared_and_its_other_half_is_not(tmp_path: Path) -> None:
    """All receipts and plain sales are cleared; those meant for the rules are not, and are in order, too."""
    workload = Workload.of(CODES)
    ledger = open_ledger(tmp_path / "ledger", workload)
    till, begin = Till(workload), ledger.engine.sequence

    for submissions in group(till.sell(200), 67):
        check_silent(record(ledger.engine, submissions))
    plain = marks(ledger, 0)
    begin = ledger.engine.sequence
    for submissions in group(till.sell(20, plain=False), 20):
        check_silent(record(ledger.engine, submissions))

    assert plain == [True] * (CODES // 1_000 + 200)
    assert marks(ledger, begin) == [False] * 20
    ledger.close()


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "not plain"])
def test_documents_are_what_protobuf_writes(plain: bool) -> None:
    """The quick way and the slow way to a sale give the same bytes, whatever its form."""
    workload, now = Workload.of(10**6), int(time.time())

    made = workload.sales(1_000, 400, now, plain=plain)

    assert made == [
        workload.read_sale(1_000 + i, now, plain=plain).SerializeToString(deterministic=True)
        for i in range(400)
    ]


def test_every_code_is_sold_once() -> None:
    """No code is in two sales, and each is one that the institution received."""
    workload = Workload.of(10**5)

    institutions, numbers = workload.sold_codes(np.arange(workload.sales_max, dtype=np.int64))

    assert len(np.unique(numbers)) == numbers.size
    assert (numbers < workload.codes).all()
    assert (numbers // 1_000 % workload.institutions == institutions[:, None]).all()


def test_codes_read_as_twenty_digits_of_their_product() -> None:
    """Codes are real ones, and no two numbers make one code."""
    numbers = np.arange(5_000, dtype=np.int64) * 199

    codes = list_codes(numbers)

    readings = [reading for code in codes for reading in read_scan(code)]
    assert {reading.code_class for reading in readings} == {CodeClass.TWENTY_DIGIT}
    assert [reading.identifier for reading in readings] == [IDENTIFIERS[i] for i in products_of(numbers)]
    assert len(set(codes)) == len(codes)
    assert len(np.unique(scatter(np.arange(2**20, dtype=np.int64)))) == 2**20
    assert len(set(IDENTIFIERS)) == PRODUCTS


def test_questions_ask_for_what_the_institution_has(tmp_path: Path) -> None:
    """Every question of a request is answered without a finding that says anything."""
    workload = Workload.of(CODES)
    ledger = open_ledger(tmp_path / "ledger", workload)
    requests, numbers = workload.questions(2, 50)

    for request in requests:
        assert ledger.engine.verify_plain(request, time.time_ns()) is not None
        answers = ledger.verify(ledger_service_pb2.VerifyCodesRequest.FromString(request)).answers
        assert len(answers) == 50
        assert not any(answer.would_refuse for answer in answers)
        assert {answer.status.event_count for answer in answers} == {1}

    assert len(numbers) == 100
    assert [len(set(some)) for some in numbers.reshape(2, 50)] == [50, 50]
    ledger.close()


def test_a_till_sells_no_more_than_there_is() -> None:
    """The end of the codes is the end of the sales, and asking the workload for more is an error."""
    till = Till(Workload.of(CODES))

    assert len(till.sell(10**9)) == 333
    assert till.sell(1) == []
    with pytest.raises(ValueError, match="make 333 sales, not 334"):
        till.workload.sales(0, 334, int(time.time()))


def test_an_engine_that_pushes_back_is_told_again(tmp_path: Path) -> None:
    """`record` waits for room and loses nothing, with an overlay that is full at once."""
    workload = Workload.of(10**5)
    engine = LmdbEngine(tmp_path / "ledger", None, workload.received_time * 10**9, overlay_bytes_max=4 << 20)
    engine.import_products(workload.list_products(), workload.received_time * 10**9)
    engine.import_institutions(workload.list_institutions(), workload.received_time * 10**9)

    for documents in workload.receipts():
        for submissions in group(documents, 5):
            check_silent(record(engine, submissions))

    assert engine.sequence == 1 + 2 + 100
    engine.close()


def test_all_files_are_read_before_a_turn(tmp_path: Path) -> None:
    """Files in every folder below, a large one too, are read to the end; what is no file is passed over."""
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "data.mdb").write_bytes(bytes(OCTETS_PER_READ + 5))
    (tmp_path / "format").write_bytes(b"1\n")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")

    assert read_files(tmp_path) == OCTETS_PER_READ + 7


def test_what_a_peer_claims_in_the_warm_up_does_not_count(tmp_path: Path) -> None:
    """Batches of the warm-up are claimed, and only those after it are in the rate."""
    claimed: list[int] = []

    def claim(batch: int) -> int:
        time.sleep(0.01)
        claimed.append(batch)
        return 10

    counted = claim_batches(range(1_000), claim, 0.1, 0.1, tmp_path)

    assert claimed == list(range(len(claimed)))
    assert 0 < counted.claims / 10 <= len(claimed) - 5
    assert 0.1 <= counted.seconds < 1


def test_news_are_told_once() -> None:
    """What a test found is shown when it ends, and not again."""
    found = Results(scale="1e6")
    found.add_figure("start_seconds_1e6", 0.5)

    assert found.list_news() == ["start_seconds_1e6 = 0.5"]
    found.add_ratio("stream_vs_engine", 1, 2)
    assert found.list_news() == ["stream_vs_engine = 0.5"]
    assert found.list_news() == []


def test_results_are_written_whole(tmp_path: Path) -> None:
    """results.json says machine, commit, date, figures and ratios; a ratio is ours over the peer's."""
    found = Results(scale="1e6")
    found.add_figure("record_lines_per_second_1e6", 123456.789)
    found.add_figure("edges_2_calls_per_second_1e6", None)
    found.add_ratio("record_vs_postgresql_1e6", 150_000, 100_000)

    found.write_json(tmp_path / "bench" / "results.json")

    content = json.loads((tmp_path / "bench" / "results.json").read_text(encoding="utf-8"))
    assert content.keys() == {"machine", "commit", "date", "scale", "figures", "ratios", "sides"}
    assert content["figures"] == {"edges_2_calls_per_second_1e6": None, "record_lines_per_second_1e6": 123457}
    assert content["ratios"] == {"record_vs_postgresql_1e6": 1.5}
    assert content["sides"] == {"record_vs_postgresql_1e6": [150_000, 100_000]}
    assert "cores" in content["machine"]


def test_no_result_is_written_twice_or_under_a_wrong_name() -> None:
    """A key that the table does not know, a second value for a key, and a peer without a rate are refused."""
    found = Results(scale="1e6")
    found.add_figure("a", 1)
    found.add_ratio("stream_vs_engine", 2, 3)

    with pytest.raises(ValueError, match="the figure a was given before"):
        found.add_figure("a", 1)
    with pytest.raises(ValueError, match="given before"):
        found.add_ratio("stream_vs_engine", 2, 3)
    with pytest.raises(ValueError, match="no ratio of the table"):
        found.add_ratio("record_vs_oracle_1e7", 2, 3)
    with pytest.raises(ValueError, match="not measured"):
        found.add_ratio("record_vs_redis_1e7", 2, 0)
    assert [find_row(key).key for key in ("record_vs_redis_1e7", "cost_1e8_vs_1e6")] == [
        "record_vs_redis",
        "cost_1e8_vs_1e6",
    ]
    assert name_scale(10**7) == "1e7"
    with pytest.raises(ValueError, match="power of ten"):
        name_scale(2 * 10**6)


def test_the_table_takes_its_place_in_the_readme(tmp_path: Path) -> None:
    """Only what stands between the markers changes, and a second run replaces the first."""
    found = Results(scale="1e7")
    found.add_ratio("record_vs_postgresql_1e7", 240_000, 160_000)
    found.add_figure("start_seconds_1e7", 1.234)
    readme = tmp_path / "README.md"
    readme.write_text(f"# A\n\n{results.BEGIN}\nold\n{results.END}\n\n## B\n", encoding="utf-8")

    for _ in range(2):
        write_table(readme, found.to_json())

    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"# A\n\n{results.BEGIN}\n| ours")
    assert text.endswith(f"\n{results.END}\n\n## B\n")
    assert "old" not in text
    assert "| 240,000 | 160,000 | **1.50** | ≥ 1 |" in text
    assert "start 1.23 s." in text
    assert "read into memory before its turn" in text
    assert render_table(found.to_json()) in text
    readme.write_text("# A\n", encoding="utf-8")
    with pytest.raises(ValueError, match="needs the lines"):
        write_table(readme, found.to_json())


def test_the_readme_has_a_place_for_the_table() -> None:
    """`make bench` would fail at its end, after an hour, if somebody took the markers away."""
    text = (results.ROOT / "README.md").read_text(encoding="utf-8")

    assert text.count(results.BEGIN) == text.count(results.END) == 1
    assert text.index(results.BEGIN) < text.index(results.END)
