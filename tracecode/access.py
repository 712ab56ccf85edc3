"""The one door before whatever shows a regulator what others reported: who asks, what he may see, a record.

Nobody is shown anything before it stands in the journal who asked what (AccessRecord): where it cannot be
written there is no answer. Looks that come together share a commit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import Message

from tracecode.cases.case import NOTE_BYTES_MAX, check_text
from tracecode.desk import Desk
from tracecode.document import NS, china_day, day_date
from tracecode.grants import ACTOR_BYTES_MAX, GrantsFile, Reach


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, as he names himself: there is no authentication yet."""

    actor: str = ""
    reason: str = ""
    peer: str = ""
    """The host he asks from."""


class Access:
    """Lets askers look. Any thread may call it."""

    def __init__(self, desk: Desk, grants: GrantsFile, clock_ns: Callable[[], int]) -> None:
        self._desk = desk
        self._grants = grants
        self._clock_ns = clock_ns

    def reach(self, asker: Asker) -> Reach:
        """What the asker may see. Nothing is recorded: for what shows nobody's records, and for what goes on
        after a look. Raises AccessDenied, GrantsInvalid, FieldInvalid."""
        check_text("tracecode-actor", asker.actor, ACTOR_BYTES_MAX)
        check_text("tracecode-reason", asker.reason, NOTE_BYTES_MAX, lines=True)
        return self._grants.reach(asker.actor, day_date(china_day(self._clock_ns() // NS)))

    def look(self, asker: Asker, method: str, question: Message) -> Reach:
        """What the asker may see, once it is durable that he asked. `question` holds no person's token but
        hashed. Raises AccessDenied, GrantsInvalid, FieldInvalid, and what keeps the journal from writing."""
        reach = self.reach(asker)
        self._desk.note_access(asker.actor, asker.peer, method, question, asker.reason)
        return reach
