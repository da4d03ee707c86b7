"""`cascade remote`: what would be sent to the remote model, whether it answers, and its key.

Settings come from a JSON file with the tree that an editor sends (docs/settings.md).
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markdown import Markdown

from cascade_lsp.errors import UsageError
from cascade_lsp.terminal import Json, place_in, print_json, settings_in

NONE = (
    "No remote model would be asked: cascade.remote.url is empty, or cascade.network is off. Set "
    "both to have one."
)
remote = typer.Typer(help="The remote model, if you configured one.", no_args_is_help=True)
File = Annotated[
    Path, typer.Option("--settings", help="A JSON file with the settings, as an editor sends them.")
]


@remote.command(epilog="Example:\n\n  cascade remote preview shop.py:12 --settings settings.json")
def preview(
    place: Annotated[str, typer.Argument(metavar="FILE:LINE[:COL]")], settings: File
) -> None:
    """Show what would be sent at a place in a file, letter for letter; nothing is."""
    from cascade_lsp import explain

    found = asyncio.run(_preview(settings_in(settings), place_in(place)))
    if found is None:
        raise UsageError(NONE)
    told = explain.sending(found.model, found.refused, found.requests)
    if sys.stdout.isatty():
        Console().print(Markdown(told))
    else:
        sys.stdout.write(told)
    if found.refused:
        raise typer.Exit(1)


async def _preview(settings: Any, context: Any) -> Any:
    from cascade_lsp.assembly import make_cascade
    from cascade_lsp.suites import path_named, project_root

    cascade = make_cascade(settings, project_root(path_named(context.uri)))
    try:
        return await cascade.preview(context)
    finally:
        await cascade.close()


@remote.command()
def check(settings: File, as_json: Json = False) -> None:
    """Ask the remote model for one known line, and say what it answered, how fast and by which
    interface. Nothing of yours is sent."""
    found = asyncio.run(_check(settings_in(settings)))
    if as_json:
        print_json(found)
    else:
        Console().print(json.dumps(found, indent=2), highlight=False)
    if not found["right"]:
        raise typer.Exit(1)


async def _check(settings: Any) -> dict[str, Any]:
    from cascade_lsp.assembly import make_cascade
    from cascade_lsp.context import gather
    from cascade_lsp.turn import continued

    cascade = make_cascade(settings)
    tier = cascade.tiers.get("remote")
    if tier is None or tier.gate is None:
        raise UsageError(NONE)
    text = "def add(first, second):\n    return first +\n"
    try:
        if refused := await tier.gate.refusal("file:///cascade-check.py"):
            raise UsageError(f"{tier.model} may not be asked: {refused}.")
        from cascade_lsp.engine import Priority

        written, usage = await continued(
            tier, gather(text, len(text) - 1), priority=Priority.KEYSTROKE
        )
    finally:
        await cascade.close()
    return {
        "model": tier.model,
        "asked_by": [one.api for one in usage.sent],
        "answered": written.text,
        "right": "second" in written.text,
        "ms": round(usage.ms),
        "prompt_tokens": usage.prompt_tokens,
        "new_tokens": usage.new_tokens,
        "money": usage.money,
    }


@remote.command()
def key(
    host: Annotated[str, typer.Argument(help="The server, as in its address: name or name:port.")],
    remove: Annotated[bool, typer.Option("--remove", help="Remove the key.")] = False,
) -> None:
    """Keep the key of a server in the system's keyring; it is asked for, or read from a pipe."""
    from cascade_lsp import keys

    secret = ""
    if not remove:
        piped = not sys.stdin.isatty()
        secret = sys.stdin.readline() if piped else typer.prompt("Key", hide_input=True)
        if not secret.strip():
            raise UsageError("That is no key. Nothing was kept.")
    keys.keep(host, secret.strip())
    Console().print(f"The key for {host} is {'removed' if remove else 'kept'}.", highlight=False)
