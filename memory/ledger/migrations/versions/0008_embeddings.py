"""Vectors of events' texts, where an embedding model is set up."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "embeddings",
        sa.Column("group_id", sa.Text, primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "embedding_codes",
        sa.Column("group_id", sa.Text, primary_key=True),
        sa.Column("block", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "embedding_models",
        sa.Column("group_id", sa.Text, primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("dimensions", sa.Integer, nullable=False),
        sa.Column("middle", sa.LargeBinary),
    )
    if op.get_bind().dialect.name == "postgresql":
        for table in ("embeddings", "embedding_codes"):
            # Signs and rounded figures hardly get smaller.
            op.execute(f"ALTER TABLE {table} ALTER COLUMN data SET STORAGE EXTERNAL")


def downgrade() -> None:
    for table in ("embedding_models", "embedding_codes", "embeddings"):
        op.drop_table(table)
