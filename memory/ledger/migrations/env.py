"""Run by Alembic: applies the revisions on the connection that `migrate` hands over."""

from alembic import context

from memory.ledger.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
