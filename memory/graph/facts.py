"""What an event says: the episode it becomes, the things it names, and the facts between them.

Identities are uuid5, so that an event that is seen again yields the very same memory:

    entity    group, label, canonical name
    episode   event id
    fact      event id, relation, source, target; a lasting one (true until further notice): group instead of event id
    mention   episode, entity
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple
from uuid import UUID

from memory.graph.kinds import KINDS, Flat, Kind, Link, Thing, first_line, flat

if TYPE_CHECKING:
    from memory.events import Event

#: Root of all identities. Changing it makes every graph written before a stranger.
NAMESPACE = UUID("6d656d6c-616e-5e00-8a00-677261706800")
#: Longest name of an entity or episode, in characters. Paths stay whole: one that is cut is no path.
NAME_LIMIT = 200
#: Most things one event may name by one link (the paths of a huge commit, say).
LINK_LIMIT = 200


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
        kept = flat(**{name: data.get(name) for name in kind.keep})
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
            name=_clipped(first_line(text)) or event.type,
            text=text,
            source=kind.source,
            source_description=f"{event.source} {event.type}",
            valid_at=event.time,
            attributes={**flat(session=event.session, agent=event.agent), **kind.tags, **kept},
        )
        return Memory(episode, tuple(self.entities.values()), mentioned, tuple(self.facts.values()))

    def _session(self) -> Entity | None:
        event = self.event
        if event.session is None:
            return None
        told = {name: event.data.get(name) for name in self.kind.session}
        attributes = flat(source=event.source, user=event.user, project=event.project, **told)
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


def _clipped(name: str) -> str:
    return name if len(name) <= NAME_LIMIT else name[: NAME_LIMIT - 1] + "…"
