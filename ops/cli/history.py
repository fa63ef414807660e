"""`memlane history`: what sessions did and said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.options import Group, group_or_default, hint_at_groups, progress, project_root
from ops.cli.output import Json, console, examples, print_json

if TYPE_CHECKING:
    from memory.history.answer import Answer

app = typer.Typer(no_args_is_help=True)

Db = Annotated[
    Path | None,
    typer.Option(
        "--db",
        metavar="PATH",
        help="Read this OpenCode database, without any server; `default` is where OpenCode keeps its own.",
    ),
]
Deadline = Annotated[float, typer.Option(min=0.1, help="Seconds to wait for a worker's answer.")]
SessionId = Annotated[str, typer.Argument(metavar="SESSION", help="Id of a session, or an unmistakable beginning.")]
Limit = Annotated[int | None, typer.Option("--limit", "-n", min=1, help="How many.")]
Project = Annotated[
    Path | None, typer.Option("--project", "-p", help="Only sessions of this project folder; `.` is this one.")
]

#: What the arguments of operations are called on the command line; in `search`, `sessionId` is an option.
NAMES = {
    "sessionId": "SESSION",
    "otherSessionId": "OTHER",
    "projectPath": "--project",
    "query": "QUERY",
    "limit": "--limit",
    "before": "--before",
    "read": "--read",
}


@app.callback()
def history(context: typer.Context, db: Db = None) -> None:
    """Look at what sessions did and said: those of the group's memory, or with --db of an OpenCode database."""
    if db is None:
        return
    if context.invoked_subcommand == "plans":
        raise typer.BadParameter("plans are files of the project, in no database", param_hint="--db")
    # The same before the command as behind it.
    context.default_map = {str(context.invoked_subcommand): {"db": str(db)}}


@app.command("summary", epilog=examples("memlane history summary", "memlane history summary --db default"))
def summary(db: Db = None, deadline: Deadline = 10.0, group: Group = None, as_json: Json = False) -> None:
    """Count projects, sessions, messages, todos."""
    _show("summary", {}, db, deadline, group, as_json)


@app.command(
    "sessions",
    epilog=examples(
        "memlane history sessions --project .",
        "memlane history sessions --db ~/old/opencode.db --limit 50 --json",
    ),
)
def sessions(
    project: Project = None,
    limit: Limit = None,
    before: Annotated[str | None, typer.Option(help="Go on behind this session.")] = None,
    db: Db = None,
    deadline: Deadline = 10.0,
    group: Group = None,
    as_json: Json = False,
) -> None:
    """List recent sessions."""
    folder = str(project_root() if project == Path() else project.resolve()) if project is not None else None
    args = {"projectPath": folder, "limit": limit, "before": before}
    _show("sessions", args, db, deadline, group, as_json)


@app.command(
    "messages",
    epilog=examples("memlane history messages ses_e03", "memlane history messages ses_e03 --read 17 --json"),
)
def messages(
    session: SessionId,
    limit: Limit = None,
    before: Annotated[int | None, typer.Option(min=1, help="Only those before this number.")] = None,
    read: Annotated[str | None, typer.Option(help="Number or id of one message, to be read whole.")] = None,
    db: Db = None,
    deadline: Deadline = 10.0,
    group: Group = None,
    as_json: Json = False,
) -> None:
    """Show the latest messages of a session."""
    args = {"sessionId": session, "limit": limit, "before": before, "read": read}
    _show("messages", args, db, deadline, group, as_json)


@app.command(
    "search",
    epilog=examples(
        'memlane history search "limiter test"', "memlane history search cart --session ses_e03 --db default"
    ),
)
def search(
    query: Annotated[
        str, typer.Argument(metavar="QUERY", help="Words to look for; they are stemmed, any of them may match.")
    ],
    session: Annotated[str | None, typer.Option("--session", "-s", help="Only in this session.")] = None,
    limit: Limit = None,
    db: Db = None,
    deadline: Deadline = 10.0,
    group: Group = None,
    as_json: Json = False,
) -> None:
    """Search all conversations, best match first."""
    _show("search", {"query": query, "sessionId": session, "limit": limit}, db, deadline, group, as_json)


@app.command(
    "compactions",
    epilog=examples("memlane history compactions", "memlane history compactions ses_e03 --read latest"),
)
def compactions(
    session: Annotated[
        str | None, typer.Argument(metavar="[SESSION]", show_default="all sessions", help="Only of this session.")
    ] = None,
    read: Annotated[str | None, typer.Option(help="Number, id or checkpoint of one; `latest` is the last one.")] = None,
    limit: Limit = None,
    db: Db = None,
    deadline: Deadline = 10.0,
    group: Group = None,
    as_json: Json = False,
) -> None:
    """List the summaries that were made at compactions, or read one."""
    _show("compactions", {"sessionId": session, "read": read, "limit": limit}, db, deadline, group, as_json)


@app.command(
    "compare", epilog=examples("memlane history compare ses_e03 ses_f11", "memlane history compare a b --db default")
)
def compare(
    session: SessionId,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The session to compare it with.")],
    db: Db = None,
    deadline: Deadline = 10.0,
    group: Group = None,
    as_json: Json = False,
) -> None:
    """Put two sessions side by side: files, errors, tasks, durations, tokens."""
    _show("compare", {"sessionId": session, "otherSessionId": other}, db, deadline, group, as_json)


@app.command(
    "context", epilog=examples("memlane history context ses_e03", "memlane history context ses_e03 --db default --json")
)
def context(
    session: SessionId, db: Db = None, deadline: Deadline = 10.0, group: Group = None, as_json: Json = False
) -> None:
    """Show how full a session's context window is."""
    _show("context", {"sessionId": session}, db, deadline, group, as_json)


@app.command("plans", epilog=examples("memlane history plans", "memlane history plans --read limiter.md"))
def plans(
    read: Annotated[str | None, typer.Option(help="Name of one plan, to be read.")] = None,
    folder: Annotated[
        Path | None, typer.Option(show_default="MEMLANE_PLANS, else .opencode/plans", help="Folder of the plans.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List this project's plan files, or read one."""
    from memory.settings import settings
    from ops.history import plans as files
    from ops.history.tables import render

    with _in_own_words("plans"):
        answer = files.plans(project_root(), folder.absolute() if folder else settings().plans, read)
    if as_json:
        print_json(answer.data)
    else:
        render("plans", answer.data, console())


def _show(tool: str, args: dict[str, Any], db: Path | None, deadline: float, group: str | None, as_json: bool) -> None:
    from ops.history.tables import render

    if db and group is not None:
        raise typer.BadParameter("a database has no groups: leave out --group, or --db", param_hint="--group")
    given = {name: value for name, value in args.items() if value is not None}
    with _in_own_words(tool):
        data = _of_database(db, tool, given).data if db else _of_group(tool, given, deadline, group)
    if as_json:
        print_json(data)
    else:
        render(tool, data, console())


def _of_database(db: Path, tool: str, args: dict[str, Any]) -> Answer:
    import logging

    from ops.history import opencode
    from producers.opencode_db import database_path

    # Rows that hold nothing to be shown are no business of who looks.
    logging.getLogger("producers.opencode_db").addHandler(logging.NullHandler())
    path = database_path() if db == Path("default") else db
    with progress("reading") as bar:
        task = bar.task_ids[0]
        return opencode.answer(
            path,
            tool,
            args,
            project=str(project_root()),
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def _of_group(tool: str, args: dict[str, Any], deadline: float, group: str | None) -> dict[str, Any]:
    from memory.history.operations import checked
    from producers.asking import Asker, ToolFailed

    # Before anybody is asked: what is wrong is wrong whoever answers.
    checked(tool, args)
    name = group_or_default(group)
    with Asker(group=name, project=str(project_root())) as asker:
        try:
            data: dict[str, Any] = asker.ask(tool, args, deadline=deadline)["data"]
        except ToolFailed:
            hint_at_groups(name)
            raise
    if not any(data.get(found) for found in ("sessions", "messages", "results", "compactions", "tokens")):
        hint_at_groups(name)
    return data


@contextmanager
def _in_own_words(tool: str) -> Iterator[None]:
    """What is wrong with an operation, whoever found it, is told by the names of the command line."""
    from memory.history.operations import HistoryError
    from producers.asking import ToolFailed

    try:
        yield
    except (HistoryError, ToolFailed) as error:
        raise type(error)(own_words(tool, str(error))) from None


def own_words(tool: str, problem: str) -> str:
    """A problem of an operation, which names its arguments as agents give them, in the words of the command line."""
    names = NAMES | ({"sessionId": "--session"} if tool == "search" else {})
    problem = re.sub(r"(?:^|(?<=; ))(\w+)(?=: )", lambda found: names.get(found[1], found[1]), problem)
    problem = re.sub(r"(?<=than )sessionId$", names["sessionId"], problem)
    problem = re.sub(r"\(`help` with tool: (\w+) explains its arguments\)$", r"(`memlane history \1 --help`)", problem)
    problem = re.sub(r"`(sessions|messages|search|compactions|plans)`", r"`memlane history \1`", problem)
    return problem.replace("` without read ", "` without --read ")
