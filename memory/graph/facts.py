"""What an event says: the episode it becomes, the things it names, and the facts between them.

Pure and without Graphiti. `KINDS` is the table to read and to extend: one row an event type. Identities are
uuid5, so that an event that is seen again yields the very same memory:

    entity    group, label, canonical name
    episode   event id
    fact      event id, relation, source, target; a lasting one (true until further notice): group instead of event id
    mention   episode, entity
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from uuid import UUID

if TYPE_CHECKING:
    from memory.events import Event

#: What an attribute may be: FalkorDB holds no nested maps.
type Flat = str | int | float | bool
type Data = Mapping[str, Any]

#: Root of all identities. Changing it makes every graph written before a stranger.
NAMESPACE = UUID("6d656d6c-616e-5e00-8a00-677261706800")
#: Longest name of an entity or episode, in characters. Paths stay whole: one that is cut is no path.
NAME_LIMIT = 200
#: Longest text of an attribute, in characters.
ATTRIBUTE_LIMIT = 1_000
#: Most things one event may name by one link (the paths of a huge commit, say).
LINK_LIMIT = 200

_FAILED = frozenset({"error", "failed", "failure", "denied", "rejected", "timeout"})
_DONE = frozenset({"completed", "done"})


class Episode(NamedTuple):
    """An event as Graphiti's `EpisodicNode`; `source` is the value of its `EpisodeType`."""

    uuid: str
    name: str
    text: str
    source: Literal["text", "message", "json"]
    source_description: str
    valid_at: datetime
    attributes: dict[str, Flat]


class Entity(NamedTuple):
    """A thing that events name. `label` is an identifier; `attributes` are what this event tells of it."""

    uuid: str
    label: str
    name: str
    attributes: dict[str, Flat]


class Fact(NamedTuple):
    """`(source)-[relation]->(target)` by uuid, true from `valid_at`, and the same as a `sentence`."""

    uuid: str
    source: str
    relation: str
    target: str
    sentence: str
    valid_at: datetime
    attributes: dict[str, Flat]


class Memory(NamedTuple):
    """All that one event says. The episode mentions every entity in `mentioned` (uuids)."""

    episode: Episode
    entities: tuple[Entity, ...]
    mentioned: tuple[str, ...]
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class Thing:
    """Something an event names; `identity` is its canonical name where that differs from the shown one."""

    label: str
    name: str
    identity: str = ""
    attributes: dict[str, Flat] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    """A kind of fact: `(subject)-[relation]->(thing)` for each thing found, said "{subject} {verb} {thing}"."""

    relation: str
    verb: str
    things: Callable[[Data], Iterable[Thing]]
    #: None: the event's session.
    subject: Callable[[Data], Thing] | None = None
    #: Said again, it is still one fact: its identity is free of the event.
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """How events of one type are remembered."""

    text: Callable[[Data], str]
    links: tuple[Link, ...] = ()
    source: Literal["text", "message", "json"] = "text"
    #: Constant attributes of the episode.
    tags: Mapping[str, Flat] = field(default_factory=dict)
    #: Fields of `data` that become attributes of the episode and of the facts that aren't lasting.
    keep: tuple[str, ...] = ()
    #: Fields of `data` that become attributes of the session.
    session: tuple[str, ...] = ()
    #: Which events become episodes; the others have a text only.
    when: Callable[[Data], bool] = lambda data: True


def _file(path: str, **attributes: Flat) -> Thing:
    return Thing("File", path, attributes=attributes)


def _files(field_name: str) -> Callable[[Data], Iterator[Thing]]:
    def found(data: Data) -> Iterator[Thing]:
        value = data.get(field_name)
        for path in value if isinstance(value, list) else [value]:
            if isinstance(path, str):
                yield _file(path)

    return found


def _error(data: Data) -> Iterator[Thing]:
    line = _first_line(data.get("message"))
    # An error's own `name` would overwrite the name that Graphiti searches by.
    yield Thing("Error", line, attributes=_flat(error=data.get("name"), severity=data.get("severity", "high")))


def _tool(data: Data) -> Iterator[Thing]:
    yield Thing("Tool", _first_line(data.get("tool")))


def _task(data: Data) -> Iterator[Thing]:
    yield Thing("Task", _first_line(data.get("task")), attributes={"status": "completed"})


def _todos(done: bool) -> Callable[[Data], Iterator[Thing]]:
    def found(data: Data) -> Iterator[Thing]:
        for todo in _dicts(data.get("todos")):
            if (_text(todo.get("status")) in _DONE) == done:
                attributes = _flat(status=todo.get("status"), priority=todo.get("priority"))
                yield Thing("Task", _first_line(todo.get("content")), attributes=attributes)

    return found


def _commit(data: Data) -> Thing:
    sha = _first_line(data.get("sha"))
    attributes = _flat(sha=sha, author=data.get("author"))
    return Thing("Commit", f"{sha[:12]} {_first_line(data.get('message'))}".strip(), sha, attributes)


def _checkpoint(data: Data) -> Iterator[Thing]:
    attributes = _flat(tokens_before=data.get("tokens_before"), tokens_after=data.get("tokens_after"))
    yield Thing("Checkpoint", _first_line(data.get("checkpoint")), attributes=attributes)


def _parent(data: Data) -> Iterator[Thing]:
    yield Thing("Session", _first_line(data.get("parent")))


def _said(what: str, *fields: str) -> Callable[[Data], str]:
    """`what: text` with the first of the fields that holds something; `what` alone if none does."""

    def text(data: Data) -> str:
        return ": ".join([what, *[found for name in fields if (found := _text(data.get(name)))][:1]])

    return text


def _modified(data: Data) -> str:
    return _lines(f"Modified: {_text(data.get('path'))}", data.get("summary"))


def _called(data: Data) -> str:
    verb = "Failed" if _failed(data) else "Called"
    path = _text(data.get("path"))
    return _lines(f"{verb}: {_text(data.get('tool'))}{path and ' on '}{path}", data.get("summary"))


def _failed(data: Data) -> bool:
    """A tool that did not work, or a command that ended with an exit code other than 0."""
    return _text(data.get("status")).lower() in _FAILED or data.get("exit") not in (None, 0)


def _requested(data: Data) -> str:
    # What is to be forgotten must not come back as the memory of its being forgotten.
    return "" if data.get("action") == "forget" else _text(data.get("request"))


def _planned(data: Data) -> str:
    todos = (
        f"[{_text(todo.get('status')) or 'pending'}] {_text(todo.get('content'))}" for todo in _dicts(data.get("todos"))
    )
    return _lines("Todos:", *todos)


KINDS: dict[str, Kind] = {
    "session.start": Kind(
        text=_said("Session started", "title"),
        tags={"type": "session_start"},
        session=("title", "model"),
        links=(Link("CHILD_OF", "is a child of session", _parent, lasting=True),),
    ),
    "session.end": Kind(
        text=_said("Session ended", "reason"), tags={"type": "session_end"}, session=("reason", "messages")
    ),
    "user.request": Kind(
        text=_requested,
        tags={"type": "request"},
        keep=("action",),
        when=lambda data: data.get("action") in (None, "remember"),
    ),
    "chat.start": Kind(text=_said("user", "query"), source="message", tags={"type": "question"}),
    "chat.message": Kind(
        text=lambda data: f"{_text(data.get('role'))}: {_text(data.get('text'))}",
        source="message",
        tags={"type": "message"},
        keep=("role", "message", "tokens"),
    ),
    "file.write": Kind(
        text=_modified,
        tags={"type": "file_edit"},
        keep=("path", "tool", "additions", "deletions"),
        links=(Link("MODIFIED", "modified", _files("path")),),
    ),
    "tool.call": Kind(
        text=_called,
        tags={"type": "tool_failure"},
        keep=("tool", "status", "exit", "duration_ms", "path"),
        when=_failed,
        links=(
            Link("FAILED_CALL", "failed to call", _tool),
            Link("FAILED_ON", "failed on", _files("path"), subject=lambda data: next(_tool(data))),
        ),
    ),
    "todo.updated": Kind(
        text=_planned,
        tags={"type": "todos"},
        links=(
            Link("PLANNED", "planned", _todos(done=False), lasting=True),
            Link("COMPLETED", "completed", _todos(done=True), lasting=True),
        ),
    ),
    "vcs.commit": Kind(
        text=lambda data: f"Commit {_text(data.get('sha'))[:12]}: {_text(data.get('message'))}",
        tags={"type": "commit"},
        keep=("sha", "author"),
        links=(
            Link("COMMITTED", "committed", lambda data: [_commit(data)], lasting=True),
            Link("CHANGED", "changed", _files("paths"), subject=_commit, lasting=True),
        ),
    ),
    "error": Kind(
        text=_said("Error", "message"),
        tags={"type": "error", "severity": "high"},
        keep=("severity",),
        links=(Link("HIT_ERROR", "hit error", _error),),
    ),
    "completion": Kind(
        text=_said("Completed", "task"),
        tags={"type": "success"},
        keep=("duration", "tokens"),
        links=(Link("COMPLETED", "completed", _task),),
    ),
    "session.compacted": Kind(
        text=_said("Session compacted", "summary"),
        tags={"type": "compaction"},
        keep=("tokens_before", "tokens_after"),
    ),
    "checkpoint.created": Kind(
        text=_said("Checkpoint", "summary", "checkpoint"),
        tags={"type": "checkpoint"},
        keep=("range", "tokens_before", "tokens_after"),
        links=(Link("REACHED", "reached checkpoint", _checkpoint),),
    ),
}

#: Event types that the stage `episodes` cares about.
TYPES: frozenset[str] = frozenset(KINDS)


def text_of(event: Event) -> str:
    """The text by which an event is found: an episode's content, the full-text index's entry; "" if it has none."""
    kind = KINDS.get(event.type)
    return kind.text(event.data) if kind else ""


def remember(event: Event) -> Memory | None:
    """All that an event says; None if it is of no kind that becomes an episode."""
    kind = KINDS.get(event.type)
    if kind is None or not kind.when(event.data):
        return None
    return _Telling(event, kind).memory()


class _Telling:
    """Collects the entities and facts of one event, each once."""

    def __init__(self, event: Event, kind: Kind) -> None:
        self.event, self.kind = event, kind
        self.entities: dict[str, Entity] = {}
        self.facts: dict[str, Fact] = {}

    def memory(self) -> Memory:
        event, kind, data = self.event, self.kind, self.event.data
        kept = _flat(**{name: data.get(name) for name in kind.keep})
        session = self._session()
        for link in kind.links:
            subject = self._entity(link.subject(data)) if link.subject else session
            for thing, _ in zip(link.things(data), range(LINK_LIMIT), strict=False):
                self._link(subject, link, self._entity(thing), {} if link.lasting else kept)
        mentioned = tuple(self.entities)
        # The agent is in every event: an edge of its own for each would say less than these facts and cost a third.
        if session and event.agent:
            agent = self._entity(Thing("Agent", event.agent))
            self._link(agent, _WORKED_IN, session, {})
        text = kind.text(data)
        episode = Episode(
            uuid=episode_uuid(event.id),
            name=_clipped(_first_line(text)) or event.type,
            text=text,
            source=kind.source,
            source_description=f"{event.source} {event.type}",
            valid_at=event.time,
            attributes={**_flat(session=event.session, agent=event.agent), **kind.tags, **kept},
        )
        return Memory(episode, tuple(self.entities.values()), mentioned, tuple(self.facts.values()))

    def _session(self) -> Entity | None:
        event = self.event
        if event.session is None:
            return None
        told = {name: event.data.get(name) for name in self.kind.session}
        attributes = _flat(source=event.source, user=event.user, project=event.project, **told)
        return self._entity(Thing("Session", event.session, attributes=attributes))

    def _entity(self, thing: Thing) -> Entity | None:
        if not thing.name:
            return None
        uuid = entity_uuid(self.event.group, thing.label, thing.identity or thing.name)
        known = self.entities.get(uuid)
        if known is None:
            name = thing.name if thing.label == "File" else _clipped(thing.name)
            known = self.entities[uuid] = Entity(uuid, thing.label, name, dict(thing.attributes))
        else:
            known.attributes.update(thing.attributes)
        return known

    def _link(self, subject: Entity | None, link: Link, target: Entity | None, attributes: dict[str, Flat]) -> None:
        if subject is None or target is None:
            return
        uuid = fact_uuid(self.event.group if link.lasting else self.event.id, link.relation, subject.uuid, target.uuid)
        sentence = f"{self._said(subject)} {link.verb} {target.name}"
        self.facts[uuid] = Fact(uuid, subject.uuid, link.relation, target.uuid, sentence, self.event.time, attributes)

    def _said(self, entity: Entity) -> str:
        """How an entity is called at the beginning of a sentence: of a session one tells by its agent."""
        if entity.label == "Session" and self.event.agent:
            return self.event.agent
        return f"{entity.label.lower()} {entity.name}"


_WORKED_IN = Link("WORKED_IN", "worked in session", lambda data: (), lasting=True)


def _identity(text: str) -> str:
    """`str(uuid5(NAMESPACE, text))`, in a third of the time; five of them an event are what a writer computes most."""
    digits = hashlib.sha1(NAMESPACE.bytes + text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


@lru_cache(maxsize=65_536)
def entity_uuid(group: str, label: str, identity: str) -> str:
    """Identity of an entity; group and label hold no slash, so no two triples are spelled alike."""
    return _identity(f"entity/{group}/{label}/{identity}")


def episode_uuid(event_id: str) -> str:
    """Identity of the episode that an event becomes."""
    return _identity(f"episode/{event_id}")


def fact_uuid(origin: str, relation: str, source: str, target: str) -> str:
    """Identity of a fact between two entity uuids; `origin` is an event's id, or the group if the fact is lasting."""
    return _identity(f"fact/{relation}/{source}/{target}/{origin}")


def mention_uuid(episode: str, entity: str) -> str:
    """Identity of an episode's mention of an entity, both given by uuid."""
    return _identity(f"mention/{episode}/{entity}")


def _flat(**values: object) -> dict[str, Flat]:
    """Attributes a graph can hold: absent ones left out, everything else than text and numbers as JSON."""
    return {name: _flat_value(value) for name, value in values.items() if value is not None}


def _flat_value(value: object) -> Flat:
    if isinstance(value, str):
        return value[:ATTRIBUTE_LIMIT]
    # FalkorDB's integers have 64 bits, and silently keep the nearest.
    if isinstance(value, bool) or (isinstance(value, int) and -(2**63) <= value < 2**63):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)[:ATTRIBUTE_LIMIT]


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def _lines(*parts: object) -> str:
    return "\n".join(text for part in parts if (text := _text(part)))


def _first_line(value: object) -> str:
    return _text(value).strip().partition("\n")[0].rstrip()


def _clipped(name: str) -> str:
    return name if len(name) <= NAME_LIMIT else name[: NAME_LIMIT - 1] + "…"


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
