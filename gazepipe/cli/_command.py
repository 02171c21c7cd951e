"""What a command is here: its help ends with examples, and it is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import click

__all__ = ["Command", "Group", "LazyGroup", "command"]


class Command(click.Command):
    """A command whose help ends with examples, each one line of a shell."""

    def __init__(self, *arguments: Any, examples: Sequence[str] = (), **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are: a line that is broken cannot be copied."""
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


class Group(Command, click.Group):
    """A command with commands below it."""

    command_class = Command


def command(name: str | None = None, *, examples: Sequence[str], **options: Any) -> Callable[..., Command]:
    """Make a command of a function, as `click.command` does; all have examples."""
    return click.command(name, cls=Command, examples=examples, **options)


class LazyGroup(click.Group):
    """Commands in named sections, each imported when it is first asked for: a list of them needs none.

    `sections` is section → command → (``module:function`` in `package`, what stands beside it in the list).
    """

    def __init__(
        self, *arguments: Any, package: str, sections: Mapping[str, Mapping[str, tuple[str, str]]], **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self.package, self.sections = package, sections

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the sections."""
        return [name for commands in self.sections.values() for name in commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        for commands in self.sections.values():
            if cmd_name in commands and cmd_name not in self.commands:
                place, text = commands[cmd_name]
                module, _, function = place.partition(":")
                found = getattr(import_module(f"{self.package}.{module}"), function)
                found.short_help = text
                self.add_command(found, cmd_name)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections; the texts stand in one column over all of them."""
        width = max(map(len, self.list_commands(ctx)))
        for section, commands in self.sections.items():
            with formatter.section(section):
                formatter.write_dl([(name.ljust(width), text) for name, (_, text) in commands.items()])
