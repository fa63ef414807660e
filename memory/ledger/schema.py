"""Tables of the ledger. The migrations create them; a test holds the two together.

Times are milliseconds since 1970, UTC.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

metadata = MetaData()
_GONE = text("forgotten IS NOT NULL")

#: SQLite numbers rows by itself only where the type is exactly INTEGER.
_Number = BigInteger().with_variant(Integer(), "sqlite")

events = Table(
    "events",
    metadata,
    Column("n", _Number, primary_key=True, autoincrement=True, comment="row number; what full text refers to"),
    Column("id", Text, nullable=False, unique=True, comment="the producer's id, unique for ever"),
    Column("group_id", Text, nullable=False),
    Column("seq", BigInteger, nullable=False, comment="dense within the group, from 1, in lane order"),
    Column("stream_id", Text, nullable=False, comment="where it stood in the lane"),
    Column("type", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("session", Text),
    Column("agent", Text),
    Column("user_id", Text),
    Column("project", Text),
    Column("path", Text, comment="data.path, in stored form"),
    Column("time", BigInteger, nullable=False, comment="when it happened"),
    Column("recorded", BigInteger, nullable=False, comment="when it came into the ledger"),
    Column("text", Text, nullable=False, comment="what is said of it in episodes and in search; may be empty"),
    Column("data", Text, nullable=False, comment="JSON"),
    Column("extensions", Text, comment="JSON of CloudEvents attributes that Memlane does not know"),
    Column(
        "forgotten", BigInteger, comment="when its content was forgotten; the row stays, so that its id stays known"
    ),
    UniqueConstraint("group_id", "seq", name="events_group_seq"),
    Index("events_group_session", "group_id", "session", "seq"),
    Index("events_forgotten", "group_id", "seq", sqlite_where=_GONE, postgresql_where=_GONE),
)

forgettings = Table(
    "forgettings",
    metadata,
    Column("group_id", Text, primary_key=True),
    Column("since", BigInteger, nullable=False, comment="not later than `forgotten` of any event concerned"),
    Column("latest", BigInteger, nullable=False, comment="of its last change; each has another"),
    Column(
        "prose",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="whether a model had found something in what was forgotten",
    ),
)

event_paths = Table(
    "event_paths",
    metadata,
    Column("group_id", Text, primary_key=True),
    Column("path", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    sqlite_with_rowid=False,
)

sessions = Table(
    "sessions",
    metadata,
    Column("group_id", Text, primary_key=True),
    Column("session", Text, primary_key=True),
    Column("project", Text),
    Column("parent", Text, comment="session that it is a subagent's of"),
    Column("agent", Text, comment="the last one that acted in it"),
    Column("title", Text),
    Column("model", Text),
    Column("request", Text, comment="first line of what its user asked for first"),
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("started", BigInteger, nullable=False, comment="time of its earliest event"),
    Column("active", BigInteger, nullable=False, comment="time of its latest event"),
    Column("events", BigInteger, nullable=False),
    Column("messages", BigInteger, nullable=False),
    Column("writes", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("completions", BigInteger, nullable=False),
    Column("compactions", BigInteger, nullable=False, comment="and checkpoints"),
    Column("tokens", BigInteger, nullable=False, comment="used, as its completions tell"),
    Column("todos_open", BigInteger, nullable=False, comment="in its latest todo list"),
    Column("todos_done", BigInteger, nullable=False),
    Column("context_tokens", BigInteger, comment="size of its context when that was last told"),
    Column("context_limit", BigInteger),
    Index("sessions_group_active", "group_id", "active"),
)

stage_cursors = Table(
    "stage_cursors",
    metadata,
    Column("group_id", Text, primary_key=True),
    Column("stage", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False, server_default="0", comment="last event the stage has dealt with"),
    Column(
        "token", BigInteger, nullable=False, server_default="0", comment="fencing: only its newest holder may write"
    ),
    Column("done", BigInteger, nullable=False, server_default="0", comment="events of interest dealt with"),
    Column("duplicates", BigInteger, nullable=False, server_default="0", comment="`record` only"),
    Column(
        "stream_id", Text, nullable=False, server_default="0-0", comment="`record` only: last lane entry dealt with"
    ),
    Column("generation", Text, nullable=False, server_default="", comment="`record` only: the server's, for stream_id"),
    Column("dropped", BigInteger, nullable=False, server_default="0", comment="dead letters that were dropped"),
)

generations = Table(
    "generations",
    metadata,
    Column("group_id", Text, primary_key=True),
    Column("generation", Text, primary_key=True, comment="one life of the queue server: between two of its starts"),
    Column("captured", BigInteger, nullable=False, server_default="0", comment="events it accepted, as far as known"),
    Column("dealt", BigInteger, nullable=False, server_default="0", comment="lane entries of it dealt with"),
    Column("closed", Boolean, nullable=False, server_default=false(), comment="its lane holds none of them any more"),
    Index("generations_closed", "closed", "group_id"),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("n", _Number, primary_key=True, autoincrement=True),
    Column("group_id", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("event_id", Text, comment="absent where the event could not be read"),
    Column("seq", BigInteger, comment="absent for stage `record`: it never got one"),
    Column("stream_id", Text),
    Column("error", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("event", Text, nullable=False, comment="the whole event as it was found"),
    Column("time", BigInteger, nullable=False),
    Index("dead_letters_group_stage", "group_id", "stage"),
)

search_postings = Table(
    "search_postings",
    metadata,
    Column("group_id", Text, primary_key=True),
    Column("block", BigInteger, primary_key=True, autoincrement=False, comment="seq // postings.BLOCK"),
    Column("term", Text().with_variant(Text(collation="C"), "postgresql"), primary_key=True, comment="see `search.py`"),
    Column("data", LargeBinary, nullable=False, comment="which events hold it: see `postings.py`"),
    sqlite_with_rowid=False,
)

search_blocks = Table(
    "search_blocks",
    metadata,
    Column("group_id", Text, primary_key=True),
    Column("block", BigInteger, primary_key=True, autoincrement=False),
    Column("events", BigInteger, nullable=False, comment="events that can be found"),
    Column("words", BigInteger, nullable=False, comment="of their texts, all together"),
    Column("path_words", BigInteger, nullable=False, comment="of their paths, all together"),
    Column("data", LargeBinary, nullable=False, comment="what is known of each event: see `postings.OF_EVENT`"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("id", Text, primary_key=True, comment="also the id of its event"),
    Column("group_id", Text, nullable=False),
    Column("session", Text, nullable=False),
    Column("first_seq", BigInteger, nullable=False, comment="first event of the session that it covers"),
    Column("last_seq", BigInteger, nullable=False, comment="last one: the event that was the reason for it"),
    Column("trigger_id", Text, nullable=False, comment="id of that event"),
    Column("reason", Text, nullable=False),
    Column("strategy", Text, nullable=False),
    Column("written_by", Text, nullable=False, comment="`extract`, or the model's name"),
    Column("tokens_before", BigInteger, comment="of the model's context, as far as known"),
    Column("tokens_after", BigInteger, nullable=False, comment="of the summary"),
    Column("time", BigInteger, nullable=False),
    Column("agent", Text),
    Column("user_id", Text),
    Column("project", Text),
    Column("content", Text, nullable=False, comment="JSON: memory.compaction.content"),
    Column("summary", Text, nullable=False),
    # A range that begins where another one begins, or ends where it ends, would tell the same events again.
    UniqueConstraint("group_id", "session", "first_seq", name="checkpoints_first"),
    UniqueConstraint("group_id", "session", "last_seq", name="checkpoints_last"),
)

spending = Table(
    "spending",
    metadata,
    Column("group_id", Text, primary_key=True),
    Column("day", Text, primary_key=True, comment="in UTC, as 2026-11-21"),
    Column("stage", Text, primary_key=True, comment="which asked the model"),
    Column("calls", BigInteger, nullable=False),
    Column("tokens_in", BigInteger, nullable=False),
    Column("tokens_out", BigInteger, nullable=False),
    Index("spending_day", "day"),
)

extractions = Table(
    "extractions",
    metadata,
    Column("group_id", Text, primary_key=True),
    Column("first_seq", BigInteger, primary_key=True, autoincrement=False, comment="first event that was read"),
    Column("last_seq", BigInteger, nullable=False, comment="last one"),
    Column("model", Text, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("answer", Text, nullable=False, comment="JSON: what the model found in them; see memory.graph.extracted"),
)

embeddings = Table(
    "embeddings",
    metadata,
    Column("group_id", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False, comment="the vector of its text, a signed byte a dimension"),
)

embedding_codes = Table(
    "embedding_codes",
    metadata,
    Column("group_id", Text, primary_key=True),
    Column("block", BigInteger, primary_key=True, autoincrement=False, comment="seq // embeddings.BLOCK"),
    Column("data", LargeBinary, nullable=False, comment="on which side of the middle they are, a bit a dimension"),
)

embedding_models = Table(
    "embedding_models",
    metadata,
    Column("group_id", Text, primary_key=True),
    Column("model", Text, nullable=False, comment="whose vectors these are: Settings.embeddings"),
    Column("dimensions", Integer, nullable=False),
    Column("middle", LargeBinary, comment="mean of the vectors, four bytes a dimension, once there are enough of them"),
)
