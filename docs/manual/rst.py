"""What docstrings write in reStructuredText, as Markdown: formulas, links, references to other names."""

from __future__ import annotations

import re
from textwrap import dedent
from typing import Any

from griffe import Extension
from latex2mathml.converter import convert


def formula(latex: str, display: str = "inline") -> str:
    """Return LaTeX as MathML, which browsers show without a script."""
    return convert(" ".join(latex.split()), display=display)


def markdown(text: str) -> str:
    """Return a docstring with its reStructuredText as Markdown.

    >>> markdown("See `a paper <https://b.org>`_ and :class:`X`.")
    'See [a paper](https://b.org) and `X`.'
    """
    text = re.sub(r"(?m)^( *)>>> .*(?:\n\1 *\S.*)*", _example, text)
    text = re.sub(r"(?m)^( *)\.\. math::((?:.*\n)(?:\1 +\S.*\n|\n(?=\1 +\S))*)", _block, text + "\n")
    text = re.sub(r"(?m)^( *)Shapes?:(?= \S)", r"\1**Shapes:**", text)
    text = re.sub(r"(?m)^( *)Shapes?:\n((?:\1 +\S.*\n)+)", _shapes, text)
    text = re.sub(r":math:`([^`]*)`", lambda found: formula(found[1]), text)
    text = re.sub(r"`([^`<]+?)\s*<(https?://[^>`]+)>`_", r"[\1](\2)", text)
    text = re.sub(r":(?:class|func|meth|mod):`~?([^`]*)`", r"`\1`", text)
    return text.replace("\\|", "|").removesuffix("\n")


def _example(found: re.Match[str]) -> str:
    lines = [re.sub(r"  # doctest: .*$", "", line) for line in found[0].splitlines()]
    return "\n".join([f"{found[1]}```pycon", *lines, f"{found[1]}```"])


def _shapes(found: re.Match[str]) -> str:
    lines = [found[1] + re.sub(r"^(?=\S)", "- ", line) for line in dedent(found[2]).splitlines()]
    return "\n".join([f"{found[1]}**Shapes:**\n", *lines, ""])


def _block(found: re.Match[str]) -> str:
    return f"\n{found[1]}{formula(dedent(found[2]), 'block')}\n\n"


class Docstrings(Extension):
    """Turns every docstring into Markdown before it is parsed."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)
