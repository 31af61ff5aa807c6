"""What `reporting` shows of work that Python code starts."""

import io

import pytest
from rich.console import Console

from frostline._utils import terminal
from frostline._utils.progress import NotebookBars, Silent, log
from frostline._utils.terminal import ConsoleHandler, RichBars, reporting


@pytest.fixture
def screen(monkeypatch):
    """Standard error as a terminal, and nobody who listens to the log."""
    file = io.StringIO()
    file.isatty = lambda: True
    monkeypatch.setattr(terminal, "Console", lambda stderr: Console(file=file))
    monkeypatch.setattr(log, "hasHandlers", lambda: False)  # pytest has some
    monkeypatch.setenv("TERM", "xterm")
    return file


def test_terminal_gets_lines_and_bars(screen):
    with reporting(None, 1) as progress:
        assert isinstance(progress, RichBars)
        log.info("begun")
        with progress.bar("training", 3, "images") as bar:
            bar.advance(3)
    assert "begun\n" in screen.getvalue() and "training" in screen.getvalue()
    assert not any(isinstance(handler, ConsoleHandler) for handler in log.handlers)


def test_file_gets_lines_alone(screen):
    screen.isatty = lambda: False
    with reporting(None, 1) as progress:
        assert isinstance(progress, Silent)
        log.info("begun")
    assert screen.getvalue() == "begun\n"


def test_nothing_is_shown_when_silent_or_when_bars_are_passed(screen):
    mine = Silent()
    with reporting(mine, 1) as progress:
        log.info("begun")
        assert progress is mine
    with reporting(None, 0) as progress:
        log.info("begun")
        assert isinstance(progress, Silent)
    assert screen.getvalue() == ""


def test_lines_are_left_to_logging_where_it_is_configured(screen, monkeypatch):
    monkeypatch.setattr(log, "hasHandlers", lambda: True)
    with reporting(None, 1):
        log.info("begun")
    assert screen.getvalue() == ""


def test_notebook_gets_bars_alone(screen, monkeypatch):
    monkeypatch.setattr(terminal, "in_notebook", lambda: True)
    with reporting(None, 1) as progress:
        assert isinstance(progress, NotebookBars)
        log.info("begun")
    assert screen.getvalue() == ""
