"""Empty values on the command line, such as those of a variable that is not set: refused by every command alike, before
it does anything. Taken for nothing given, an empty `--session` would widen what is asked or forgotten."""

from __future__ import annotations

import re
from collections.abc import Iterator

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption


class Command(TyperCommand):
    """A command that takes no empty value."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        refuse_empty(self, ctx, args)
        return super().parse_args(ctx, args)


class Group(TyperGroup):
    """Commands under one name, whose own options take no empty value."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        refuse_empty(self, ctx, args)
        return super().parse_args(ctx, args)


def everywhere(app: typer.Typer) -> None:
    """Have all commands of an application, and those below them, refuse empty values."""
    app.info.cls = Group
    for command in app.registered_commands:
        command.cls = Command
    for group in app.registered_groups:
        assert group.typer_instance is not None
        group.cls = Group
        everywhere(group.typer_instance)


def refuse_empty(command: TyperCommand | TyperGroup, ctx: typer.Context, args: list[str]) -> None:
    """
    Raises:
        typer.BadParameter: a value is empty; the message says of which option or argument, and what to do.
    """
    # As it was typed: a path that is empty has become the working folder once it is converted.
    given, _, _ = command.make_parser(ctx).parse_args(list(args))
    for param in command.get_params(ctx):
        if not isinstance(param, TyperArgument | TyperOption) or all(map(str.strip, _texts(given.get(param.name)))):
            continue
        what = "option" if isinstance(param, TyperOption) else "argument"
        remedy = "give what is meant" if param.required else f"give what is meant, or leave the {what} out"
        # Brackets mark in the usage what may be left out.
        raise typer.BadParameter(f"is empty: {remedy}", ctx=ctx, param_hint=re.sub(r"[][]", "", param.get_error_hint()))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
