"""Who hangs together by resold codes: buyers' cards, where they buy, and who sells the boxes again."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import duckdb
import pyarrow as pa
import rustworkx

from tracecode.screening.model import Kind, Model


def _refine(
    connection: duckdb.DuckDBPyConnection, codes: pa.Table, parameters: Mapping[str, Any]
) -> pa.Table:
    """The institutions of every connected component of the institution-person-code graph.

    A person and an institution are tied by the codes that passed between them; a tie of fewer than
    `tie_codes_min` codes holds nobody, so that where a ring buys now and then is not in it.
    """
    ties: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for row in codes.to_pylist():
        ties[row["origin"], row["origin_person"], "feeder"].add(row["code"])
        ties[row["institution_code"], row["origin_person"], "seller"].add(row["code"])
    graph: rustworkx.PyGraph[tuple[str, str], set[str]] = rustworkx.PyGraph()
    nodes: dict[tuple[str, str], int] = {}
    roles: dict[str, Counter[str]] = defaultdict(Counter)
    for (institution, person, role), tied in ties.items():
        if len(tied) < parameters["tie_codes_min"]:
            continue
        roles[institution][role] += len(tied)
        for node in (("institution", institution), ("person", person)):
            if node not in nodes:
                nodes[node] = graph.add_node(node)
        graph.add_edge(nodes["institution", institution], nodes["person", person], tied)
    rows: list[dict[str, Any]] = []
    components = sorted(rustworkx.connected_components(graph), key=lambda each: (-len(each), min(each)))
    for number, component in enumerate(components, start=1):
        members = [graph[node] for node in component]
        institutions = sorted(name for kind, name in members if kind == "institution")
        persons = [name for kind, name in members if kind == "person"]
        if len(persons) < parameters["persons_min"] or len(institutions) < 2:
            continue
        passed = set().union(*(tied for node in component for tied in graph.adj(node).values()))
        for institution in institutions:
            role, count = roles[institution].most_common(1)[0]
            if count < parameters["institution_codes_min"]:
                continue
            rows.append(
                {
                    "subject": institution,
                    "value": float(len(passed)),
                    "support": count,
                    "ring": f"R{number}",
                    "institutions": len(institutions),
                    "persons": len(persons),
                    "codes": len(passed),
                    "role": role,
                    "role_zh": {"seller": "再次销售", "feeder": "首次销售"}[role],
                }
            )
    schema = pa.schema(
        [
            ("subject", pa.string()),
            ("value", pa.float64()),
            ("support", pa.int64()),
            ("ring", pa.string()),
            ("institutions", pa.int64()),
            ("persons", pa.int64()),
            ("codes", pa.int64()),
            ("role", pa.string()),
            ("role_zh", pa.string()),
        ]
    )
    return pa.Table.from_pylist(rows, schema)


MODEL = Model(
    name="resale_rings",
    version=2,
    kind=Kind.INSTITUTION,
    title_zh="回流团伙",
    title_en="resale rings",
    inputs=("resold",),
    sql="""
    SELECT origin, origin_person, institution_code, code FROM resold
    WHERE origin_insured AND origin_person <> '' AND origin_person <> person_token
    """,
    evidence="""
    SELECT origin AS subject, origin AS institution_code, origin_sequence AS sequence, code FROM resold
    WHERE origin_insured AND origin_person <> '' AND origin_person <> person_token
    UNION ALL
    SELECT institution_code, institution_code, sequence, code FROM resold
    WHERE origin_insured AND origin_person <> '' AND origin_person <> person_token
    """,
    why_zh=(
        "属于回流团伙 {ring}（{institutions} 家机构、{persons} 名购药者、{codes} 个追溯码"
        "）；本机构角色：{role_zh}，涉及 "
        "{support} 个追溯码"
    ),
    why_en=(
        "belongs to ring {ring} ({institutions} institutions, {persons} buyers, {codes} "
        "codes); its role here: {role}, {support} codes"
    ),
    counts_codes=True,
    excluded_zh="与团伙仅有零星追溯码相连者不计",
    excluded_en="Who is tied to a ring by a few codes only is left out",
    refine=_refine,
)
