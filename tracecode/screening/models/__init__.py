"""All models, in the order in which they run and are shown."""

from tracecode.screening.model import Model
from tracecode.screening.models import (
    deletions,
    duplicate_rate,
    identity_cluster,
    late_uploads,
    many_pharmacies,
    never_received,
    no_code_share,
    over_supply,
    photographed_codes,
    prescriber_concentration,
    resale_in,
    resale_out,
    resale_rings,
    resale_source,
    return_cycles,
    round_amounts,
    sales_over_purchases,
    scan_cadence,
    swap_rate,
    watch_list_growth,
    year_end_burst,
)

__all__ = ["MODELS"]

MODELS: tuple[Model, ...] = (
    duplicate_rate.MODEL,
    resale_in.MODEL,
    resale_out.MODEL,
    resale_rings.MODEL,
    sales_over_purchases.MODEL,
    never_received.MODEL,
    swap_rate.MODEL,
    no_code_share.MODEL,
    photographed_codes.MODEL,
    year_end_burst.MODEL,
    round_amounts.MODEL,
    scan_cadence.MODEL,
    late_uploads.MODEL,
    deletions.MODEL,
    return_cycles.MODEL,
    prescriber_concentration.MODEL,
    watch_list_growth.MODEL,
    resale_source.MODEL,
    over_supply.MODEL,
    many_pharmacies.MODEL,
    identity_cluster.MODEL,
)
