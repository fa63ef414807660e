"""Forgetting that is under way, so that it can be finished. Of what was forgotten before, nobody knows that it was."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "forgettings",
        sa.Column("group_id", sa.Text, primary_key=True),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("latest", sa.BigInteger, nullable=False),
        sa.Column("prose", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.execute(
        "INSERT INTO forgettings (group_id, since, latest) SELECT group_id, min(forgotten), max(forgotten) "
        "FROM events WHERE forgotten IS NOT NULL GROUP BY group_id"
    )


def downgrade() -> None:
    op.drop_table("forgettings")
