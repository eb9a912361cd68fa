"""`unwind completion`: a script with which a shell completes verbs and options."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="Whose script.")],
) -> None:
    """Print a script that completes verbs, options and values.

    Such as:

        unwind completion bash > ~/.local/share/bash-completion/completions/unwind

    The shell reads it when it starts anew. zsh wants it as _unwind in a folder
    of its fpath, fish in ~/.config/fish/completions/unwind.fish.
    """
    from backtest.cli import build_app

    print(build_app(()).generate_completion(prog_name="unwind", shell=shell))
