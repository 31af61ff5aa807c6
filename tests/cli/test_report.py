"""`frostline report`, and what `train` writes at its end."""

from frostline.runs.folder import Run
from tests.small_run import OPTIONS


def test_report_writes_the_same_page_as_train(frostline, small_fashion, tmp_path):
    fixed = ["train", "fashion-mnist", "--data-dir", small_fashion, "--limit", 240, "--epochs", 1, *OPTIONS[:-1]]
    done = frostline(*fixed, "--name", "mine")
    assert (done.returncode, done.stderr) == (0, "")
    written = Run(tmp_path / "runs" / "mine").folder / "report.html"
    before = written.read_bytes()
    done = frostline("report", "mine", "--output", "again.html")
    assert (done.returncode, done.stdout) == (0, "report: again.html\n")
    assert (tmp_path / "again.html").read_bytes() == before

    done = frostline(*fixed, "--name", "mine", "--overwrite", "--no-report")
    assert done.returncode == 0
    assert not written.exists()
    done = frostline("report", "mine", "--quiet")
    assert (done.returncode, done.stdout) == (0, "")
    assert written.is_file()


def test_missing_run_is_named(frostline):
    done = frostline("report", "nope")
    assert done.returncode == 2
    assert done.stderr.startswith("frostline: no run 'nope' in runs:")
