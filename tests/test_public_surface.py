"""What Frostline offers from Python, and what a first look at it costs."""

import math
import os
import resource
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import frostline
from frostline import errors
from tests.commands import run_snippet
from tests.conftest import COMMAND

MAX_HELP_SECONDS = 0.4


def test_export_list_is_exact_and_sorted() -> None:
    assert frostline.__all__ == [
        "Backbone",
        "Classifier",
        "ConfigError",
        "DataError",
        "DivergedError",
        "DownloadError",
        "Explainer",
        "ExportError",
        "FrostlineError",
        "ImageDataset",
        "InputError",
        "OnnxClassifier",
        "Run",
        "RunError",
        "Splits",
        "StorageError",
        "TrainConfig",
        "UnknownNameError",
        "WeightsError",
        "audit",
        "compare",
        "export",
        "find_lr",
        "fit",
        "from_arrays",
        "from_folder",
        "from_hugging_face",
        "from_table",
        "load_backbone",
        "load_dataset",
        "tune",
    ]
    assert frostline.__all__ == sorted(frostline.__all__)
    assert dir(frostline) == sorted([*frostline.__all__, "__version__"])


@pytest.mark.parametrize("name", frostline.__all__)
def test_every_name_is_there_and_described(name: str) -> None:
    thing = getattr(frostline, name)
    assert thing.__name__ == name
    assert thing.__doc__


def test_name_that_is_not_there_is_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="module 'frostline' has no attribute 'fits'"):
        frostline.fits  # noqa: B018


def test_every_error_a_user_can_meet_is_public() -> None:
    defined = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert defined == {name for name in frostline.__all__ if name.endswith("Error")}


def test_export_stays_a_function_when_its_module_was_imported() -> None:
    import_module("frostline.exporters.export")
    assert callable(frostline.export)


def test_no_public_name_is_hidden_by_a_module() -> None:
    folder = Path(frostline.__file__).parent
    assert not {path.stem for path in folder.iterdir()} & set(frostline.__all__)


def test_errors_share_one_base() -> None:
    with pytest.raises(frostline.FrostlineError, match="unknown data set 'nope'"):
        frostline.load_dataset("nope")


def loaded_after(code: str) -> set[str]:
    """The modules that are loaded in a fresh interpreter after some code."""
    show = "; import sys; sys.stdout.write('\\n' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code + show], capture_output=True, text=True, check=True)
    return set(done.stdout.rsplit("\n", 1)[1].split())


HEAVY = {"torch", "numpy", "sklearn", "scipy", "matplotlib", "PIL", "requests", "safetensors"}


def test_import_loads_nothing_heavy() -> None:
    loaded = loaded_after("import frostline; assert frostline.__version__")
    assert "frostline" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"], ["data", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    loaded = loaded_after(f"from frostline.cli.main import run; assert run({arguments}) == 0")
    assert "frostline.cli.train" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["data"], ["models"]])
def test_lists_of_commands_do_not_read_the_settings(arguments: list[str]) -> None:
    loaded = loaded_after(f"from frostline.cli.main import run; run({arguments})")
    assert "frostline.cli.settings" in loaded
    assert "frostline.config" not in loaded


WITHOUT_POSIX = """
import os, signal, sys
from importlib import import_module
from pathlib import Path
import frostline
ROOT = Path(frostline.__file__).parent
files = [path.relative_to(ROOT.parent).with_suffix("") for path in sorted(ROOT.rglob("*.py"))]
names = [".".join(file.parts).removesuffix(".__init__") for file in files]
for name in names:
    import_module(name)  # other packages may use all of this machine
for name in names:
    del sys.modules[name]
sys.modules |= dict.fromkeys(("resource", "fcntl", "termios", "tty", "pty", "pwd", "grp", "posix"))
for name in (
    "fork", "register_at_fork", "sched_getaffinity", "nice", "killpg", "getpgid", "setsid", "getuid", "geteuid",
    "getgid", "sysconf", "statvfs", "mkfifo", "chown", "fchmod", "uname", "O_NONBLOCK", "O_DIRECTORY", "O_NOFOLLOW",
):
    delattr(os, name)
for name in (
    "SIGKILL", "SIGHUP", "SIGPROF", "SIGALRM", "SIGSTOP", "SIGPIPE", "SIG_BLOCK", "SIG_UNBLOCK", "SIG_SETMASK",
    "ITIMER_PROF", "setitimer", "pthread_sigmask",
):
    delattr(signal, name)
for name in names:
    import_module(name)
print(len(names))
"""


def test_every_module_imports_without_what_only_posix_has(tmp_path: Path) -> None:
    done = run_snippet(WITHOUT_POSIX, tmp_path, dict(os.environ), 300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 150


def processor_seconds() -> float:
    """What child processes that have ended took of the processor: waiting for it behind others does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_comes_quickly() -> None:
    seconds: list[float] = []
    while len(seconds) < 5 and min(seconds, default=math.inf) > MAX_HELP_SECONDS:
        begun = processor_seconds()
        done = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, check=True)
        seconds.append(processor_seconds() - begun)
        assert "train" in done.stdout
    assert min(seconds) <= MAX_HELP_SECONDS
