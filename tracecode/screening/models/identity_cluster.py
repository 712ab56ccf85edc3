"""Cards that always come together: the same till, the same drug, within minutes, on several days."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb
import pyarrow as pa
import rustworkx

from tracecode.screening.model import Kind, Model


def _refine(
    connection: duckdb.DuckDBPyConnection, pairs: pa.Table, parameters: Mapping[str, Any]
) -> pa.Table:
    """The persons of each cluster of at least `size_min` that no care home explains."""
    homes = dict(connection.execute("SELECT person_token, name FROM care_home").fetchall())
    graph: rustworkx.PyGraph[str, int] = rustworkx.PyGraph()
    nodes: dict[str, int] = {}
    for pair in pairs.to_pylist():
        for person in (pair["person"], pair["other"]):
            if person not in nodes:
                nodes[person] = graph.add_node(person)
        graph.add_edge(nodes[pair["person"]], nodes[pair["other"]], pair["days"])
    places = {pair["person"]: pair["institution_code"] for pair in pairs.to_pylist()}
    places.update({pair["other"]: pair["institution_code"] for pair in pairs.to_pylist()})
    rows: list[dict[str, Any]] = []
    for component in rustworkx.connected_components(graph):
        persons = sorted(graph[node] for node in component)
        strangers = [person for person in persons if person not in homes]
        if len(strangers) < parameters["size_min"]:
            continue
        days = min(min(graph.adj(nodes[person]).values()) for person in persons)
        rows += [
            {
                "subject": person,
                "value": float(days),
                "support": len(persons),
                "others": len(persons) - 1,
                "institution": places[person],
            }
            for person in strangers
        ]
    schema = pa.schema(
        [
            ("subject", pa.string()),
            ("value", pa.float64()),
            ("support", pa.int64()),
            ("others", pa.int64()),
            ("institution", pa.string()),
        ]
    )
    return pa.Table.from_pylist(rows, schema)


MODEL = Model(
    name="identity_cluster",
    version=2,
    kind=Kind.PERSON,
    title_zh="身份聚集",
    title_en="identity cluster",
    inputs=(
        "sale",
        "care_home",
    ),
    sql="""
    WITH frequent AS (
        -- Who did not come often enough alone did not come often enough with others.
        SELECT institution_code, person_token FROM sale
        WHERE in_period AND insured AND person_token <> '' GROUP BY institution_code, person_token
        HAVING count(*) >= $days_min
    ), present AS (
        SELECT institution_code, person_token, count(DISTINCT business_day) AS days
        FROM sale SEMI JOIN frequent USING (institution_code, person_token)
        WHERE in_period AND insured GROUP BY institution_code, person_token
        HAVING count(DISTINCT business_day) >= $days_min
    ), bought AS (
        SELECT institution_code, terminal_id, drug_code, person_token, min(business_time) AS time,
               any_value(business_day) AS business_day
        FROM sale SEMI JOIN present USING (institution_code, person_token)
        WHERE in_period AND insured AND terminal_id <> ''
        GROUP BY institution_code, terminal_id, drug_code, person_token, settlement
    ), paired AS (
        SELECT a.institution_code, a.person_token AS person, b.person_token AS other,
               count(DISTINCT a.business_day) AS days
        FROM bought AS a JOIN bought AS b
          ON a.institution_code = b.institution_code AND a.terminal_id = b.terminal_id
         AND a.drug_code = b.drug_code AND a.business_day = b.business_day
         AND a.person_token < b.person_token
         AND abs(date_diff('second', a.time, b.time)) <= $together_minutes * 60
        GROUP BY ALL HAVING count(DISTINCT a.business_day) >= $days_min
    )
    SELECT p.institution_code, p.person, p.other, p.days
    FROM paired AS p
    JOIN present AS a ON a.institution_code = p.institution_code AND a.person_token = p.person
    JOIN present AS b ON b.institution_code = p.institution_code AND b.person_token = p.other
    WHERE p.days >= $together_share * greatest(a.days, b.days)
    """,
    evidence="""
    SELECT subject, institution_code, sequence, code FROM led
    JOIN sale ON institution_code = institution AND person_token = subject
    WHERE in_period AND insured
    """,
    why_zh=(
        "与另外 {others} 人在同一终端十分钟内先后购买同样药品，至少 {value:.0f} 天如此（机构 {institution}）"
    ),
    why_en=(
        "came with {others} others to one till within minutes for the same drug on at "
        "least {value:.0f} days (institution {institution})"
    ),
    excluded_zh="已排除：登记在册的养老机构",
    excluded_en="Left out: registered care homes",
    refine=_refine,
)
