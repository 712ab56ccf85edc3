"""Who asks in the call that is being answered."""

from __future__ import annotations

from tracecode.access import Asker
from tracecode_server.method import ASKER, PEER


def is_named() -> bool:
    """Whether the call names anybody, be it badly: then it is no till's."""
    return bool(ASKER.get(""))


def name_asker() -> Asker:
    """Who asks, and why, as he says; unnamed in methods for which nobody need be named."""
    actor, _, reason = ASKER.get("").partition("\0")
    return Asker(actor, reason, PEER.get(""))
