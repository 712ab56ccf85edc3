"""What tests put on the wire and read from it: documents of a till, raw calls, errors, looks, figures."""

from __future__ import annotations

import itertools
import time
import urllib.request
from collections.abc import Iterable

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tracecode_server.method import NAMED_SERVICES, SERVICES

from tracecode.client.actor import Metadata, name_actor
from tracecode.v1 import case_pb2, document_pb2, journal_pb2, ledger_service_pb2

METHODS = {method.name: method for service in SERVICES for method in service.methods}
ENDLESS = ("WatchFindings",)
"""Streams of answers that only the caller ends."""
ACTOR = "inspector"
GRANTS = f'[actors.{ACTOR}]\ndivisions = [""]\n'
"""What a file of grants has for a service that these calls are made to."""
INSTITUTION = "P37020304446"
STOCK_INSTITUTION = "P37020300077"
IDENTIFIER = "8123456"
DRUG = "XN02BEB009A001010100001"

serials = itertools.count(1)


def make_code() -> str:
    """A 20-digit code that no other test of this run uses."""
    return f"{IDENTIFIER}{next(serials):013d}"


def make_document(
    code: str = "", number: str = "", institution_code: str = INSTITUTION
) -> document_pb2.Document:
    """A document without its kind: one line, one code, now."""
    code = code or make_code()
    return document_pb2.Document(
        institution_code=institution_code,
        document_number=number or f"T{next(serials)}",
        business_time=Timestamp(seconds=int(time.time()) - 60),
        lines=[document_pb2.Line(line_number=1, drug_code=DRUG, codes=[code], quantity="1")],
    )


def make_sale(
    code: str = "",
    number: str = "",
    institution_code: str = INSTITUTION,
    stage: document_pb2.SaleStage = document_pb2.SALE_STAGE_BEFORE_SETTLEMENT,
) -> document_pb2.Document:
    """A sale of one code, now."""
    document = make_document(code, number, institution_code)
    document.sale.stage = stage
    document.sale.settlement_type = document_pb2.SETTLEMENT_TYPE_INSURED
    return document


def make_long_sale(lines: int) -> document_pb2.Document:
    """A sale of so many lines; at 3,500 it keeps the rules busy for a while."""
    document = make_sale()
    document.lines.extend(make_sale().lines[0] for _ in range(lines - 1))
    for number, line in enumerate(document.lines, 1):
        line.line_number = number
    return document


def make_receipt(code: str, institution_code: str = INSTITUTION) -> document_pb2.Document:
    """Goods in of one code, an hour ago."""
    document = make_document(code, institution_code=institution_code)
    document.business_time.seconds -= 3600
    document.receipt.SetInParent()
    return document


def make_batch(*documents: document_pb2.Document) -> ledger_service_pb2.RecordDocumentsRequest:
    """One message of a stream with these documents."""
    return ledger_service_pb2.RecordDocumentsRequest(
        requests=[ledger_service_pb2.RecordDocumentRequest(document=document) for document in documents]
    )


def name_asker(method: MethodDescriptor) -> Metadata:
    """The metadata of a call: a regulator's where only he is answered, none of a till."""
    alone = method.containing_service.name in NAMED_SERVICES or method.name == "ListComplaints"
    return name_actor(ACTOR if alone else "")


def call_raw(channel: grpc.Channel, name: str, *messages: bytes, timeout_seconds: float = 10) -> bytes:
    """Call a method with raw bytes; returns the raw answer (the last one of a stream that ends)."""
    method = METHODS[name]
    path = f"/{method.containing_service.full_name}/{name}"
    options = {"timeout": timeout_seconds, "metadata": name_asker(method)}
    if not method.client_streaming and not method.server_streaming:
        return channel.unary_unary(path)(messages[0], **options)
    if not method.server_streaming:
        return channel.stream_unary(path)(iter(messages), **options)
    if method.client_streaming:
        answers = channel.stream_stream(path)(iter(messages), **options)
    else:
        answers = channel.unary_stream(path)(messages[0], **options)
    if name in ENDLESS:
        answer = next(answers)
        answers.cancel()
        return answer
    return list(answers)[-1]


def try_raw(channel: grpc.Channel, name: str, *messages: bytes) -> str:
    """Call a method with raw bytes; returns the name of the status it ends with."""
    try:
        call_raw(channel, name, *messages)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def read_details(error: grpc.RpcError) -> dict[str, Message]:
    """The google.rpc details of an error, by the name of their message."""
    kinds = (
        error_details_pb2.ErrorInfo,
        error_details_pb2.BadRequest,
        error_details_pb2.RetryInfo,
        error_details_pb2.LocalizedMessage,
    )
    found: dict[str, Message] = {}
    status = rpc_status.from_call(error)
    assert status is not None, f"no details: {error}"
    for detail in status.details:
        for kind in kinds:
            message = kind()
            if detail.Unpack(message):
                found[kind.__name__] = message
    return found


def read_looks(entries: Iterable[bytes]) -> list[case_pb2.AccessRecord]:
    """The looks among entries of a journal."""
    read = map(journal_pb2.JournalEntry.FromString, entries)
    return [entry.access_record for entry in read if entry.HasField("access_record")]


def read_metrics(address: str) -> str:
    """What a scrape of the metrics gives."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        text: str = answer.read().decode()
    return text


def read_figure(address: str, name: str) -> float:
    """One figure without labels, scraped now."""
    return next(
        float(line.split(" ")[1])
        for line in read_metrics(address).splitlines()
        if line.startswith(f"{name} ")
    )
