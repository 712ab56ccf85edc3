"""Who asks, as the services of the regulator's desk want it said."""

from __future__ import annotations

from urllib.parse import quote

Metadata = tuple[tuple[str, str], ...] | None


def name_actor(actor: str, reason: str = "") -> Metadata:
    """The metadata of a call by `actor`, who stands in the service's file of grants; what he asks is kept
    with `reason`. Without an actor there is none."""
    if not actor:
        return None
    return (("tracecode-actor", quote(actor)), ("tracecode-reason", quote(reason)))
