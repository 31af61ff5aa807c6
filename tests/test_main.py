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


def test_the_package_can_be_run(tmp_path):
    command = [sys.executable, "-m", "frostline", "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("frostline ")
