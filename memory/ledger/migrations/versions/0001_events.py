"""The log of events, its cursors, dead letters and full text."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_SEARCH = {
    "sqlite": (
        "CREATE VIRTUAL TABLE event_search USING fts5(group_id, text, content='events', content_rowid='n', "
        "tokenize='porter unicode61 remove_diacritics 2')",
    ),
    "postgresql": (
        "CREATE TABLE event_search (n BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)",
        "CREATE INDEX event_search_words ON event_search USING gin (words)",
    ),
}


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("n", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("group_id", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("stream_id", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("session", sa.Text),
        sa.Column("agent", sa.Text),
        sa.Column("user_id", sa.Text),
        sa.Column("project", sa.Text),
        sa.Column("path", sa.Text),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("recorded", sa.BigInteger, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("extensions", sa.Text),
        sa.UniqueConstraint("group_id", "seq", name="events_group_seq"),
    )
    op.create_index("events_group_session", "events", ["group_id", "session", "seq"])
    op.create_table(
        "event_paths",
        sa.Column("group_id", sa.Text, primary_key=True),
        sa.Column("path", sa.Text, primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "stage_cursors",
        sa.Column("group_id", sa.Text, primary_key=True),
        sa.Column("stage", sa.Text, primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("token", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("done", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("duplicates", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("stream_id", sa.Text, nullable=False, server_default="0-0"),
        sa.Column("generation", sa.Text, nullable=False, server_default=""),
    )
    op.create_table(
        "dead_letters",
        sa.Column("n", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("group_id", sa.Text, nullable=False),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("event_id", sa.Text),
        sa.Column("seq", sa.BigInteger),
        sa.Column("stream_id", sa.Text),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
    )
    op.create_index("dead_letters_group_stage", "dead_letters", ["group_id", "stage"])
    for statement in _SEARCH[op.get_bind().dialect.name]:
        op.execute(statement)


def downgrade() -> None:
    for table in ("event_search", "dead_letters", "stage_cursors", "event_paths", "events"):
        op.drop_table(table)
