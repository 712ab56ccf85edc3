"""What a till or a gateway imports to call the ledger service."""

from tracecode.client.backoff import Backoff
from tracecode.client.case_client import CaseClient
from tracecode.client.errors import (
    CallFailed,
    CallInvalid,
    DocumentConflict,
    NotKnown,
    OutcomeUnknown,
    ServerFault,
    StateConflict,
    Unanswered,
)
from tracecode.client.finding_client import FindingClient
from tracecode.client.inspection_client import InspectionClient
from tracecode.client.ledger_client import LedgerClient
from tracecode.client.proof_client import ProofClient
from tracecode.client.report_client import ReportClient
from tracecode.client.screening_client import ScreeningClient

__all__ = [
    "Backoff",
    "CallFailed",
    "CallInvalid",
    "CaseClient",
    "DocumentConflict",
    "FindingClient",
    "InspectionClient",
    "LedgerClient",
    "NotKnown",
    "OutcomeUnknown",
    "ProofClient",
    "ReportClient",
    "ScreeningClient",
    "ServerFault",
    "StateConflict",
    "Unanswered",
]
