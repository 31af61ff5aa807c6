import signal
import subprocess
import sys

INTERRUPTED = """
import signal, sys
from frostline.__main__ import main

class Interrupt:
    def find_spec(self, name, *_):
        if name == "frostline.cli.main":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
main()
"""


def test_ctrl_c_during_the_imports_leaves_no_traceback(tmp_path):
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


LATE = """
import signal, sys
from frostline.cli.main import run

class Output:
    written = 0

    def write(self, text):
        self.written += len(text)

    def flush(self):
        if self.written:
            self.written = 0
            signal.raise_signal(signal.SIGINT)

sys.stdout = Output()
sys.exit(run(["--version"]))
"""


def test_ctrl_c_at_the_end_is_reported_as_usual(tmp_path):
    done = subprocess.run([sys.executable, "-c", LATE], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\nfrostline: interrupted.\n")


def test_the_package_can_be_run(tmp_path):
    command = [sys.executable, "-m", "frostline", "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("frostline ")
