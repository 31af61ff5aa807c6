"""`frostline audit`."""

import csv
import inspect
from functools import partial

import pytest

from frostline.cli.studies import audit as audit_command
from frostline.studies.audit.label_noise import FDR
from tests.commands import lacking
from tests.small_run import OPTIONS

SMALL = ["--limit", 240, *OPTIONS[:6]]


def test_a_run_is_audited_corrected_and_trained_again(frostline, finished, run_cache, tmp_path):
    audit = ["audit", "first", "--runs-dir", finished.folder.parent]
    done = frostline(*audit, "--cache-dir", run_cache, "--include-test", "--fdr", 1)
    assert (done.returncode, done.stderr) == (0, "")
    assert "240 train, 40 test; test labels are checked too" in done.stdout
    assert "features found in the cache" in done.stdout
    folder = tmp_path / "audits" / "first"
    assert {path.name for path in folder.iterdir()} == {
        "audit.csv", "audit.html", "audit.json", "manifest.json", "lock",
    }  # fmt: skip
    with (folder / "audit.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    changed = {(line["split"], line["number"]) for line in lines if line["new_label"]}
    again = frostline(*audit)
    assert again.returncode == 2 and "exists (perhaps with your edits)" in again.stderr

    done = frostline(*audit, "--apply", "audits/first/audit.csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert "the test split changes" in done.stdout
    assert f"{len(changed)} labels changed, 0 images removed" in done.stdout
    assert done.stdout.splitlines()[-1] == "try: frostline train audits/first/corrected.npz"
    done = frostline("train", "audits/first/corrected.npz", *SMALL, "--epochs", 1, "--cache-dir", run_cache)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["fashion-mnis"], "unknown run or data set 'fashion-mnis': expected one of"),
        (["first", "--limit", 5], "--limit is set by run 'first': leave it out"),
        (["fashion-mnist", "--output", "x.csv"], "--output is for --apply"),
        (["fashion-mnist", "--name", "../x"], "--name '../x'"),
        (["fashion-mnist", "--apply", "gone.csv"], "there is no gone.csv"),
        (["fashion-mnist", "--fdr", 0], "--fdr 0.0: expected a number above 0 and at most 1"),
    ],
)
def test_invalid_options_are_refused(frostline, finished, tmp_path, arguments, fault):
    done = frostline("audit", *arguments, "--runs-dir", finished.folder.parent)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert fault in line
    assert not list(tmp_path.iterdir())


def test_missing_cleanlab_is_named_with_its_extra(frostline, tmp_path):
    done = frostline("audit", "drawn-objects", "--quiet", within=partial(lacking, "cleanlab"))
    assert done.returncode == 2
    assert done.stderr == "frostline: audit needs cleanlab, which is not installed: pip install 'frostline[audit]'.\n"
    assert list(tmp_path.iterdir()) == []


def test_the_default_rate_of_the_command_is_that_of_the_function():
    assert inspect.signature(audit_command).parameters["fdr"].default == FDR
