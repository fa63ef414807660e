"""What became of the queue's events, and of dead letters, for the books."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "generations",
        sa.Column("group_id", sa.Text, primary_key=True),
        sa.Column("generation", sa.Text, primary_key=True),
        sa.Column("captured", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("dealt", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("closed", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.create_index("generations_closed", "generations", ["closed", "group_id"])
    op.add_column("stage_cursors", sa.Column("dropped", sa.BigInteger, nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("stage_cursors", "dropped")
    op.drop_table("generations")
