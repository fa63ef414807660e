"""What is known of each session, kept by stage `index`."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

#: How a field of the JSON in column `data` is read.
_FIELD = {"sqlite": "json_extract(e.data, '$.{0}')", "postgresql": "(CAST(e.data AS json) ->> '{0}')"}

#: What is indexed already. What only the latest events tell (todos, the context's size) comes with those that follow.
_FILL = """
INSERT INTO sessions (
    group_id, session, project, parent, agent, title, model, first_seq, last_seq, started, active,
    events, messages, writes, errors, completions, compactions, tokens, todos_open, todos_done
)
SELECT e.group_id, e.session, max(e.project), max({parent}), max(e.agent), max({title}), max({model}),
    min(e.seq), max(e.seq), min(e.time), max(e.time), count(*),
    sum(CASE WHEN e.type IN ('chat.message', 'user.request') THEN 1 ELSE 0 END),
    sum(CASE WHEN e.type = 'file.write' THEN 1 ELSE 0 END),
    sum(CASE WHEN e.type = 'error' THEN 1 ELSE 0 END),
    sum(CASE WHEN e.type = 'completion' THEN 1 ELSE 0 END),
    sum(CASE WHEN e.type IN ('session.compacted', 'checkpoint.created') THEN 1 ELSE 0 END),
    sum(CASE WHEN e.type = 'completion' THEN coalesce(CAST({tokens} AS BIGINT), 0) ELSE 0 END), 0, 0
FROM events e JOIN stage_cursors c ON c.group_id = e.group_id AND c.stage = 'index' AND e.seq <= c.seq
WHERE e.session IS NOT NULL
GROUP BY e.group_id, e.session
"""


def upgrade() -> None:
    op.create_table(
        "sessions",
        sa.Column("group_id", sa.Text, primary_key=True),
        sa.Column("session", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text) for name in ("project", "parent", "agent", "title", "model", "request")),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("first_seq", "last_seq", "started", "active")),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("events", "messages", "writes", "errors")),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("completions", "compactions", "tokens")),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("todos_open", "todos_done")),
        *(sa.Column(name, sa.BigInteger) for name in ("context_tokens", "context_limit")),
    )
    op.create_index("sessions_group_active", "sessions", ["group_id", "active"])
    field = _FIELD[op.get_bind().dialect.name]
    started = "CASE WHEN e.type = 'session.start' THEN {} END"
    fields = {name: started.format(field.format(name)) for name in ("parent", "title", "model")}
    op.execute(sa.text(_FILL.format(**fields, tokens=field.format("tokens"))))


def downgrade() -> None:
    op.drop_table("sessions")
