"""Full text as postings of our own, the same on both databases. Stage `index` fills them anew from the ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_table("event_search")
    op.create_table(
        "search_postings",
        sa.Column("group_id", sa.Text, primary_key=True),
        sa.Column("block", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("term", sa.Text, primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "search_blocks",
        sa.Column("group_id", sa.Text, primary_key=True),
        sa.Column("block", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.Column("words", sa.BigInteger, nullable=False),
        sa.Column("path_words", sa.BigInteger, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        for table in ("search_postings", "search_blocks"):
            # Numbers hardly get smaller, and each append would compress them anew.
            op.execute(f"ALTER TABLE {table} ALTER COLUMN data SET STORAGE EXTERNAL")
        # "C": terms are compared as bytes, which is faster, and the same wherever the database was made.
        op.execute('ALTER TABLE search_postings ALTER COLUMN term TYPE TEXT COLLATE "C"')
    # The stage begins again; what it counts, and what it gave up, begins with it.
    op.execute("DELETE FROM sessions")
    op.execute("DELETE FROM dead_letters WHERE stage = 'index'")
    op.execute("UPDATE stage_cursors SET seq = 0, done = 0, dropped = 0 WHERE stage = 'index'")


def downgrade() -> None:
    raise NotImplementedError("full text of earlier versions is not made again: restore the ledger from a copy")
