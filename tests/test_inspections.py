"""Draws that anybody repeats, self-checks and their answers, and a shelf against the ledger."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from documents import (
    DAY,
    HOUR,
    INSTITUTIONS,
    ITEM,
    NOON,
    NS,
    OTHER,
    PRODUCTS,
    SHOP,
    code,
    line,
    receipt,
    sale,
)
from running_server import ServerThread

from tracecode.cases.draw import draw
from tracecode.errors import EtagStale, FieldInvalid, MoveRefused, NotFound
from tracecode.fsck import check
from tracecode.ledger import Ledger
from tracecode.person import PersonKey
from tracecode.v1 import inspection_pb2, inspection_service_pb2, inspection_service_pb2_grpc

pb = inspection_service_pb2


@pytest.fixture(params=["memory", "lmdb"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with the catalogue of the stories, on each engine."""
    directory = tmp_path / "ledger"
    time = [NOON - DAY]
    opened = Ledger.open(
        directory, engine=request.param, person_key=PersonKey(b"k" * 32), clock_ns=lambda: time[0] * NS
    )
    opened.import_products(PRODUCTS)
    opened.import_institutions(INSTITUTIONS)
    time[0] = NOON + DAY
    yield opened
    opened.close()
    if request.param == "lmdb":
        assert check(directory).ok


def announcing(**fields: object) -> inspection_service_pb2.AnnounceDrawRequest:
    """An announcement of a quarter's draw."""
    values: dict[str, object] = {
        "actor": "张三",
        "title": "2026年一季度双随机",
        "division_code": "130500",
        "candidates": [
            inspection_pb2.DrawCandidate(institution_code=f"P1305{number:07}") for number in range(1, 41)
        ],
        "count": 2,
        "inspectors": ["甲", "乙", "丙"],
        "seed_source": "2026-03-17 双色球开奖号码",
    }
    return pb.AnnounceDrawRequest(**{**values, **fields})  # type: ignore[arg-type]


def test_a_draw_is_repeated_with_coreutils_alone(ledger: Ledger) -> None:
    """Pins the published way to draw: who has only a shell finds the same institutions and inspectors."""
    announced = ledger.inspections.announce_draw(announcing())
    drawn = ledger.inspections.perform_draw(
        pb.PerformDrawRequest(
            draw_number=announced.draw_number, etag=announced.etag, actor="李四", seed="03 11 18 20 27 30+09"
        )
    )

    script = (
        "for n in $(seq -f 'P1305%07g' 1 40); do "
        "echo $(printf '%s/%s/1' '03 11 18 20 27 30+09' $n | sha256sum | cut -c1-64) $n; "
        "done | sort | head -2 | cut -d' ' -f2"
    )
    by_shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert announced.draw_number == "CQ-130500-2026-000001"
    assert by_shell.stdout.split() == [institution.institution_code for institution in drawn.drawn]
    assert all(len(set(institution.inspectors)) == 2 for institution in drawn.drawn)
    assert ledger.engine.paper(drawn.draw_number) == drawn


def test_a_draw_is_drawn_once_and_from_what_was_announced(ledger: Ledger) -> None:
    """Pins that nobody draws again until he likes the result."""
    announced = ledger.inspections.announce_draw(announcing(request_id="q"))
    assert ledger.inspections.announce_draw(announcing(request_id="q")) == announced
    request = pb.PerformDrawRequest(
        draw_number=announced.draw_number, etag=announced.etag, actor="李四", seed="1"
    )
    drawn = ledger.inspections.perform_draw(request)

    assert ledger.inspections.perform_draw(request) == drawn
    request.seed = "2"
    with pytest.raises(EtagStale):
        ledger.inspections.perform_draw(request)
    request.etag = drawn.etag
    with pytest.raises(MoveRefused, match="was drawn"):
        ledger.inspections.perform_draw(request)
    for wrong in (
        {"count": 0},
        {"count": 41},
        {"inspectors": ["甲"]},
        {"candidates": []},
        {"seed_source": ""},
    ):
        with pytest.raises(FieldInvalid):
            ledger.inspections.announce_draw(announcing(**wrong))


def test_a_weight_is_so_many_tickets() -> None:
    """Pins that of two institutions the one of weight 3 comes first three times in four."""
    candidates = [
        inspection_pb2.DrawCandidate(institution_code=SHOP, weight=3),
        inspection_pb2.DrawCandidate(institution_code=OTHER, weight=1),
    ]

    first = [draw(str(seed), candidates, 1, ["甲", "乙"])[0].institution_code for seed in range(2_000)]

    assert 1_440 < first.count(SHOP) < 1_560
    assert draw("7", candidates, 2, ["甲"]) == draw("7", candidates[::-1], 2, ["甲"])


def test_an_institution_answers_each_question(ledger: Ledger) -> None:
    """Pins issue and answers: all questions, a problem with its words, and a later answer in the place."""
    issued = ledger.inspections.issue_self_check(
        pb.IssueSelfCheckRequest(
            actor="张三",
            institution_code=SHOP,
            title="一季度自查",
            questions=["是否逐盒扫码", "是否回收药品"],
            due_date="2026-03-31",
        )
    )
    problem = inspection_pb2.SelfCheckAnswer(
        result=inspection_pb2.SELF_CHECK_RESULT_PROBLEM, note="三盒未扫", amount_fen=9_900
    )
    compliant = inspection_pb2.SelfCheckAnswer(result=inspection_pb2.SELF_CHECK_RESULT_COMPLIANT)
    request = pb.AnswerSelfCheckRequest(
        self_check_number=issued.self_check_number, etag=issued.etag, actor="店长", answers=[problem]
    )

    with pytest.raises(FieldInvalid, match="2 questions"):
        ledger.inspections.answer_self_check(request)
    request.answers.append(compliant)
    answered = ledger.inspections.answer_self_check(request)
    assert list(answered.answers) == [problem, compliant]
    request.etag = answered.etag
    request.answers[0].CopyFrom(compliant)
    assert list(ledger.inspections.answer_self_check(request).answers) == [compliant, compliant]
    assert issued.self_check_number == "ZC-130500-2026-000001"


def test_a_shelf_is_compared_with_the_ledger(ledger: Ledger) -> None:
    """Pins missing, extra, sold but present, and that scans may come twice and unreadable."""
    boxes = [code(number) for number in range(1, 7)]
    for document in (
        receipt(SHOP, "R1", NOON, line(*boxes[:4])),
        sale(SHOP, "S1", NOON + 60, line(boxes[0])),
        receipt(OTHER, "R2", NOON, line(boxes[4])),
    ):
        ledger.record([document], [(NOON + HOUR) * NS])
    opened = ledger.inspections.open_inspection(
        pb.OpenInspectionRequest(
            actor="张三", institution_code=SHOP, inspectors=["张三", "李四"], identifiers=[ITEM]
        )
    )
    shelf = [boxes[0], boxes[1], boxes[4], boxes[5], "???"]
    for scans in (shelf[:3], shelf[2:]):
        opened = ledger.inspections.scan_shelf(
            pb.ScanShelfRequest(
                inspection_number=opened.inspection_number, etag=opened.etag, actor="张三", scans=scans
            )
        )
    request = pb.CloseInspectionRequest(
        inspection_number=opened.inspection_number, etag=opened.etag, actor="张三"
    )

    result = ledger.inspections.close_inspection(request).result

    assert result.present_count == 1
    assert list(result.sold_codes) == [boxes[0]]
    assert list(result.extra_codes) == [boxes[4], boxes[5]]
    assert list(result.missing_codes) == [boxes[2], boxes[3]]
    assert list(result.unread_scans) == ["???"]
    with pytest.raises(MoveRefused, match="is closed"):
        ledger.inspections.close_inspection(request)
    with pytest.raises(NotFound):
        ledger.inspections.find(opened.inspection_number, inspection_pb2.Draw)


def test_draws_go_over_the_wire() -> None:
    """Pins the service: an announcement, its draw, and what is said of one that nobody announced."""
    with ServerThread(engine="memory") as service, grpc.insecure_channel(service.address) as channel:
        stub = inspection_service_pb2_grpc.InspectionServiceStub(channel)
        announced = stub.AnnounceDraw(announcing(), timeout=10).draw
        stub.PerformDraw(
            pb.PerformDrawRequest(
                draw_number=announced.draw_number, etag=announced.etag, actor="李四", seed="1"
            ),
            timeout=10,
        )
        drawn = stub.GetDraw(pb.GetDrawRequest(draw_number=announced.draw_number), timeout=10).draw

        assert len(drawn.drawn) == 2
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetInspection(pb.GetInspectionRequest(inspection_number=announced.draw_number), timeout=10)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]
