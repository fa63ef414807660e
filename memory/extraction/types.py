"""Kinds of entities and facts that a model is asked for. Names and labels are those of `memory.graph.kinds` where the
same thing is meant, so that what is said of a file and what was done to it meet in one entity."""

from __future__ import annotations

from pydantic import BaseModel


class File(BaseModel):
    """A file or folder of the project, named by its path."""


class Task(BaseModel):
    """Something to be done, or that was done."""


class Error(BaseModel):
    """An error, a failing test or a bug, named by its message."""


class Decision(BaseModel):
    """A choice that was made, or a rule to keep to."""


class Component(BaseModel):
    """A part of the software, a library, a service or a tool."""


class Person(BaseModel):
    """A person or a team."""


ENTITIES: dict[str, type[BaseModel]] = {
    kind.__name__: kind for kind in (File, Task, Error, Decision, Component, Person)
}


class Decided(BaseModel):
    """Somebody decided or demands something."""


class Causes(BaseModel):
    """Something is the cause of something else."""


class Solves(BaseModel):
    """Something solves an error or does a task."""


class DependsOn(BaseModel):
    """Something needs something else."""


class Concerns(BaseModel):
    """A task, error or decision is about something."""


FACTS: dict[str, type[BaseModel]] = {
    "DECIDED": Decided,
    "CAUSES": Causes,
    "SOLVES": Solves,
    "DEPENDS_ON": DependsOn,
    "CONCERNS": Concerns,
}
