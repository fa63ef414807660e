"""What this machine's home knows of its groups, and the queue server may not: receipts, and what waits in spools."""

from __future__ import annotations

from pathlib import Path

import redis
from sqlalchemy import Connection

from memory import lua
from memory.ledger import generations
from producers.address import without_password
from producers.receipts import Receipts
from producers.spool import Spool, Waiting, spools


class Home:
    """A look at one home, on behalf of the queue server at a URL."""

    def __init__(self, folder: Path, url: str) -> None:
        """
        Args:
            folder: the home.
            url: of the queue server, password included.
        """
        self._folder = folder
        #: Of the queue server, without the password.
        self.address = without_password(url)
        self._receipts = Receipts(folder, self.address)

    @property
    def groups(self) -> set[str]:
        """Groups that events were published to from here."""
        return set(self._receipts.groups()) | {spool.group for spool in spools(self._folder)}

    def waiting(self) -> list[Waiting]:
        """What waits in each spool that holds events."""
        return [spool.waiting() for spool in spools(self._folder)]

    def spooled(self, client: redis.Redis, group: str) -> int:
        """Events that wait in this home's spool of a group, and in those of others as far as they have told."""
        here = Spool(self._folder, group).waiting()
        told: dict[bytes, bytes] = client.hgetall(lua.spools(group))
        others = [
            int(count)
            for name, count in told.items()
            if name.endswith(b":waiting") and name.decode() != f"{here.id}:waiting"
        ]
        return here.events + sum(others)

    def report(self, client: redis.Redis, connection: Connection) -> None:
        """Tell the queue server what the ledger does not know yet. If the server was wiped, the ledger so learns what
        is lost, without waiting for the next event.

        Raises:
            redis.RedisError
        """
        waiting = {found.group: found for found in self.waiting()}
        for group in self.groups:
            keys = [lua.captured(group), lua.spools(group), lua.BELL]
            known = generations.captured(connection, group)
            for receipt in self._receipts.on_disk(group):
                if known.get(receipt.generation, 0) < receipt.count:
                    lua.run(client, "report", keys, [group, receipt.generation, receipt.count, "", 0])
            if (spool := waiting.get(group)) and spool.id:
                lua.run(client, "report", keys, [group, "", 0, spool.id, spool.events])
