"""The services of the contract over an open ledger, with what they share."""

from __future__ import annotations

import structlog
from prometheus_client.registry import Collector

from tracecode.access import Access
from tracecode.grants import GrantsFile
from tracecode.history import History
from tracecode.ledger import Ledger
from tracecode.regulator import Regulator
from tracecode.views.projector import DIRECTORY as VIEWS_DIRECTORY
from tracecode.views.relations import Relations
from tracecode_server.case_service import CaseService
from tracecode_server.catalogue_service import CatalogueService
from tracecode_server.consumer_service import ConsumerService
from tracecode_server.finding_service import FindingService
from tracecode_server.history_service import HistoryService
from tracecode_server.inspection_service import InspectionService
from tracecode_server.ledger_service import LedgerService
from tracecode_server.log_status import LogStatus
from tracecode_server.method import SERVICES
from tracecode_server.metrics import Metrics
from tracecode_server.open_views import OpenViews
from tracecode_server.proof_service import ProofService
from tracecode_server.read_pool import ReadPool
from tracecode_server.report_service import ReportService
from tracecode_server.rule_base_service import RuleBaseService
from tracecode_server.screening_service import ScreeningService
from tracecode_server.settings import Settings
from tracecode_server.view_status import ViewStatus


class Services:
    """What answers, whoever listens. Belongs to one event loop; the ledger stays the caller's."""

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        calls: Collector,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        """`calls` has the figures of the calls, to be scraped with all others."""
        self.metrics = Metrics(ledger, calls, settings.data_directory)
        self._views = OpenViews(settings.data_directory)
        view_status = ViewStatus(self._views, lambda: ledger.engine.sequence, ledger.engine.entries)
        self.metrics.registry.register(view_status)
        # A question is judged in Python with the engine held: a second thread would only wait for the first
        # one, and each that waits lets the event loop wait longer for the interpreter.
        self._questions = ReadPool(1)
        if settings.proof_folder is not None:
            self.metrics.registry.register(
                LogStatus(settings.proof_folder, lambda: ledger.engine.sequence, ledger.engine.entries)
            )
        self._reads = ReadPool(settings.read_threads)
        access = Access(ledger.desk, GrantsFile(settings.grants_file), ledger.clock_ns)
        self._ledger_service = LedgerService(
            ledger,
            Regulator(ledger, access),
            self._questions,
            self._reads,
            self.metrics,
            settings.stream_documents_max,
            settings.stream_bytes_max,
            view_status.read,
        )
        self._rule_base_service = RuleBaseService(ledger, self._reads, settings.data_directory)
        directory = settings.data_directory
        self._relations = Relations(
            None if directory is None else directory / VIEWS_DIRECTORY,
            lambda: ledger.engine.sequence,
            ledger.engine.entries,
            read_views=self._views.read,
        )
        history = History(ledger, self._relations, access, ledger.clock_ns)
        self._finding_service = FindingService(ledger, access, self._reads, self._views)
        self._screening_service = ScreeningService(self._reads, settings, log)
        self._report_service = ReportService(ledger, access, self._reads, settings, log)
        answering = {
            "LedgerService": self._ledger_service,
            "CatalogueService": CatalogueService(ledger, self._reads),
            "ConsumerService": ConsumerService(
                ledger, self._reads, settings.consumer_questions_per_second_max
            ),
            "HistoryService": HistoryService(history, self._reads),
            "RuleBaseService": self._rule_base_service,
            "FindingService": self._finding_service,
            "CaseService": CaseService(ledger, access, self._reads),
            "InspectionService": InspectionService(ledger.inspections, self._reads),
            "ScreeningService": self._screening_service,
            "ReportService": self._report_service,
            "ProofService": ProofService(ledger, self._reads, settings),
        }
        self.by_name: dict[str, object] = {
            descriptor.full_name: answering[descriptor.name] for descriptor in SERVICES
        }

    def start(self) -> None:
        """Go on with what was under way when the service stopped; from within the event loop."""
        self._screening_service.start()
        self._report_service.start()

    def stop_reading(self) -> None:
        """Read no more documents from any stream, what was read is still answered; end every watch."""
        self._ledger_service.drain()
        self._finding_service.drain()

    def close(self) -> None:
        """End what was begun for the services; nobody asks any more."""
        self._rule_base_service.stop()
        self._screening_service.stop()
        self._report_service.stop()
        self.metrics.stop()
        self._questions.close()
        self._reads.close()
        self._relations.close()
        self._views.close()
