"""tracecode.v1.ScreeningService: screenings, one after another, each in a process; and what they found."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from tracecode.errors import FieldInvalid, Overloaded
from tracecode.paging import page_size, read_page_token, write_page_token
from tracecode.screening.model import Kind, Lead, Level, State
from tracecode.screening.models import MODELS
from tracecode.screening.run import read_leads, read_scores
from tracecode.screening.runs import (
    Run,
    RunRequest,
    RunState,
    create_run,
    end_run,
    find_results,
    list_runs,
    read_run,
)
from tracecode.screening.score import Point, SubjectScore
from tracecode.v1 import screening_service_pb2
from tracecode_server.read_pool import ReadPool
from tracecode_server.settings import Settings

Row = TypeVar("Row")
_Listing = TypeVar(
    "_Listing",
    screening_service_pb2.ListScreeningsRequest,
    screening_service_pb2.ListLeadsRequest,
    screening_service_pb2.ListScoresRequest,
)

WAITING_MAX = 10
"""Screenings that wait for their turn; each takes a core and its memory for minutes."""
ERROR_BYTES_MAX = 4_000

_STATES = {
    RunState.RUNNING: screening_service_pb2.SCREENING_STATE_RUNNING,
    RunState.DONE: screening_service_pb2.SCREENING_STATE_DONE,
    RunState.CANCELLED: screening_service_pb2.SCREENING_STATE_CANCELLED,
    RunState.FAILED: screening_service_pb2.SCREENING_STATE_FAILED,
}
_KINDS = {
    Kind.INSTITUTION: screening_service_pb2.LEAD_KIND_INSTITUTION,
    Kind.PERSON: screening_service_pb2.LEAD_KIND_PERSON,
}
_LEVELS = {
    Level.WARN: screening_service_pb2.LEAD_LEVEL_WARN,
    Level.ALERT: screening_service_pb2.LEAD_LEVEL_ALERT,
}
_LEAD_STATES = {
    State.LEAD: screening_service_pb2.LEAD_STATE_LEAD,
    State.SUSPECTED: screening_service_pb2.LEAD_STATE_SUSPECTED,
}
_MODELS = {model.name: model for model in MODELS}


class ScreeningService:
    """Answers for the screenings of a ledger. Raises our errors; `Methods` turns them into statuses."""

    def __init__(self, reads: ReadPool, settings: Settings) -> None:
        self._reads = reads
        self._settings = settings
        self._worker: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._current = ""
        self._cancelled = ""
        self._process: asyncio.subprocess.Process | None = None
        self._said: dict[str, object] = {}

    def start(self) -> None:
        """Go on with what was under way when the service stopped, and do what is asked for."""
        if self._settings.data_directory is not None and self._settings.views:
            self._wake.set()
            self._worker = asyncio.create_task(self._work())

    def stop(self) -> None:
        """End the process of the screening under way; it goes on at the next start. Safe to call twice."""
        if self._worker is not None:
            self._worker.cancel()
            self._worker = None
        self._end_process()

    # --- the methods ----------------------------------------------------------------------------

    async def StartScreening(
        self, request: screening_service_pb2.StartScreeningRequest
    ) -> screening_service_pb2.StartScreeningResponse:
        asked = RunRequest(
            _read_day("first_day", request.first_day),
            _read_day("last_day", request.last_day),
            request.division_prefix,
            tuple(dict.fromkeys(request.models)),
        )
        directory = self._directory()
        # Nothing in between gives way, so that of two equal questions at once the second finds the first.
        under_way = [run for run in list_runs(directory) if run.state is RunState.RUNNING]
        run = next((run for run in under_way if run.request == asked), None)
        if run is None:
            if len(under_way) >= WAITING_MAX:
                raise Overloaded(f"{len(under_way)} screenings are waiting; cancel one or wait", 60.0)
            run = create_run(directory, asked, datetime.now(UTC))
        self._wake.set()
        return screening_service_pb2.StartScreeningResponse(screening=self._tell(run))

    async def GetScreening(
        self, request: screening_service_pb2.GetScreeningRequest
    ) -> screening_service_pb2.GetScreeningResponse:
        run = await self._reads.run(read_run, self._directory(), request.screening_id)
        return screening_service_pb2.GetScreeningResponse(screening=self._tell(run))

    async def ListScreenings(
        self, request: screening_service_pb2.ListScreeningsRequest
    ) -> screening_service_pb2.ListScreeningsResponse:
        runs = await self._reads.run(list_runs, self._directory())
        page, token = _cut(runs, request)
        return screening_service_pb2.ListScreeningsResponse(
            screenings=[self._tell(run) for run in page], next_page_token=token
        )

    async def CancelScreening(
        self, request: screening_service_pb2.CancelScreeningRequest
    ) -> screening_service_pb2.CancelScreeningResponse:
        directory = self._directory()
        run = read_run(directory, request.screening_id)
        if run.state is RunState.RUNNING:
            process = self._process
            if self._current == run.name and process is not None:
                self._cancelled = run.name
                self._end_process()
                await process.wait()
            run = end_run(directory, run.name, RunState.CANCELLED, datetime.now(UTC))
        return screening_service_pb2.CancelScreeningResponse(screening=self._tell(run))

    async def ListLeads(
        self, request: screening_service_pb2.ListLeadsRequest
    ) -> screening_service_pb2.ListLeadsResponse:
        return await self._reads.run(_list_leads, self._directory(), request)

    async def ListScores(
        self, request: screening_service_pb2.ListScoresRequest
    ) -> screening_service_pb2.ListScoresResponse:
        return await self._reads.run(_list_scores, self._directory(), request)

    # --- the work -------------------------------------------------------------------------------

    def _directory(self) -> Path:
        directory = self._settings.data_directory
        if directory is None or not self._settings.views:
            raise FieldInvalid("screening_id", "there are no screenings: this service keeps no views on disk")
        return directory

    async def _work(self) -> None:
        directory = self._directory()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while waiting := [run for run in list_runs(directory) if run.state is RunState.RUNNING]:
                # The oldest first.
                await self._execute(directory, waiting[-1].name)

    async def _execute(self, directory: Path, name: str) -> None:
        """Let a process do it, and note why it failed if it did."""
        self._current, self._said = name, {}
        options = [str(directory.absolute()), name, "--memory", self._settings.screening_memory]
        for option, path in (
            ("--care-homes", self._settings.care_homes_file),
            ("--thresholds", self._settings.screening_thresholds_file),
        ):
            if path is not None:
                options += [option, str(path.absolute())]
        try:
            process = self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "tracecode_server.screening_process", *options),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
            )
            assert process.stdout is not None
            async for line in process.stdout:
                # What a library says there is not for us.
                if line.startswith(b"{"):
                    self._said = json.loads(line)
            status = await process.wait()
            error = str(self._said.get("error", f"its process ended with status {status}"))
        except OSError as problem:
            error = str(problem)
        finally:
            self._current = ""
        # Where it did what it was asked, it noted that itself.
        if name == self._cancelled:
            end_run(directory, name, RunState.CANCELLED, datetime.now(UTC))
        else:
            end_run(directory, name, RunState.FAILED, datetime.now(UTC), error[:ERROR_BYTES_MAX])

    def _end_process(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                # It keeps what it has at every step, and asks nobody when it ends.
                self._process.kill()

    def _tell(self, run: Run) -> screening_service_pb2.Screening:
        said = self._said if run.name == self._current and run.state is RunState.RUNNING else {}
        return screening_service_pb2.Screening(
            screening_id=run.name,
            state=_STATES[run.state],
            first_day=str(run.request.first),
            last_day=str(run.request.last),
            division_prefix=run.request.division,
            models=run.request.models,
            steps_done=int(str(said.get("done", 0))),
            steps_total=int(str(said.get("total", 0))),
            step=str(said.get("step", "")),
            error=run.error,
            start_time=_to_timestamp(run.started),
            end_time=None if run.ended is None else _to_timestamp(run.ended),
            lead_count=run.leads,
            until_sequence=run.until_sequence,
        )


def _list_leads(
    directory: Path, request: screening_service_pb2.ListLeadsRequest
) -> screening_service_pb2.ListLeadsResponse:
    leads = read_leads(find_results(directory, request.screening_id))
    wanted = [lead for lead in leads if _wants_lead(request, lead)]
    page, token = _cut(wanted, request)
    return screening_service_pb2.ListLeadsResponse(leads=map(_to_lead, page), next_page_token=token)


def _wants_lead(request: screening_service_pb2.ListLeadsRequest, lead: Lead) -> bool:
    return (
        (not request.models or lead.model in request.models)
        and request.kind in (0, _KINDS[lead.kind])
        and request.level in (0, _LEVELS[lead.level])
        and request.state in (0, _LEAD_STATES[lead.state])
        and request.subject in ("", lead.subject)
    )


def _to_lead(lead: Lead) -> screening_service_pb2.Lead:
    model = _MODELS.get(lead.model)
    return screening_service_pb2.Lead(
        lead_id=f"{lead.model}:{lead.subject}",
        model=lead.model,
        model_version=lead.version,
        kind=_KINDS[lead.kind],
        subject=lead.subject,
        level=_LEVELS[lead.level],
        state=_LEAD_STATES[lead.state],
        value=lead.value,
        support=lead.support,
        z=lead.z,
        peer_group=lead.peer_group,
        peer_count=lead.peer_count,
        peer_median=lead.peer_median,
        threshold=lead.threshold,
        rank=lead.rank,
        why_zh=lead.why_zh,
        why_en=lead.why_en,
        excluded_zh=model.excluded_zh if model is not None else "",
        excluded_en=model.excluded_en if model is not None else "",
        numbers_json=json.dumps(lead.numbers, ensure_ascii=False, default=str),
        evidence=[
            screening_service_pb2.LeadEvidence(
                sequence=place.sequence, code=place.code, institution_code=place.institution_code
            )
            for place in lead.evidence
        ],
    )


def _list_scores(
    directory: Path, request: screening_service_pb2.ListScoresRequest
) -> screening_service_pb2.ListScoresResponse:
    scores = [
        score
        for score in read_scores(find_results(directory, request.screening_id))
        if request.kind in (0, _KINDS[score.kind])
        and (not request.grades or score.grade in request.grades)
        and request.subject in ("", score.subject)
    ]
    page, token = _cut(sorted(scores, key=lambda each: (each.credit, each.subject)), request)
    return screening_service_pb2.ListScoresResponse(scores=map(_to_score, page), next_page_token=token)


def _to_score(score: SubjectScore) -> screening_service_pb2.SubjectScore:
    def points(some: Sequence[Point]) -> list[screening_service_pb2.ScorePoint]:
        return [
            screening_service_pb2.ScorePoint(
                source=point.source, points=point.points, why_zh=point.why_zh, why_en=point.why_en
            )
            for point in some
        ]

    return screening_service_pb2.SubjectScore(
        kind=_KINDS[score.kind],
        subject=score.subject,
        risk=score.risk,
        credit=score.credit,
        grade=score.grade,
        inspection_factor=score.inspection_factor,
        effect_zh=score.effect_zh,
        effect_en=score.effect_en,
        risk_points=points(score.risk_points),
        credit_points=points(score.credit_points),
    )


def _cut(rows: list[Row], request: _Listing) -> tuple[list[Row], str]:
    """The page that a listing asks for, and the token of the next one."""
    size = page_size(request.page_size)
    question = type(request)()
    question.CopyFrom(request)
    question.ClearField("page_size")
    question.ClearField("page_token")
    binding = hashlib.sha256(question.SerializeToString(deterministic=True)).hexdigest().encode()
    start = read_page_token(request.page_token, binding)
    end = start + size
    return rows[start:end], write_page_token(end, binding) if end < len(rows) else ""


def _read_day(field: str, text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise FieldInvalid(field, "is no day; write it as 2026-12-01") from None


def _to_timestamp(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
