"""tracecode.v1.ScreeningService: screenings, one after another, each in a process; and what they found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime

import structlog

from tracecode.document import check_size
from tracecode.errors import FieldInvalid
from tracecode.runs import NAME_BYTES_MAX, RunState
from tracecode.screening.model import Kind, Lead, Level, State
from tracecode.screening.models import MODELS
from tracecode.screening.run import read_leads, read_scores
from tracecode.screening.runs import (
    Found,
    RunRequest,
    Screening,
    Screenings,
    check_request,
    create_run,
    open_runs,
)
from tracecode.screening.score import Point, SubjectScore
from tracecode.v1 import screening_service_pb2
from tracecode_server.page import cut_page, read_page, write_time
from tracecode_server.read_pool import ReadPool
from tracecode_server.run_queue import RunQueue
from tracecode_server.settings import Settings

KEPT_MAX = 200
"""Screenings that are kept; the oldest that have ended are removed."""
SUBJECT_BYTES_MAX = 128
GRADES = 4

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

    def __init__(
        self, reads: ReadPool, settings: Settings, log: structlog.typing.FilteringBoundLogger
    ) -> None:
        self._reads = reads
        self._settings = settings
        self._queue: RunQueue[RunRequest, Found] | None = None
        if settings.data_directory is not None and settings.views:
            self._queue = RunQueue(open_runs(settings.data_directory), self._arguments, log)

    def start(self) -> None:
        """Go on with what was under way when the service stopped, and do what is asked for."""
        if self._queue is not None:
            self._queue.start()

    def stop(self) -> None:
        """End the process of the screening under way; it goes on at the next start. Safe to call twice."""
        if self._queue is not None:
            self._queue.stop()

    async def StartScreening(
        self, request: screening_service_pb2.StartScreeningRequest
    ) -> screening_service_pb2.StartScreeningResponse:
        asked = RunRequest(
            _read_day("first_day", request.first_day),
            _read_day("last_day", request.last_day),
            request.division_prefix,
            tuple(dict.fromkeys(request.models)),
        )
        check_request(asked)
        queue, directory = self._need_queue(), self._settings.data_directory
        assert directory is not None
        await self._reads.run(queue.runs.drop_old, KEPT_MAX - 1)
        run = await queue.put(
            lambda request: request == asked, lambda: create_run(directory, asked, datetime.now(UTC))
        )
        return screening_service_pb2.StartScreeningResponse(screening=self._tell(run))

    async def GetScreening(
        self, request: screening_service_pb2.GetScreeningRequest
    ) -> screening_service_pb2.GetScreeningResponse:
        name = _read_name(request.screening_id)
        run = await self._reads.run(self._need_queue().runs.read, name)
        return screening_service_pb2.GetScreeningResponse(screening=self._tell(run))

    async def ListScreenings(
        self, request: screening_service_pb2.ListScreeningsRequest
    ) -> screening_service_pb2.ListScreeningsResponse:
        runs = await self._reads.run(self._need_queue().runs.list_all)
        page, token = cut_page(runs, request)
        return screening_service_pb2.ListScreeningsResponse(
            screenings=[self._tell(run) for run in page], next_page_token=token
        )

    async def CancelScreening(
        self, request: screening_service_pb2.CancelScreeningRequest
    ) -> screening_service_pb2.CancelScreeningResponse:
        run = await self._need_queue().cancel(_read_name(request.screening_id))
        return screening_service_pb2.CancelScreeningResponse(screening=self._tell(run))

    async def ListLeads(
        self, request: screening_service_pb2.ListLeadsRequest
    ) -> screening_service_pb2.ListLeadsResponse:
        return await self._reads.run(_list_leads, self._need_queue().runs, request)

    async def ListScores(
        self, request: screening_service_pb2.ListScoresRequest
    ) -> screening_service_pb2.ListScoresResponse:
        return await self._reads.run(_list_scores, self._need_queue().runs, request)

    def _need_queue(self) -> RunQueue[RunRequest, Found]:
        if self._queue is None:
            raise FieldInvalid("screening_id", "there are no screenings: this service keeps no views on disk")
        return self._queue

    def _arguments(self, name: str) -> list[str]:
        settings = self._settings
        assert settings.data_directory is not None
        told = [str(settings.data_directory.absolute()), name, "--memory", settings.screening_memory]
        told += ["--spill-bytes-max", str(settings.screening_spill_bytes_max)]
        for option, path in (
            ("--care-homes", settings.care_homes_file),
            ("--thresholds", settings.screening_thresholds_file),
        ):
            if path is not None:
                told += [option, str(path.absolute())]
        return ["tracecode_server.screening_process", *told]

    def _tell(self, run: Screening) -> screening_service_pb2.Screening:
        progress = self._need_queue().progress(run)
        found = run.result or Found(leads=0, until_sequence=0)
        return screening_service_pb2.Screening(
            screening_id=run.name,
            state=_STATES[run.state],
            first_day=str(run.request.first),
            last_day=str(run.request.last),
            division_prefix=run.request.division,
            models=run.request.models,
            steps_done=progress.done,
            steps_total=progress.total,
            step=progress.step,
            error=run.error,
            start_time=write_time(run.started),
            end_time=None if run.ended is None else write_time(run.ended),
            lead_count=found.leads,
            until_sequence=found.until_sequence,
        )


def _list_leads(
    runs: Screenings, request: screening_service_pb2.ListLeadsRequest
) -> screening_service_pb2.ListLeadsResponse:
    _check_names("models", request.models, len(_MODELS))
    check_size("subject", request.subject, SUBJECT_BYTES_MAX)
    # A bad question is told as such, also of a screening that there is not.
    read_page(request)
    leads = read_leads(runs.find_results(_read_name(request.screening_id)))
    wanted = [lead for lead in leads if _wants_lead(request, lead)]
    page, token = cut_page(wanted, request)
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
    runs: Screenings, request: screening_service_pb2.ListScoresRequest
) -> screening_service_pb2.ListScoresResponse:
    _check_names("grades", request.grades, GRADES)
    check_size("subject", request.subject, SUBJECT_BYTES_MAX)
    # A bad question is told as such, also of a screening that there is not.
    read_page(request)
    scores = [
        score
        for score in read_scores(runs.find_results(_read_name(request.screening_id)))
        if request.kind in (0, _KINDS[score.kind])
        and (not request.grades or score.grade in request.grades)
        and request.subject in ("", score.subject)
    ]
    page, token = cut_page(sorted(scores, key=lambda each: (each.credit, each.subject)), request)
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


def _read_day(field: str, text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise FieldInvalid(field, "is no day; write it as 2026-12-01") from None


def _check_names(field: str, names: Sequence[str], names_max: int) -> None:
    if len(names) > names_max:
        raise FieldInvalid(field, "name each once")
    for name in names:
        check_size(field, name, NAME_BYTES_MAX)


def _read_name(name: str) -> str:
    check_size("screening_id", name, NAME_BYTES_MAX)
    return name
