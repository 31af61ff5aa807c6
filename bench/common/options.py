"""A benchmark's options, and the lines at its head."""

import argparse
import re
import shlex
from collections.abc import Sequence
from typing import Any

from bench.common.machine import describe_machine


def make_parser(doc: str | None, **options: Any) -> argparse.ArgumentParser:
    """Return a parser whose help is a benchmark's docstring.

    An option is given by its default, whose type it has, or by a dict of arguments for `add_argument`.
    """
    doc = doc or ""
    named = re.search(r"python -m bench \w+", doc)
    parser = argparse.ArgumentParser(
        prog=named[0] if named else None, description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value in options.items():
        given = value if isinstance(value, dict) else {"type": type(value), "default": value}
        help_text = " ".join(filter(None, [given.get("help"), "(default: %(default)s)"]))
        parser.add_argument(f"--{name.replace('_', '-')}", **{**given, "help": help_text})
    return parser


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the options, then print the machine and the command, so that quoted figures travel with both."""
    options = parser.parse_args(arguments)
    print(describe_machine())
    print(shlex.join([*(parser.prog or "").split(), *arguments]), flush=True)
    return options


def start(doc: str | None, arguments: Sequence[str], **options: Any) -> argparse.Namespace:
    """Make a parser and parse the options with it: see `make_parser` and `parse`."""
    return parse(make_parser(doc, **options), arguments)
