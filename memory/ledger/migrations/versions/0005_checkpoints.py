"""Checkpoints: what sessions had come to."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "checkpoints",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("group_id", sa.Text, nullable=False),
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("first_seq", sa.BigInteger, nullable=False),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("trigger_id", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("strategy", sa.Text, nullable=False),
        sa.Column("written_by", sa.Text, nullable=False),
        sa.Column("tokens_before", sa.BigInteger),
        sa.Column("tokens_after", sa.BigInteger, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("agent", sa.Text),
        sa.Column("user_id", sa.Text),
        sa.Column("project", sa.Text),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.UniqueConstraint("group_id", "session", "first_seq", name="checkpoints_first"),
        sa.UniqueConstraint("group_id", "session", "last_seq", name="checkpoints_last"),
    )


def downgrade() -> None:
    op.drop_table("checkpoints")
