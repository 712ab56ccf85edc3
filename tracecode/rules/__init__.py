"""The only judge: one finding, one file, one pure function `find(evidence) -> tuple[Finding, ...]`.

An empty tuple is silence. A rule says what is odd and how grave it is by itself; the rule base may weigh
it otherwise by region and date. The order of the tuples is the order of judging: cheapest first. A new
rule is a file of its finding's name, its function in one of the tuples, and a table in tests/rules.
"""

from __future__ import annotations

from collections.abc import Callable

from tracecode.evidence import ChainEvidence, DocumentEvidence, LineEvidence
from tracecode.finding import Finding
from tracecode.rules import (
    clock_skew,
    code_aliased,
    code_ambiguous,
    code_empty,
    code_malformed,
    code_not_trace,
    code_placeholder,
    delete_after_flag,
    dup_channel,
    dup_cross_region,
    dup_in_doc,
    dup_retry,
    dup_sale_cross_org,
    dup_sale_same_org,
    exempt_legacy_stock,
    expired_sale,
    late_upload,
    level_not_unit,
    order_violation,
    org_invalid,
    product_unknown,
    qty_code_mismatch,
    recalled,
    resale_after_settle,
    return_no_sale,
    return_other_org,
    return_resold,
    split_after_whole,
    split_cross_org,
    split_not_allowed,
    split_over,
    stock_already_out,
    stock_never_received,
    stock_not_here,
    swap_attr,
    swap_form,
    swap_maker,
    swap_pack,
    swap_product,
    unverified_offline,
)

DOCUMENT_RULES: tuple[Callable[[DocumentEvidence], tuple[Finding, ...]], ...] = (
    late_upload.find,
    clock_skew.find_document,
    unverified_offline.find,
    org_invalid.find,
    delete_after_flag.find,
)

LINE_RULES: tuple[Callable[[LineEvidence], tuple[Finding, ...]], ...] = (
    code_empty.find,
    code_malformed.find,
    code_not_trace.find,
    code_ambiguous.find,
    code_placeholder.find,
    code_aliased.find,
    dup_in_doc.find,
    product_unknown.find,
    split_not_allowed.find,
    level_not_unit.find,
    qty_code_mismatch.find,
    swap_pack.find,
    swap_maker.find,
    swap_form.find,
    swap_product.find,
)

CHAIN_RULES: tuple[Callable[[ChainEvidence], tuple[Finding, ...]], ...] = (
    dup_channel.find,
    dup_retry.find,
    order_violation.find,
    return_no_sale.find,
    return_other_org.find,
    return_resold.find,
    recalled.find,
    dup_sale_same_org.find,
    split_after_whole.find,
    split_over.find,
    split_cross_org.find,
    stock_already_out.find,
    stock_not_here.find,
    stock_never_received.find,
    exempt_legacy_stock.find,
    expired_sale.find,
    swap_attr.find,
    clock_skew.find_chain,
    dup_sale_cross_org.find,
    dup_cross_region.find,
    resale_after_settle.find,
)
