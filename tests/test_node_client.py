"""The contract is enough: a till in JavaScript, made from proto/ alone, records a sale."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running_server import ServerThread, register_institutions

NODE = Path(__file__).parent / "node"
PROTO = Path(__file__).parent.parent / "proto"
INSTITUTION = "P37020304446"
DRUG = "XN02BEB009A001010100001"

numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerThread]:
    """A service with a ledger of its own for this file, on disk."""
    with ServerThread(data_directory=tmp_path_factory.mktemp("node") / "ledger") as server:
        register_institutions(server.address, INSTITUTION)
        yield server


@pytest.fixture(scope="module", autouse=True)
def node_modules() -> None:
    """grpc-js and proto-loader, from the registry if they are not there yet."""
    if not (NODE / "node_modules").is_dir():
        subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"],
            cwd=NODE,
            check=True,
            timeout=100,
        )


def run(script: str, server: ServerThread, *arguments: str) -> Any:
    """Run a JavaScript program against the service; returns what it prints, the error if it ends with one."""
    ran = subprocess.run(
        ["node", str(NODE / script), server.address, str(PROTO), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return json.loads(ran.stdout if ran.returncode == 0 else ran.stderr)


def sell(server: ServerThread, code: str, number: str = "", institution_code: str = INSTITUTION) -> Any:
    """Sell one box by the JavaScript till; returns the verdict, or the error."""
    return run("record_sale.js", server, institution_code, number or f"JS{next(numbers)}", DRUG, code)


def test_a_till_in_another_language_records_a_sale(server: ServerThread) -> None:
    """Pins names, enums and 64-bit numbers as another language reads them from proto/."""
    verdict = sell(server, "82400000000000000001")

    assert verdict["outcome"] == "OUTCOME_ACCEPTED"
    assert int(verdict["sequence"]) == server.ledger.service_info().sequence
    assert verdict["repeat"] is False
    assert verdict["ruleBaseVersion"]


def test_a_till_in_another_language_is_told_of_a_box_sold_twice(server: ServerThread) -> None:
    """Pins that a finding arrives with its Chinese text whole."""
    sell(server, "82400000000000000002")

    verdict = sell(server, "82400000000000000002")

    found = {finding["type"]: finding for finding in verdict["findings"]}
    assert "FINDING_TYPE_DUP_SALE_SAME_ORG" in found
    title = found["FINDING_TYPE_DUP_SALE_SAME_ORG"]["title"]["zhCn"]
    assert any("\u4e00" <= character <= "\u9fff" for character in title)


def test_a_till_in_another_language_is_told_what_is_wrong(server: ServerThread) -> None:
    """Pins status and sentence of a refused document on the other side of the wire."""
    error = sell(server, "82400000000000000003", institution_code="none")

    assert error["code"] == "INVALID_ARGUMENT"
    assert "document.institution_code" in error["message"]


def test_a_gateway_in_another_language_records_many_in_a_message(server: ServerThread) -> None:
    """Pins a stream of messages of several documents: positions over all of them, errors in their places."""
    scans = [
        "82400000000000000011",
        "82400000000000000012",
        "8" * 65,
        "82400000000000000013",
        "824000000000000",
    ]

    answers = run("record_documents.js", server, INSTITUTION, DRUG, *scans)

    assert [len(results) for results in answers] == [2, 2, 1]
    results = [result for results in answers for result in results]
    assert [result["position"] for result in results] == ["0", "1", "2", "3", "4"]
    assert [result["result"] for result in results] == ["verdict", "verdict", "error", "verdict", "verdict"]
    assert (results[2]["error"]["reason"], results[2]["error"]["field"]) == (
        "FIELD_INVALID",
        "document.document_number",
    )
    sequences = [int(result["verdict"]["sequence"]) for result in results if result["result"] == "verdict"]
    assert sequences == sorted(set(sequences))
