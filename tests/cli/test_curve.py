"""`frostline curve`."""

import re

import pytest


def test_curve_is_measured_drawn_and_summarized(frostline, small_fashion, tmp_path):
    options = ("--data-dir", small_fashion, "--image-size", 64, "--labels", "2,8,all", "--repeats", 2, "--target", 0.6)
    done = frostline("curve", "fashion-mnist", *options, "--ways", "pixels,frozen", "--weights", "bundled")
    assert (done.returncode, done.stderr) == (0, "")
    table = [line.split() for line in done.stdout.splitlines() if line.startswith("pre-trained, frozen ")]
    assert [line[2] for line in table] == ["2", "8", "all"]
    assert all(re.fullmatch(r"0\.\d{4}", line[3]) and line[-2].isdigit() for line in table)
    assert all(re.fullmatch(r"\(0\.\d{4} to 0\.\d{4}\)", " ".join(line[4:7])) for line in table[:2])
    assert "For 60% accuracy, 'pre-trained, frozen' needs" in done.stdout
    assert (tmp_path / "curves" / "fashion-mnist" / "curve.png").is_file()
    again = frostline("curve", "fashion-mnist", *options, "--ways", "pixels,frozen", "--weights", "bundled")
    assert "frozen pass" not in again.stdout and again.stdout.splitlines()[-1] == done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--labels", "1,many"], "--labels 1,many: expected numbers per class and all"),
        (["--labels", "0,1"], "--labels 0,1: expected numbers of 1 or more"),
        (["--ways", "frozn"], "Did you mean 'frozen'?"),
        (["--labels", "5000", "--limit", "600", "--ways", "pixels"], "5000 are required"),
    ],
)
def test_invalid_options_are_refused(frostline, options, fault):
    done = frostline("curve", "fashion-mnist", *options)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert fault in line
