"""tracecode.v1.RuleBaseService: checks, asks the ledger, converts; a dry run is a process."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

from tracecode.document import check_size
from tracecode.errors import FieldInvalid, NotFound, Overloaded
from tracecode.ledger import Ledger
from tracecode.rule_base import RuleBase
from tracecode.v1 import rule_base_service_pb2
from tracecode.v1.rule_base_service_pb2 import DryRun
from tracecode_server.read_pool import ReadPool

DRY_RUNS_AT_ONCE = 1
"""A run takes a core and a copy of the ledger."""
DRY_RUNS_KEPT = 20
DRY_RUN_ID_BYTES_MAX = 64
RUNNING = rule_base_service_pb2.DRY_RUN_STATE_RUNNING


@dataclass(slots=True)
class _Run:
    message: DryRun
    process: asyncio.subprocess.Process | None = None
    task: asyncio.Task[None] | None = None


class RuleBaseService:
    """Answers for a ledger's rule bases. Raises the ledger's errors; `Methods` turns them into statuses."""

    def __init__(self, ledger: Ledger, reads: ReadPool, data_directory: Path | None) -> None:
        self._ledger = ledger
        self._reads = reads
        self._data_directory = data_directory
        self._runs: dict[str, _Run] = {}

    async def GetRuleBase(
        self, request: rule_base_service_pb2.GetRuleBaseRequest
    ) -> rule_base_service_pb2.GetRuleBaseResponse:
        found = await self._reads.run(self._ledger.get_rule_base, request.sequence)
        return rule_base_service_pb2.GetRuleBaseResponse(rule_base=found)

    async def ListRuleBases(
        self, request: rule_base_service_pb2.ListRuleBasesRequest
    ) -> rule_base_service_pb2.ListRuleBasesResponse:
        return await self._reads.run(self._ledger.list_rule_bases, request)

    async def ValidateRuleBase(
        self, request: rule_base_service_pb2.ValidateRuleBaseRequest
    ) -> rule_base_service_pb2.ValidateRuleBaseResponse:
        rule_base = await self._reads.run(RuleBase.parse_field, request.text, "text")
        return rule_base_service_pb2.ValidateRuleBaseResponse(
            version=rule_base.version,
            overrides=len(rule_base.overrides),
            exemptions=len(rule_base.exemptions),
            thresholds=len(rule_base.threshold_rows),
            drug_conditions=len(rule_base.drug_conditions),
        )

    async def ActivateRuleBase(
        self, request: rule_base_service_pb2.ActivateRuleBaseRequest
    ) -> rule_base_service_pb2.ActivateRuleBaseResponse:
        activated = await self._reads.run(self._ledger.activate_rule_base, request)
        return rule_base_service_pb2.ActivateRuleBaseResponse(rule_base=activated)

    async def StartDryRun(
        self, request: rule_base_service_pb2.StartDryRunRequest
    ) -> rule_base_service_pb2.StartDryRunResponse:
        directory = self._data_directory
        if directory is None:
            raise FieldInvalid("text", "cannot be tried: this service keeps no journal on disk")
        await self._reads.run(RuleBase.parse_field, request.text, "text")
        since = request.since_sequence or 1
        name = hashlib.sha256(f"{since} {request.text}".encode()).hexdigest()[:16]
        run = self._runs.get(name)
        if run is None or run.message.state != RUNNING:
            if sum(each.message.state == RUNNING for each in self._runs.values()) >= DRY_RUNS_AT_ONCE:
                raise Overloaded("another dry run is under way; cancel it or wait for its end", 10.0)
            self._runs.pop(name, None)
            while len(self._runs) >= DRY_RUNS_KEPT:
                del self._runs[next(iter(self._runs))]
            run = self._runs[name] = _Run(DryRun(dry_run_id=name, state=RUNNING))
            run.task = asyncio.create_task(self._follow(run, directory, since, request.text))
        return rule_base_service_pb2.StartDryRunResponse(dry_run=run.message)

    async def GetDryRun(
        self, request: rule_base_service_pb2.GetDryRunRequest
    ) -> rule_base_service_pb2.GetDryRunResponse:
        return rule_base_service_pb2.GetDryRunResponse(dry_run=self._find(request.dry_run_id).message)

    async def CancelDryRun(
        self, request: rule_base_service_pb2.CancelDryRunRequest
    ) -> rule_base_service_pb2.CancelDryRunResponse:
        run = self._find(request.dry_run_id)
        if run.message.state == RUNNING:
            run.message.state = rule_base_service_pb2.DRY_RUN_STATE_CANCELLED
            _end(run)
        return rule_base_service_pb2.CancelDryRunResponse(dry_run=run.message)

    def stop(self) -> None:
        """End all dry runs."""
        for run in self._runs.values():
            _end(run)

    def _find(self, name: str) -> _Run:
        check_size("dry_run_id", name, DRY_RUN_ID_BYTES_MAX)
        run = self._runs.get(name)
        if run is None:
            raise NotFound("no such dry run; it may have been forgotten when the service stopped")
        return run

    async def _follow(self, run: _Run, directory: Path, since: int, text: str) -> None:
        """Take over what the process says until it ends."""
        failed = rule_base_service_pb2.DRY_RUN_STATE_FAILED
        try:
            process = run.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "tracecode_server.dry_run_process"),
                *(str(directory.absolute()), str(since)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            if run.message.state != RUNNING:
                _end(run)
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(ConnectionError):
                process.stdin.write(text.encode())
                await process.stdin.drain()
                process.stdin.close()
            with contextlib.suppress(asyncio.IncompleteReadError):
                while True:
                    size = int.from_bytes(await process.stdout.readexactly(4), "big")
                    said = DryRun.FromString(await process.stdout.readexactly(size))
                    if run.message.state == RUNNING:
                        said.dry_run_id = run.message.dry_run_id
                        run.message = said
            status = await process.wait()
            if run.message.state == RUNNING:
                run.message.state, run.message.error = failed, f"its process ended with status {status}"
        except OSError as error:
            if run.message.state == RUNNING:
                run.message.state, run.message.error = failed, str(error)


def _end(run: _Run) -> None:
    if run.process is not None and run.process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            run.process.terminate()
