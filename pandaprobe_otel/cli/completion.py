"""`pandaprobe-otel completion`: the script that lets a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    For bash: eval "$(pandaprobe-otel completion bash)" in ~/.bashrc; for zsh the same in ~/.zshrc; for fish:
    pandaprobe-otel completion fish > ~/.config/fish/completions/pandaprobe-otel.fish
    """
    found = get_completion_class(shell)
    if found is None:
        raise click.ClickException(f"{shell} is not supported by the installed version of click.")
    root = context.find_root()
    script = found(root.command, {}, "pandaprobe-otel", "_PANDAPROBE_OTEL_COMPLETE")
    click.echo(script.source())
