"""`frostline compare`."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.small_run import reseal, unfinish


@pytest.fixture
def copies(finished, tmp_path):
    """``first``, and ``second`` with another learning rate and random predictions for the last 20 test images."""
    first, second = (shutil.copytree(finished.folder, tmp_path / "runs" / name) for name in ("first", "second"))
    config = (second / "config.toml").read_text()
    (second / "config.toml").write_text(re.sub(r"^lr = .*$", "lr = 0.01", config, flags=re.MULTILINE))
    tensors = load_file(second / "evidence.safetensors")
    probabilities = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(10), 20).astype(np.float32))
    tensors["test.probabilities"][-20:] = probabilities
    save_file(tensors, second / "evidence.safetensors")
    reseal(second)
    return first, second


def rename(metrics, change):
    def renamed(by_class):
        return {change(name): value for name, value in by_class.items()}

    for results in (metrics["val"], metrics["test"], metrics["held_out"]):
        results["per_class"] = renamed(results["per_class"])
    metrics["held_out"]["confused"] = [[change(a), change(b), n] for a, b, n in metrics["held_out"]["confused"]]
    metrics["data"]["class_images"] = {split: renamed(some) for split, some in metrics["data"]["class_images"].items()}


def edit(folder, change):
    metrics = json.loads((folder / "metrics.json").read_text())
    change(metrics)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    reseal(folder)


def test_runs_are_compared_on_the_terminal_and_on_a_page(frostline, copies, finished, tmp_path):
    done = frostline("compare", "first", "second", "--html", "page.html")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^lr +0\.003 +0\.01$", done.stdout, re.MULTILINE)
    assert f"{finished.metrics['test']['accuracy']:.4f}" in done.stdout
    assert re.search(r"'first' is better than 'second' by [\d.]+ points, 95 % interval .*significant on", done.stdout)
    assert "another seed" in done.stdout
    page = (tmp_path / "page.html").read_text()
    assert "significant on 40 images" in page
    assert not re.search(r"(src|href)=.?(http|//)|url\(", page)


def change_settings(folder, **changes):
    text = (folder / "config.toml").read_text()
    for name, value in changes.items():
        text, count = re.subn(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
        assert count == 1, name
    (folder / "config.toml").write_text(text)
    reseal(folder)


def test_settings_that_are_not_in_force_are_not_compared(frostline, copies):
    change_settings(copies[1], prior='"none"', hidden_width=64, momentum=0.5, layer_decay=0.5, lr=0.003)
    done = frostline("compare", "first", "second")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^settings that differ +first +second\nnone *$", done.stdout, re.MULTILINE)


def test_a_head_in_closed_form_has_no_settings_of_gradient_descent_and_no_epochs(frostline, copies, finished):
    change_settings(copies[1], head='"ridge"', batch_size=64, label_smoothing=0.2)
    edit(copies[1], lambda metrics: metrics["training"].update(l2=1.0))
    done = frostline("compare", "first", "second")
    assert (done.returncode, done.stderr) == (0, "")
    training = finished.metrics["training"]
    for name, first in (
        ("head", "linear"), ("batch_size", "128"), ("label_smoothing", "0.1"), ("lr", "0.003"),
        (r"epochs \(best\)", f"6 ({training['best_epoch']})"),
    ):  # fmt: skip
        second = "ridge" if name == "head" else "-"
        assert re.search(rf"^{name} +{re.escape(first)} +{second}$", done.stdout, re.MULTILINE), name


def test_names_are_escaped(frostline, copies, tmp_path):
    for folder in copies:
        edit(folder, lambda metrics: rename(metrics, lambda name: f"<b>{name}"))
    assert frostline("compare", "first", "second", "--output", "page.html").returncode == 0
    page = (tmp_path / "page.html").read_text()
    assert "&lt;b&gt;Coat" in page
    assert "<b>" not in page


def test_equal_predictions(frostline, finished, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(finished.folder, tmp_path / "runs" / name)
    assert "'one' and 'two' classify the same of all 40 images correctly." in frostline("compare", "one", "two").stdout


def test_incomparable_runs_are_one_clear_line(frostline, copies):
    def refused(*names):
        done = frostline("compare", *names)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        return done.stderr

    assert "needs two runs or more" in refused("first")
    assert "was named twice" in refused("first", "runs/first")
    second = copies[1]
    edit(second, lambda m: m["data"]["fingerprint"].update(test="0"))
    assert "40 images each, with the same labels, but the images or their order differ" in refused("first", "second")
    edit(second, lambda m: m["data"].pop("fingerprint"))
    assert "does not record which images" in refused("first", "second")
    edit(second, lambda metrics: rename(metrics, lambda name: "hat" if name == "Bag" else name))
    assert "their classes differ (the first alone has 'Bag'; the second alone has 'hat')" in refused("first", "second")
    (second / "evidence.safetensors").unlink()
    assert "there is no runs/second/evidence.safetensors" in refused("first", "second")
    unfinish(second)
    assert "has no results yet" in refused("first", "second")
