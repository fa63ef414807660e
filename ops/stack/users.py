"""Users of the queue server, and what each may do: the one place where it is decided.

docker-compose.yml repeats what `directives` returns, with its own variables for the passwords; a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from memory.lua import PREFIX

PRODUCER, WORKER, OPERATOR = "producer", "worker", "operator"

#: What producers' scripts read and write. A script runs with its caller's rights, so whoever may run one that writes a
#: Celery list could write anything there: none of these is one (`recall` is, `recall:*` isn't).
_WRITTEN = (
    *("lane:*", "pending", "bell", "full", "generation", "run", "groups", "captured:*", "spools:*", "dropped:*"),
    *("context:*", "recall:*", "filling:*", "ask:*", "reply:*"),
)
#: What producers only read.
_READ = ("brief:*",)

#: Celery's commands to workers, and what workers tell of themselves. Who subscribes by a pattern must be allowed just
#: that one, so a wider one would not do.
_CHANNELS = (f"&{PREFIX}/0.celery.pidbox", f"&{PREFIX}/0.celeryev/*")

#: Every rule, by user, in the order in which the server takes them.
RULES: dict[str, tuple[str, ...]] = {
    PRODUCER: (
        *(f"~{PREFIX}{key}" for key in _WRITTEN),
        *(f"%R~{PREFIX}{key}" for key in _READ),
        *("-@all", "+@string", "+@hash", "+@list", "+@set", "+@sortedset", "+@stream", "+@transaction", "-@dangerous"),
        *("+del", "+unlink", "+exists", "+type", "+expire", "+pexpire", "+persist", "+ttl", "+pttl"),
        *("+eval", "+evalsha", "+script|load", "+script|exists", "+time", "+info"),
        *("+ping", "+echo", "+hello", "+auth", "+quit", "+reset"),
        *("+client|setinfo", "+client|setname", "+client|getname", "+client|id"),
    ),
    WORKER: (f"~{PREFIX}*", *_CHANNELS, "+@all", "-@admin", "-@dangerous", "+info"),
    OPERATOR: (
        *(f"~{PREFIX}*", *_CHANNELS, "+@all", "-@admin", "-@dangerous"),
        *("+info", "+config|get", "+slowlog", "+latency", "+memory", "+role", "+lastsave", "+bgrewriteaof"),
        *("+client|list", "+client|kill", "+module|list", "+acl|log"),
    ),
}

#: Who gives no name: nobody, since this user is off. It has all rights nevertheless: with them the server reads its
#: append-only file when it starts, and it leaves out every transaction, and so every script, that needs more.
_DEFAULT = "user default off resetpass ~* &* +@all"


def directives(secrets: Mapping[str, str]) -> str:
    """Lines of a valkey.conf.

    Args:
        secrets: by user, `#` and the password's SHA-256 (see `hashed`), or `>` and the password itself.
    """
    users = [f"user {user} on {secrets[user]} {' '.join(rules)}" for user, rules in RULES.items()]
    return "\n".join([_DEFAULT, *users]) + "\n"


def hashed(password: str) -> str:
    """A password as the server's configuration may hold it."""
    return "#" + sha256(password.encode()).hexdigest()
