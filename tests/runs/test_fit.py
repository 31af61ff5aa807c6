"""Whole runs on real images, from settings to the run folder."""

import json
import os

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from frostline.config import TrainConfig, read_config
from frostline.data.arrays import from_arrays
from frostline.data.fashion_mnist import CLASS_NAMES
from frostline.data.registry import load_dataset
from frostline.errors import ConfigError, RunError, UnknownNameError, WeightsError
from frostline.inference.classifier import Classifier
from frostline.pipeline.resolve import split
from frostline.runs.bundle import load_bundle
from frostline.runs.fit import fit
from frostline.runs.folder import Run
from tests.commands import run_snippet
from tests.quick import quick_runs
from tests.reference import save_features
from tests.small_run import FAST, InterruptTraining, small_config

FLOAT16 = 1e-4  # what keeping activations in float16 moves the mean loss by, at most; measured: 2e-5


def results(run):
    """What must not change when a run is repeated."""
    metrics = run.metrics
    return metrics["val"], metrics["test"]


def log_of(run):
    return (run.folder / "log.txt").read_text()


def test_every_file_of_a_run_is_there_and_nothing_else(finished):
    files = {str(path.relative_to(finished.folder)) for path in finished.folder.rglob("*") if path.is_file()}
    assert files == {
        "config.toml",
        "data.json",
        "history.csv",
        "metrics.json",
        "curves.png",
        "confusion.png",
        "evidence.safetensors",
        "index.safetensors",
        "sample.safetensors",
        "log.txt",
        "lock",
        "manifest.json",
        "model/MODEL_CARD.md",
        "model/manifest.json",
        "model/model.json",
        "model/model.safetensors",
    }


def test_metrics_hold_the_whole_contract(finished):
    metrics = json.loads((finished.folder / "metrics.json").read_text())
    assert metrics["schema"] == 1
    for name, images in (("val", 48), ("test", 40)):
        part = metrics[name]
        assert 0.3 < part["accuracy"] <= 1
        low, high = part["accuracy_ci95"]
        assert 0 <= low <= part["accuracy"] <= high <= 1
        assert part["loss"] > 0
        assert part["accuracy"] <= part["top5_accuracy"] <= 1
        assert 0 < part["f1_macro"] <= 1
        assert 0 <= part["ece"] <= 1
        assert tuple(part["per_class"]) == CLASS_NAMES
        assert all(set(line) == {"precision", "recall", "f1", "support"} for line in part["per_class"].values())
        assert sum(line["support"] for line in part["per_class"].values()) == images
        assert [sum(row) for row in part["confusion"]] == [line["support"] for line in part["per_class"].values()]
        right = sum(part["confusion"][i][i] for i in range(10))
        assert part["accuracy"] == pytest.approx(right / images)
        after = {quantity: metrics["calibration"][name][quantity]["after"] for quantity in ("ece", "loss")}
        assert after == {"ece": part["ece"], "loss": part["loss"]}
    assert metrics["calibration"]["temperature"] == metrics["training"]["temperature"]
    assert metrics["calibration"]["val"]["loss"]["before"] > metrics["val"]["loss"]
    frozen_pass = metrics["frozen_pass"]
    assert (frozen_pass["images"], frozen_pass["from_cache"]) == (280, 0)
    assert frozen_pass["images_per_second"] == pytest.approx(280 / frozen_pass["seconds"])
    training = metrics["training"]
    assert training["epochs"] == 6
    assert 1 <= training["best_epoch"] <= 6
    assert training["seconds"] > 0
    assert metrics["total_seconds"] >= training["seconds"] + frozen_pass["seconds"]
    assert 100 << 20 < metrics["peak_memory_bytes"] < 8 << 30
    assert metrics["weights"]["name"] == "random"
    assert len(metrics["weights"]["sha256"]) == 64
    facts = {"name": "alexnet", "freeze": "conv5", "taps": [], "image_size": 64}
    facts |= {"parameters": 2_469_696 + 2570, "trainable_parameters": 2570}
    assert facts.items() <= metrics["model"].items()
    assert metrics["seed"] == 0
    assert metrics["versions"]["torch"] == torch.__version__
    assert metrics["device"].startswith("cpu")


def test_the_history_belongs_to_the_metrics(finished):
    config, history, metrics = finished.config, finished.history, finished.metrics
    best = history[metrics["training"]["best_epoch"] - 1]
    assert len(history) == metrics["training"]["epochs"]
    assert best.val_accuracy == pytest.approx(metrics["val"]["accuracy"])
    val = split(load_dataset(config.data, config.data_dir), config).val
    probabilities = torch.from_numpy(Classifier.load(finished.folder).predict_proba(val.images))
    logits = probabilities.log() * metrics["training"]["temperature"]  # before calibration, up to a constant
    loss = F.cross_entropy(logits, torch.from_numpy(val.labels)).item()
    assert loss == pytest.approx(best.val_loss, abs=FLOAT16)


def test_the_log_tells_the_whole_flow(finished):
    text = log_of(finished)
    for line in (
        "data: fashion-mnist from",
        "weights: random",
        "run 'first': alexnet at 64 px, frozen up to conv5",
        "images: 192 train, 48 validation, 40 test",
        "frozen pass: 240 of 240 images to compute through conv5",
        "epoch 6/6  train loss",
        "evaluating on the test split, once",
        "frozen pass: 40 of 40 images to compute through conv5",
        "test accuracy",
    ):
        assert line in text
        text = text[text.index(line) :]  # in this order


def test_its_own_configuration_runs_the_same_run_again(finished, tmp_path):
    config = TrainConfig(**read_config(finished.folder / "config.toml"))
    again = fit(config, output_dir=tmp_path)
    assert results(again) == results(finished)
    assert again.config == finished.config
    assert again.metrics["weights"] == finished.metrics["weights"]
    assert again.metrics["data"] == finished.metrics["data"]


def test_another_learning_rate_runs_no_frozen_layer(finished, small_fashion, run_cache, tmp_path):
    other = fit(small_config(small_fashion, lr=0.01), output_dir=tmp_path, cache_dir=run_cache)
    frozen_pass = other.metrics["frozen_pass"]
    assert frozen_pass["from_cache"] == frozen_pass["images"] == 280
    assert frozen_pass["images_per_second"] == 0
    for count in (240, 40):
        assert f"all {count} features found in the cache" in log_of(other)
    assert results(other) != results(finished)


def test_views_are_computed_once_and_kept(finished, small_fashion, run_cache, tmp_path):
    runs = [
        fit(
            small_config(small_fashion, views=3, epochs=5, lr=lr, augment="flip=0"),
            output_dir=tmp_path,
            cache_dir=run_cache,
        )
        for lr in (0.003, 0.01)
    ]
    cold, warm = (run.metrics["frozen_pass"] for run in runs)
    assert (cold["images"], cold["from_cache"]) == (280 + 2 * 192, 280)  # the images themselves were there
    assert (warm["images"], warm["from_cache"]) == (280 + 2 * 192,) * 2
    assert "view 3 of 3" in log_of(runs[0])
    assert runs[0].config.augment == {"flip": 0}
    again = fit(TrainConfig(**read_config(runs[0].folder / "config.toml")), output_dir=tmp_path, cache_dir=run_cache)
    assert results(again) == results(runs[0])


def test_no_more_views_are_computed_than_epochs_see(small_fashion, run_cache, tmp_path):
    run = fit(small_config(small_fashion, views=50, epochs=2), output_dir=tmp_path, cache_dir=run_cache)
    assert run.metrics["frozen_pass"]["images"] == 280 + 192


def test_thawed_stages_see_views_too(small_fashion, tmp_path):
    changes = {"freeze": "none", "schedule": "together", "epochs": 2, "lr": 0.001}
    run = fit(small_config(small_fashion, views=2, **changes), output_dir=tmp_path)
    plain = fit(small_config(small_fashion, views=1, **changes), output_dir=tmp_path)
    assert run.history[0].train_loss == plain.history[0].train_loss  # the first epoch sees the images themselves
    assert run.history[1].train_loss != plain.history[1].train_loss


def test_ridge_is_solved_over_all_views(small_fashion, run_cache, tmp_path):
    fits = [
        fit(small_config(small_fashion, head="ridge", views=views), output_dir=tmp_path, cache_dir=run_cache)
        for views in (1, 3)
    ]
    plain, viewed = (run.metrics for run in fits)
    assert viewed["frozen_pass"]["images"] == plain["frozen_pass"]["images"] + 2 * 192
    assert viewed["val"]["loss"] != plain["val"]["loss"]
    assert viewed["test"]["accuracy"] > 0.3


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"augment": "flip=0"}, "add --views V with V of 2 or more"),
        ({"views": 2, "augment": "flop=0"}, "--augment: unknown change 'flop'"),
    ],
)
def test_impossible_views_are_refused_before_anything_is_made(small_fashion, tmp_path, changes, fault):
    with pytest.raises(ConfigError, match=fault):
        fit(small_config(small_fashion, **changes), output_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_few_labels_train_on_few_images_and_judge_on_all(finished, small_fashion, run_cache, tmp_path):
    few = fit(small_config(small_fashion, labels_per_class=4), output_dir=tmp_path, cache_dir=run_cache)
    assert "images: 40 train, 48 validation, 40 test" in log_of(few)
    mine, theirs = (run.metrics["data"]["fingerprint"] for run in (few, finished))
    assert (mine["val"], mine["test"]) == (theirs["val"], theirs["test"])
    assert mine["train"] != theirs["train"]
    assert few.metrics["frozen_pass"]["from_cache"] == 128


def test_a_limit_takes_a_sixth_of_it_for_the_test(small_fashion, tmp_path):
    run = fit(small_config(small_fashion, limit=120, epochs=1), output_dir=tmp_path)
    assert "images: 96 train, 24 validation, 20 test" in log_of(run)
    assert {line["support"] for line in run.metrics["test"]["per_class"].values()} <= {1, 2, 3}


def test_without_a_limit_every_image_is_used(small_fashion, tmp_path):
    run = fit(small_config(small_fashion, limit=None, epochs=1), output_dir=tmp_path)
    assert "images: 960 train, 240 validation, 300 test" in log_of(run)


@pytest.mark.parametrize("head", ["linear", "mlp", "ridge"])
def test_every_head_learns_and_is_kept(small_fashion, run_cache, tmp_path, head):
    run = fit(small_config(small_fashion, head=head, epochs=12), output_dir=tmp_path, cache_dir=run_cache)
    assert run.metrics["test"]["accuracy"] > 0.5
    model = load_bundle(run.model_folder)
    assert model.head.spec.kind == head
    assert run.metrics["model"]["head"] == head
    expected = 256 * 512 + 512 + 512 * 10 + 10 if head == "mlp" else 2570
    assert run.metrics["model"]["trainable_parameters"] == expected


def test_ridge_says_what_it_chose(small_fashion, run_cache, tmp_path):
    run = fit(small_config(small_fashion, head="ridge"), output_dir=tmp_path, cache_dir=run_cache)
    training = run.metrics["training"]
    assert (training["epochs"], training["best_epoch"]) == (1, 1)
    assert training["l2"] > 0
    assert training["temperature"] > 0
    assert len(run.history) == 1
    assert "ridge: L2 strength" in log_of(run)


def test_ridge_knows_how_drawn_objects_vary_unless_told_otherwise(small_fashion, run_cache, tmp_path):
    runs = [
        fit(small_config(small_fashion, head="ridge", **prior), output_dir=tmp_path, cache_dir=run_cache)
        for prior in ({}, {"prior": "none"}, {"prior": "drawn"})
    ]
    weights = [load_bundle(run.model_folder).head.first.weight for run in runs]
    assert torch.equal(weights[0], weights[2]) and not torch.equal(weights[0], weights[1])
    assert ["prior: covariance of features within objects, from 1,000 drawn" in log_of(run) for run in runs] == [
        True,
        False,
        True,
    ]
    cards = [(run.model_folder / "MODEL_CARD.md").read_text() for run in runs]
    assert ["how features vary within objects" in card for card in cards] == [True, False, True]
    assert [run.config.prior for run in runs] == ["drawn", "none", "drawn"]
    images = sum(runs[0].metrics["data"]["images"].values())
    assert runs[0].metrics["frozen_pass"]["images"] == images  # the drawn ones are none of the data set's


def test_ridge_over_thawed_stages_is_refused_before_anything_is_made(small_fashion, tmp_path):
    with pytest.raises(ConfigError, match="--head ridge is fitted in closed form and cannot train thawed stages"):
        fit(small_config(small_fashion, head="ridge", freeze="conv3"), output_dir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_freeze_none_keeps_no_feature(small_fashion, cache, tmp_path):
    changes = {"freeze": "none", "schedule": "together", "limit": 60, "epochs": 1}
    run = fit(small_config(small_fashion, **changes), output_dir=tmp_path)
    assert run.metrics["frozen_pass"]["images"] == 0
    assert run.metrics["model"]["freeze"] == "none"
    assert run.metrics["model"]["trainable_parameters"] == run.metrics["model"]["parameters"]
    assert "no stage is frozen" in log_of(run)
    assert not (cache / "activations").exists()


def test_freeze_conv3_reads_conv5_through_the_thawed_stages(small_fashion, tmp_path):
    run = fit(small_config(small_fashion, freeze="conv3", limit=60, epochs=1), output_dir=tmp_path)
    assert run.metrics["frozen_pass"]["images"] == 60 + 70  # for the head, then for what is thawed
    assert list(load_bundle(run.model_folder).backbone.stages) == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert "frozen up to conv3, linear head on conv5" in log_of(run)


def test_freeze_fc7_puts_the_head_on_fc7(small_fashion, tmp_path):
    run = fit(small_config(small_fashion, freeze="fc7", limit=60, epochs=1), output_dir=tmp_path)
    facts = run.metrics["model"]
    assert facts["parameters"] == 61_100_840 - 4_097_000 + 40_970
    assert facts["trainable_parameters"] == 40_970
    assert "frozen up to fc7, linear head on fc7" in log_of(run)


def test_by_default_the_head_reads_every_convolution_stage(small_fashion, tmp_path):
    run = fit(small_config(small_fashion, taps="auto", limit=60, epochs=1), output_dir=tmp_path)
    assert run.config.taps == ("conv1", "conv2", "conv3", "conv4", "conv5")
    assert run.metrics["model"]["taps"] == list(run.config.taps)
    assert run.metrics["test"]["images"] == 10


def test_what_was_left_open_is_written_down(small_fashion, run_cache, tmp_path):
    run = fit(small_config(small_fashion, lr=None, taps="auto", limit=60), output_dir=tmp_path, cache_dir=run_cache)
    written = read_config(run.folder / "config.toml")
    assert written["lr"] > 0
    assert written["workers"] >= 1
    assert written["taps"][-1] == "conv5"


def test_one_seed_reaches_everything(small_fashion, run_cache, tmp_path):
    first, same, other = (
        fit(small_config(small_fashion, head="mlp", seed=seed), output_dir=tmp_path, cache_dir=run_cache)
        for seed in (3, 3, 4)
    )
    assert results(first) == results(same)
    assert results(first) != results(other)
    assert first.metrics["data"] == same.metrics["data"] != other.metrics["data"]
    assert first.metrics["weights"] != other.metrics["weights"]
    assert first.metrics["bit_reproducible"] is True


def test_runs_are_numbered(small_fashion, run_cache, tmp_path):
    config = small_config(small_fashion, epochs=1)
    names = [fit(config, output_dir=tmp_path, cache_dir=run_cache).name for _ in range(2)]
    assert names == ["fashion-mnist-1", "fashion-mnist-2"]


def test_a_taken_name_is_refused_and_overwritten_when_asked(small_fashion, run_cache, tmp_path):
    options = {"name": "mine", "output_dir": tmp_path, "cache_dir": run_cache}
    first = results(fit(small_config(small_fashion, epochs=1), **options))
    with pytest.raises(RunError, match=r"run 'mine' exists \(finished\)"):
        fit(small_config(small_fashion, epochs=2), **options)
    assert results(Run.load("mine", tmp_path)) == first
    replaced = fit(small_config(small_fashion, epochs=2), **options, overwrite=True)
    assert len(replaced.history) == 2


def test_a_stopped_run_resumes_to_the_same_metrics(small_fashion, run_cache, tmp_path):
    config = small_config(small_fashion, head="mlp")
    options = {"output_dir": tmp_path, "cache_dir": run_cache}
    whole = fit(config, name="whole", **options)
    with pytest.raises(KeyboardInterrupt):
        fit(config, name="stopped", **options, progress=InterruptTraining(steps=3))
    stopped = Run.load("stopped", tmp_path)
    assert not stopped.finished
    assert len(stopped.history) == 1
    resumed = fit(TrainConfig(data="fashion-mnist"), name="stopped", **options, resume=True)  # nothing given again
    assert results(resumed) == results(whole)
    assert "continuing after epoch 1" in log_of(resumed)
    assert not resumed.checkpoint.exists()


def test_resumed_run_says_the_reason_for_its_weights_that_it_was_begun_with(small_fashion, tmp_path):
    config = small_config(small_fashion, head="mlp", weights="auto", limit=60)
    options = {"output_dir": tmp_path, "cache_dir": tmp_path / "cache", "name": "mine"}
    with pytest.raises(KeyboardInterrupt):
        fit(config, **options, progress=InterruptTraining(steps=1))
    begun = Run.load("mine", tmp_path).begin_record.weights.reason
    assert "ImageNet weights unavailable" in begun
    resumed = fit(TrainConfig(data="fashion-mnist"), **options, resume=True)
    assert load_bundle(resumed.folder).backbone.origin.reason == begun


def test_edited_settings_are_for_a_new_run_alone(small_fashion, run_cache, tmp_path):
    options = {"output_dir": tmp_path, "cache_dir": run_cache}
    with pytest.raises(KeyboardInterrupt):
        fit(small_config(small_fashion, head="mlp"), name="mine", **options, progress=InterruptTraining(steps=3))
    path = tmp_path / "mine/config.toml"
    path.write_text(path.read_text().replace("epochs = 3", "epochs = 1"))
    with pytest.raises(
        RunError, match=r"config\.toml is not the file that Frostline wrote .*: to change settings, start"
    ):
        fit(TrainConfig(data="fashion-mnist"), name="mine", **options, resume=True)
    assert len(fit(TrainConfig(**read_config(path)), name="other", **options).history) == 1


@pytest.mark.parametrize("kind", ["damaged", "pipe"])
def test_damaged_checkpoint_is_one_clear_line(small_fashion, run_cache, tmp_path, kind):
    options = {"name": "mine", "output_dir": tmp_path, "cache_dir": run_cache}
    with pytest.raises(KeyboardInterrupt):
        fit(small_config(small_fashion, head="mlp"), **options, progress=InterruptTraining(steps=3))
    path = Run.load("mine", tmp_path).checkpoint
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data) if kind == "damaged" else os.mkfifo(path)
    with pytest.raises(RunError, match=r"checkpoint\.safetensors"):
        fit(TrainConfig(data="fashion-mnist"), **options, resume=True)


def test_empty_name_is_refused(small_fashion, tmp_path):
    with pytest.raises(RunError, match="--name '': expected up to 100 letters"):
        fit(small_config(small_fashion), name="", output_dir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_resuming_a_finished_run_changes_nothing(finished, run_cache):
    before = (finished.folder / "metrics.json").read_bytes()
    options = {"name": "first", "output_dir": finished.folder.parent, "cache_dir": run_cache}
    again = fit(TrainConfig(data="fashion-mnist"), **options, resume=True)
    assert (again.folder / "metrics.json").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.5}, "lr = 0.003, not 0.5"),
        ({"head": "mlp"}, "head = 'linear', not 'mlp'"),
        ({"seed": 9}, "seed = 0, not 9"),
    ],
)
def test_resuming_refuses_other_settings(finished, small_fashion, changes, message):
    config = small_config(small_fashion, epochs=6).model_dump(exclude_unset=True) | changes
    with pytest.raises(RunError, match=f"run 'first' was started with {message}"):
        fit(TrainConfig(**config), name="first", output_dir=finished.folder.parent, resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "fashion-minst"}, "Did you mean 'fashion-mnist'"),
        ({"model": "alexnt"}, "Did you mean 'alexnet'"),
        ({"freeze": "conv9"}, "Did you mean 'conv5'"),
        ({"taps": "conv0"}, "Did you mean 'conv"),
    ],
)
def test_misspelt_names_leave_no_folder(small_fashion, tmp_path, changes, message):
    with pytest.raises(UnknownNameError, match=message):
        fit(small_config(small_fashion, **changes), output_dir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_weights_from_a_file_are_recorded_and_bound(small_fashion, tmp_path):
    path = tmp_path / "mine.pth"
    save_features(path)
    run = fit(small_config(small_fashion, weights=str(path), epochs=1), output_dir=tmp_path)
    assert run.config.weights == str(path)
    assert run.config.weights_sha256 == run.metrics["weights"]["sha256"]
    assert fit(run.config, output_dir=tmp_path).metrics["test"] == run.metrics["test"]
    save_features(path, seed=4)
    with pytest.raises(WeightsError, match="the file has changed; restore"):
        fit(run.config, output_dir=tmp_path)


def test_arrays_in_memory_train(small_fashion, run_cache, tmp_path):
    whole = load_dataset("fashion-mnist", small_fashion).train
    splits = from_arrays(whole.images[:300], whole.labels[:300], whole.class_names)
    config = TrainConfig(**FAST, epochs=1).model_copy(update={"data": "my arrays"})
    run = fit(config, output_dir=tmp_path, cache_dir=run_cache, splits=splits)
    assert run.name == "my-arrays-1"
    assert run.metrics["test"]["images"] == len(splits.test)
    assert run.metrics["data"]["fingerprint"]["test"] == splits.test.fingerprint


def test_the_training_rows_may_be_kept_in_single_precision(finished, small_fashion, tmp_path):
    run = fit(small_config(small_fashion, cache_dtype="float32", epochs=6), output_dir=tmp_path)
    assert run.metrics["frozen_pass"]["from_cache"] == 0
    assert run.metrics["val"]["loss"] == pytest.approx(finished.metrics["val"]["loss"], rel=1e-2)
    assert run.metrics["val"]["loss"] != finished.metrics["val"]["loss"]


def fit_in_a_script(small_fashion, cache, tmp_path, arguments=""):
    """Run `fit` as a script; what it wrote to standard output and standard error."""
    config = small_config(small_fashion, limit=120, epochs=1)
    code = (
        "from pathlib import Path\nfrom frostline import TrainConfig, fit\n"
        f"fit(TrainConfig(**{config.model_dump(mode='json', exclude_unset=True)!r}), name='script'{arguments})\n"
    )
    done = run_snippet(code, tmp_path, dict(os.environ), 300, within=quick_runs)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_fit_in_a_script_reports_on_standard_error(small_fashion, cache, tmp_path):
    output, reported = fit_in_a_script(small_fashion, cache, tmp_path)
    assert output == ""
    assert "run 'script': alexnet at 64 px" in reported
    assert "test accuracy 0." in reported.splitlines()[-1]
    assert "\x1b" not in reported


def test_fit_is_silent_when_told_so(small_fashion, cache, tmp_path):
    assert fit_in_a_script(small_fashion, cache, tmp_path, ", verbose=0") == ("", "")


def test_unknown_argument_of_fit_is_refused(small_fashion):
    with pytest.raises(TypeError, match="overwritten"):
        fit(small_config(small_fashion), overwritten=True)
