"""A canonical hash of a group's graph: two graphs that say the same have the same one.

Nodes and relations are compared by what they hold, in whatever order they were written. Left out are the time at which
something was written (`created_at`) and vectors, which are made of the text beside them.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memory.graph.writer import GraphWriter

#: Nodes that are read at once.
CHUNK = 2_000

_LAST = "MATCH (n) RETURN max(ID(n))"
_NODES = "MATCH (n) WHERE ID(n) >= $first AND ID(n) < $behind RETURN labels(n), properties(n)"
_RELATIONS = """
MATCH (a)-[r]->(b) WHERE ID(a) >= $first AND ID(a) < $behind RETURN type(r), a.uuid, b.uuid, properties(r)
"""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a graph holds: how many nodes and relations, by label and type, and the hash over all, in hex."""

    nodes: dict[str, int]
    relations: dict[str, int]
    sha256: str


def fingerprint(graph: GraphWriter, group: str) -> Fingerprint:
    """The fingerprint of a group's graph; of one that isn't there, that of an empty one.

    Raises:
        GraphUnavailable, GraphRefused
    """
    digests: list[bytes] = []
    counts: dict[str, Counter[str]] = {"nodes": Counter(), "relations": Counter()}
    for kind, name, held in _all(graph, group):
        counts[kind][name] += 1
        raw = json.dumps([name, *held], ensure_ascii=False, sort_keys=True, default=str)
        digests.append(hashlib.sha256(raw.encode("utf-8", "replace")).digest())
    whole = hashlib.sha256(b"".join(sorted(digests))).hexdigest()
    return Fingerprint(dict(sorted(counts["nodes"].items())), dict(sorted(counts["relations"].items())), whole)


def _all(graph: GraphWriter, group: str) -> Iterator[tuple[str, str, list[Any]]]:
    """What kind, its name, and what it holds."""
    if not graph.exists(group):
        return
    last = graph.rows(group, _LAST)[0][0]
    for first in range(0, (-1 if last is None else int(last)) + 1, CHUNK):
        part = {"first": first, "behind": first + CHUNK}
        for labels, properties in graph.rows(group, _NODES, part):
            yield "nodes", ":".join(sorted(labels)), [_said(properties)]
        for type, source, target, properties in graph.rows(group, _RELATIONS, part):
            yield "relations", type, [source, target, _said(properties)]


def _said(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in properties.items()
        if name != "created_at" and not name.endswith("_embedding") and value is not None
    }
