"""`python -m recgnn.completion`: a script by which the shell completes commands, options and names."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout, suppress
from typing import Literal

from recgnn.cli.entry import COMMANDS, main_of, run
from recgnn.cli.options import OptionParser
from recgnn.files import shipped

DESCRIPTION = """\
Print a script that lets bash or zsh complete the commands of `recgnn`, their options, and the names of configurations
and models. The script holds all of them, so that completing starts no Python; print it anew after an update.
"""
EXAMPLES = """\
examples:
  python -m recgnn.completion bash > ~/.local/share/bash-completion/completions/recgnn
  recgnn completion zsh >> ~/.zshrc
"""
SCRIPT = """\
_recgnn() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} words=
  if [[ $COMP_CWORD == 1 ]]; then
    COMPREPLY=($(compgen -W "{commands} --help --version" -- "$word"))
    return
  fi
  case $before in
{values}
  esac
  if [[ -z $words && $word == -* ]]; then
    case ${{COMP_WORDS[1]}} in
{options}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
  else
    COMPREPLY=($(compgen -W "$words" -- "$word") $(compgen -f -- "$word"))
  fi
}}
complete -o filenames -F _recgnn recgnn
"""
FOR_ZSH = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"


def parser() -> OptionParser:
    """Build the parser of the command's options."""
    parser = OptionParser("completion", DESCRIPTION, "SHELL", epilog=EXAMPLES)
    parser.add_argument("shell", metavar="SHELL", choices=("bash", "zsh"), help="bash or zsh")
    return parser


def options_of(command: str) -> list[str]:
    """Return the options that a command's --help lists."""
    told = io.StringIO()
    with redirect_stdout(told), suppress(SystemExit):
        main_of(command)(["--help"])
    lines = re.findall(r"(?m)^ +(?:-\w, )?(--\w.*?)(?:  |$)", told.getvalue())
    names = [name.rstrip(".") for line in lines for name in re.findall(r"--[a-z_]+(?:\.[a-z_]+)*\.?", line)]
    return sorted({"--help", *names})


def script(shell: Literal["bash", "zsh"]) -> str:
    """Write the script for a shell."""
    from recgnn import models

    names = {
        "--config|-c|--configs|--copy": shipped(),
        "--suite": shipped("suites"),
        "--space": shipped("sweeps"),
        "--model|--model.help": models.__all__,
    }
    values = "\n".join(f'    {option}) words="{" ".join(of)}" ;;' for option, of in names.items())
    options = "\n".join(f'      {command}) words="{" ".join(options_of(command))}" ;;' for command in COMMANDS)
    body = SCRIPT.format(commands=" ".join(COMMANDS), values=values, options=options)
    return (FOR_ZSH if shell == "zsh" else "") + body


def main(argv: list[str]) -> None:
    """Print the script."""
    print(script(parser().read(argv).shell), end="")


if __name__ == "__main__":
    run(main)
