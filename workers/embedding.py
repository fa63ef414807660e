"""Stage `embedding`: vectors of what recall can find, made by an embedding model. It follows `index`, so that nothing
waits for the model; without one it is off.

A vector that is stored is not asked for again: not by a worker that goes on after one that died, nor where the stage
begins again. Where another model is set up, all vectors are made anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection

from memory.ledger import cursors, embedding_models
from memory.ledger.log import Slice
from memory.settings import settings
from workers import resources
from workers.stage import DependencyDown, Follower, Paused

if TYPE_CHECKING:
    from memory.ledger.embeddings import Values

#: Events that are embedded at once. Some servers take no more texts in one request.
BATCH = 32


class Embedding(Follower):
    name = queue = "embedding"
    follows = "index"

    def __init__(self) -> None:
        #: Of the batch in hand, by seq.
        self._vectors: dict[int, Values] = {}

    @property
    def on(self) -> bool:
        return bool(settings().embeddings)

    def step(self, group: str, token: int, limit: int) -> bool:
        """
        Raises:
            Paused: the group's tokens of the day are used up.
        """
        if self._is_of_another_model(group):
            self._begin_again(group, token)
        return super().step(group, token, min(limit, BATCH))

    def before(self, group: str, events: Slice) -> None:
        # Here, since it needs numpy and OpenAI's client, which workers of other stages need not load.
        from memory.ledger import embeddings
        from memory.ledger.search import texts_of
        from memory.llm.errors import BudgetSpent, ModelAway
        from workers.embedder import embed

        with resources.ledger().read() as connection:
            known = embeddings.stored(connection, group, events.seqs)
            texts = texts_of(connection, group, [seq for seq in events.seqs if seq not in known])
        self._vectors = {}
        if not texts:
            return
        try:
            vectors = embed(group, self.name, list(texts.values()))
        except BudgetSpent as spent:
            raise Paused(str(spent), spent.seconds) from None
        except ModelAway as away:
            raise DependencyDown(str(away)) from None
        self._vectors = {seq: vector for seq, vector in zip(texts, vectors, strict=True) if vector is not None}

    def within(self, connection: Connection, group: str, events: Slice) -> None:
        from memory.ledger import embeddings

        made = {seq: self._vectors[seq] for seq in events.seqs if seq in self._vectors}
        embeddings.store(resources.ledger(), connection, group, settings().embeddings, made)
        embeddings.pack(resources.ledger(), connection, group, [seq for seq in events.seqs if seq not in made])

    def clear(self, connection: Connection, group: str) -> None:
        """The vectors stay, so that no model is asked for them again; only what is packed of them is made anew."""
        from memory.ledger import embeddings

        embeddings.unpack(connection, group)

    def has_work(self, group: str) -> bool:
        return super().has_work(group) or self._is_of_another_model(group)

    def behind(self, connection: Connection, limit: int, after: str) -> list[str]:
        others = embedding_models.of_others(connection, settings().embeddings, limit, after)
        return sorted({*super().behind(connection, limit, after), *others})[:limit]

    def _is_of_another_model(self, group: str) -> bool:
        with resources.ledger().read() as connection:
            known = embedding_models.model_of(connection, group)
        return known is not None and known[0] != settings().embeddings

    def _begin_again(self, group: str, token: int) -> None:
        from memory.ledger import embeddings

        with resources.ledger().write() as connection:
            cursors.claim(connection, self.name, group, token)
            embeddings.clear(connection, group)
            cursors.restart(connection, self.name, group)
