"""What a checkpoint says. The same whether it was taken from events or written by a model."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

#: Events that an entry names, as seqs: where it comes from. The first, and the latest.
NAMED = 10


class Said(BaseModel):
    """Something, in words, and the events that say so."""

    model_config = ConfigDict(hide_input_in_errors=True)

    text: str
    seqs: list[int] = Field(default_factory=list, description="Seqs of the events it comes from, in the ledger.")

    def seen(self, seq: int) -> None:
        """Name one more event."""
        if seq not in self.seqs:
            self.seqs = [*self.seqs[:1], *[*self.seqs[1:], seq][1 - NAMED :]] if self.seqs else [seq]


class Request(Said):
    """What the user asked for."""

    answered: bool = False


class Task(Said):
    """An entry of the todo list that is not done."""

    status: str = "pending"
    priority: str = ""


class FileChange(Said):
    """A file, and what happened to it; `text` is its path, as events have it."""

    times: int = Field(default=0, description="Writes.")
    additions: int = 0
    deletions: int = 0
    what: str = Field(default="", description="The last change, in a few words.")
    committed: bool = False


class Problem(Said):
    """An error, or a command that failed."""

    name: str = ""
    tool: str = ""
    command: str = ""
    path: str = ""
    times: int = 1
    solved: bool = False
    how: str = Field(default="", description="What shows that it is solved.")


class Content(BaseModel):
    """What an agent needs to carry on. Lists have the oldest first."""

    model_config = ConfigDict(hide_input_in_errors=True)

    objective: Said | None = None
    requests: list[Request] = Field(default_factory=list)
    decisions: list[Said] = Field(default_factory=list)
    done: list[Said] = Field(default_factory=list)
    open: list[Task] = Field(default_factory=list)
    blocked: list[Said] = Field(default_factory=list)
    files: list[FileChange] = Field(default_factory=list)
    errors: list[Problem] = Field(default_factory=list)
    next: Said | None = None
    summary: Said | None = Field(default=None, description="What the agent's own compaction wrote, as it is.")

    @property
    def unresolved(self) -> list[Problem]:
        return [problem for problem in self.errors if not problem.solved]

    @property
    def last_request(self) -> Request | None:
        return self.requests[-1] if self.requests else None
