"""Both command lines, from the parsers themselves; the width of a terminal plays no part."""

from __future__ import annotations

import argparse
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from generators import NOTICE
from generators.docstrings import table

_HELP = "print this help"
_VALUES = {str: "TEXT", int: "INTEGER", float: "NUMBER", Path: "PATH"}


def workstation() -> str:
    """``edgekit``, from the typer application."""
    import typer

    from edgekit.cli.app import app

    group: Any = typer.main.get_command(app)
    commands = dict(_commands(group))
    parts = [f"# edgekit\n\n{NOTICE}\n{group.help}\n\n", _index("edgekit", commands)]
    for name, command in commands.items():
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name == "option"]
        words = " ".join(_placeholder(p) for p in arguments)
        line = f"edgekit {name} {words} [OPTIONS]".replace("  ", " ")
        parts.append(f"## edgekit {name}\n\n```\n{line}\n```\n\n{command.help}\n\n")
        if arguments:
            parts.append(table(["argument", "meaning"], [[f"`{_placeholder(p)}`", p.help or ""] for p in arguments]))
            parts.append("\n")
        hints = typing.get_type_hints(command.callback)
        rows = [[_spelling(p, hints[p.name]), _default(p.default, p.required), p.help or ""] for p in options]
        parts.append(table(["option", "default", "meaning"], [*rows, ["`--help`", "", _HELP]]) + "\n")
    return "".join(parts) + f"{group.epilog} See [errors and exit codes](errors.md).\n"


def device() -> str:
    """``edgekit-runtime``, from its argparse parser."""
    from edgekit_runtime.cli import command_line

    parser = command_line()
    verbs = dict(_verbs(parser))
    parts = [f"# edgekit-runtime\n\n{NOTICE}\n{parser.description}\n\n", _index("edgekit-runtime", verbs)]
    for name, (verb, said) in verbs.items():
        positional = [a for a in verb._actions if not a.option_strings]
        words = " ".join(map(_positional, positional))
        line = f"edgekit-runtime {name} {words} [OPTIONS]".replace("  ", " ")
        parts.append(f"## edgekit-runtime {name}\n\n```\n{line}\n```\n\n{said[:1].upper()}{said[1:]}.\n\n")
        if positional:
            parts.append(table(["argument", "meaning"], [[f"`{_positional(a)}`", a.help or ""] for a in positional]))
            parts.append("\n")
        rows = [
            [_option(a), "" if a.default is argparse.SUPPRESS else _default(a.default, a.required), _meaning(a)]
            for a in verb._actions
            if a.option_strings
        ]
        parts.append(table(["option", "default", "meaning"], rows) + "\n")
    assert parser.epilog
    return "".join(parts) + f"{parser.epilog[:1].upper()}{parser.epilog[1:]}. See [errors and exit codes](errors.md).\n"


def _commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every command with the words that call it, those of groups in their place."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def _index(program: str, names: Any) -> str:
    return " · ".join(f"[{name}](#{program}-{name.replace(' ', '-')})" for name in names) + "\n\n"


def _placeholder(parameter: Any) -> str:
    name = parameter.name.upper() + ("…" if parameter.nargs == -1 else "")
    return name if parameter.required else f"[{name}]"


def _spelling(parameter: Any, hint: Any) -> str:
    """An option's names, each with the kind of value it takes; from the function's types, as typer's own vary."""
    kind = next((k for k in (hint, *typing.get_args(hint)) if k in _VALUES), str)
    value = "" if parameter.is_flag else f" {_VALUES[kind]}"
    return ", ".join(f"`{o}{value}`" for o in (*parameter.opts, *parameter.secondary_opts))


def _default(value: Any, required: bool) -> str:
    if required:
        return "required"
    return "" if value is None or value is False else f"`{value}`"


def _verbs(parser: argparse.ArgumentParser) -> Iterator[tuple[str, tuple[argparse.ArgumentParser, str]]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            said = {a.dest: a.help or "" for a in action._choices_actions}
            yield from ((name, (verb, said[name])) for name, verb in action.choices.items())


def _option(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else f" {_VALUES[action.type or str]}"  # type: ignore[index]
    return ", ".join(f"`{o}{value}`" for o in action.option_strings)


def _positional(action: argparse.Action) -> str:
    return action.dest.upper() + ("…" if action.nargs == "+" else "")


def _meaning(action: argparse.Action) -> str:
    return _HELP if action.dest == "help" else action.help or ""
