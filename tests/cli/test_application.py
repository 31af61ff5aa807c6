"""Help in groups, its short option, and completion in a shell."""

import os
import shlex
import subprocess
import sys

import pytest

from frostline.cli.main import COMMANDS
from tests.conftest import COMMAND

ALL = [["--help"], *([name] for commands in COMMANDS.values() for name in commands), ["runs"], ["runs", "rm"], ["data"],
       ["data", "check"], ["models", "rank"], ["cache", "prune"]]  # fmt: skip


@pytest.mark.parametrize("command", ALL, ids=" ".join)
def test_short_help_option(frostline, command):
    short = frostline(*command, "-h")
    assert (short.returncode, short.stderr) == (0, "")
    assert short.stdout == frostline(*command, "--help").stdout
    assert "-h, --help" in short.stdout


def test_commands_are_listed_in_groups_with_whole_sentences(frostline):
    text = frostline("--help").stdout
    titles = [line[:-1] for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles == ["Options", *COMMANDS, "Manage"]
    assert "..." not in text.partition("Options:")[2]
    words = " ".join(text.split())
    for commands in COMMANDS.values():
        for name, function in commands.items():
            sentence = " ".join(function.__doc__.partition("\n\n")[0].split())
            assert f" {name} {sentence}" in words


def completed(line, place):
    """What bash is offered for the last word of a line."""
    words = shlex.split(line) + ([""] if line.endswith(" ") else [])
    env = {**os.environ, "_FROSTLINE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run([COMMAND], env=env, cwd=place, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_completion_of_commands_options_choices_and_runs(tmp_path):
    for name in ("first", "second"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "manifest.json").write_text("{}")
    assert completed("frostline tr", tmp_path) == ["train"]
    assert completed("frostline runs r", tmp_path) == ["rm"]
    assert completed("frostline train --weight-d", tmp_path) == ["--weight-decay"]
    assert completed("frostline train --head ", tmp_path) == ["auto", "linear", "mlp", "ridge"]
    assert completed("frostline evaluate f", tmp_path) == ["first"]


def in_shell(shell, option, home):
    """The command, started by a shell."""
    line = f"{shlex.quote(str(COMMAND))} {option}; exit $?"
    return subprocess.run(
        [shell, "-c", line], env={**os.environ, "HOME": str(home)}, capture_output=True, text=True, check=False
    )


def test_completion_is_shown_and_installed_for_bash(tmp_path):
    shown = in_shell("/bin/bash", "--show-completion", tmp_path)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "_FROSTLINE_COMPLETE=complete_bash" in shown.stdout
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".bashrc").write_text("alias ll='ls -l'\n")
    installed = in_shell("/bin/bash", "--install-completion", tmp_path)
    assert (installed.returncode, installed.stderr) == (0, "")
    script = tmp_path / ".bash_completions" / "frostline.sh"
    assert script.read_text().strip() == shown.stdout.strip()
    assert (tmp_path / ".bashrc").read_text() == f"alias ll='ls -l'\n\nsource '{script}'\n"


def test_unsupported_shell_is_one_line(tmp_path):
    code = (
        "import shellingham, sys; shellingham.detect_shell = lambda: ('tcsh', 'tcsh'); "
        "from frostline.cli.main import run; sys.exit(run(['--show-completion']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "frostline: --show-completion: the shell is tcsh; run it in bash, fish, powershell, pwsh, zsh.\n"
    )
