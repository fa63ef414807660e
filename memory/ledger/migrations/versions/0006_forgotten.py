"""Events that were forgotten: of each a row remains, without content."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("events", sa.Column("forgotten", sa.BigInteger))
    gone = sa.text("forgotten IS NOT NULL")
    op.create_index("events_forgotten", "events", ["group_id", "seq"], sqlite_where=gone, postgresql_where=gone)


def downgrade() -> None:
    op.drop_index("events_forgotten", "events")
    op.drop_column("events", "forgotten")
