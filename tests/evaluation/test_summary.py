"""The three sentences that end a training, for made results; tests/cli/test_first_minutes.py has real ones."""

from typing import Any

import numpy as np

from frostline.evaluation.held_out import held_out_results
from frostline.evaluation.metrics import Predictions, evaluate
from frostline.evaluation.summary import summarize

NAMES = ("bag", "boot", "coat")
GUESSES = "Guessing among the 3 classes would get 33 % right, always answering “bag”, the commonest class, 33 %"


def answers(per_class: int, mistakes: list[tuple[int, int]], names: tuple[str, ...] = NAMES) -> Predictions:
    """Predictions of ``per_class`` images of each class, all correct but one for each (truth, answer)."""
    labels = np.repeat(np.arange(len(names)), per_class)
    best = labels.copy()
    for number, (truth, answer) in enumerate(mistakes):
        best[truth * per_class + number % per_class] = answer
    probabilities = np.full((len(labels), len(names)), 0.3 / (len(names) - 1), np.float32)
    probabilities[np.arange(len(labels)), best] = 0.7
    return Predictions(probabilities, labels)


def results(
    test: list[tuple[int, int]] = [(0, 2)],  # noqa: B006
    held_out: list[tuple[int, int]] = [(0, 2), (1, 0)],  # noqa: B006
    **changes: Any,
) -> dict[str, Any]:
    """``metrics.json`` of 60 test, 30 validation and 300 training images of three classes; ``changes`` win."""
    metrics: dict[str, Any] = {
        "test": evaluate(*answers(20, test).pair, NAMES),
        "val": evaluate(*answers(10, []).pair, NAMES),
        "held_out": held_out_results(answers(100, held_out), NAMES, "train/{}.png".format),
        "model": {"name": "efficientnet-lite0", "compared": True, "class_weights": "none"},
        "weights": {"name": "imagenet"},
        "data": {
            "name": "photos", "images": {"train": 300, "val": 30, "test": 60},
            "class_images": {"train": dict.fromkeys(NAMES, 100)},
        },
    }  # fmt: skip
    for key, value in changes.items():
        metrics[key] = metrics[key] | value if isinstance(metrics.get(key), dict) and value is not None else value
    return metrics


def test_all_fine() -> None:
    assert summarize(results()) == [
        "The model got 98 % of 60 test images right, none of which it had seen before; on new images like these, "
        "expect 91 % to 100 % (95 % interval).",
        f"{GUESSES}: the model is better than both.",
        "More images of “bag” would help most: of 100 that were held out in training, 99 were recognized, the smallest "
        "share of all classes.",
    ]
    *_, perfect = summarize(results(held_out=[]))
    assert perfect == "Nothing stands out: more images of every class, as varied as possible, would help most."


def test_ceiling_reached() -> None:
    good, _, advice = summarize(results(test=[]))
    assert good.startswith("The model got 100 % of 60 test images right") and "expect 94 % to 100 %" in good
    assert advice == (
        "These 60 test images can show no further progress: test the model on new images, taken on another day or in "
        "another place."
    )


def test_a_result_that_guessing_reaches_is_not_called_better() -> None:
    wrong = [(truth, (truth + 1) % 3) for truth in range(3) for _ in range(13)]
    _, compared, _ = summarize(results(test=wrong))
    assert compared == f"{GUESSES}: these 60 images do not show that the model is better than that."


def test_few_images() -> None:
    *_, advice = summarize(results(data={"class_images": {"train": {"bag": 9, "boot": 6, "coat": 9}}}))
    assert advice == "Add images of every class: 8 for each is what the model has learned from, 6 of “boot”."


def test_a_class_too_small_to_be_tested() -> None:
    names = (*NAMES, "wren")
    changed = results(data={"class_images": {"train": {"bag": 100, "boot": 100, "coat": 100, "wren": 2}}})
    changed["test"] = evaluate(answers(20, [(0, 2)]).probabilities @ np.eye(3, 4, dtype=np.float32),
                               answers(20, []).labels, names)  # fmt: skip
    assert summarize(changed)[2] == (
        "Add images of “wren” (2): it has too few to be tested, so the accuracy says nothing about them."
    )


def test_noisy_labels() -> None:
    suspected = [{"image": f"/photos/bag/{i}.png", "label": "bag", "predicted": "coat"} for i in range(7)]
    *_, advice = summarize(results(held_out=[]) | {"held_out": results()["held_out"] | {"suspected": suspected}})
    assert advice == (
        "Look at these 7 labels, which may be wrong: bag/0.png (bag, or coat?), bag/1.png (bag, or coat?), bag/2.png "
        "(bag, or coat?) and 4 more."
    )
    fewer = results() | {"held_out": results()["held_out"] | {"suspected": suspected[:5]}}  # under 2 % of 300
    assert "labels" not in summarize(fewer)[2]


def test_duplicates_across_splits() -> None:
    *_, advice = summarize(results(data={"overlap": {"train_test": {"identical": 3, "look_alike": 1}}}))
    assert advice == (
        "First move or remove the 4 test images that are also, or almost, in training or validation: until then the "
        "accuracy is too optimistic."
    )
    within = results(data={"overlap": {"train_val": {"identical": 3, "look_alike": 1}}})
    assert summarize(within) == summarize(results())


def test_imbalance() -> None:
    counts = {"bag": 400, "boot": 30, "coat": 390}
    *_, advice = summarize(results(data={"class_images": {"train": counts}}))
    assert advice == (
        "Add images of “boot”: it has 30 for training, and “bag” has 400; until then, --class-weights balanced weighs "
        "all classes alike."
    )
    *_, weighed = summarize(results(data={"class_images": {"train": counts}}, model={"class_weights": "balanced"}))
    assert weighed == "Add images of “boot”: it has 30 for training, and “bag” has 400."


def test_weak_network() -> None:
    weak = {"weights": {"name": "bundled"}, "model": {"name": "alexnet", "compared": False}}
    assert summarize(results(**weak))[2] == (
        "Train again with --model auto: this network (alexnet) was pre-trained on drawings only, and --model auto "
        "compares it with networks that know photographs."
    )
    for other in ({"model": {"compared": True}}, {"data": {"name": "fashion-mnist"}}):  # nothing else was to be chosen
        assert "--model auto" not in summarize(results(**weak | other))[2]


def test_blank_images() -> None:
    blank = {"count": 5, "examples": ["/photos/bag/a.png", "/photos/coat/b.png"]}
    assert summarize(results(data={"blank_images": blank}))[2] == (
        "Replace or remove the 5 images of a single color, such as bag/a.png, coat/b.png: they show nothing."
    )


def test_two_classes_alike() -> None:
    mixed = [(0, 2)] * 25 + [(2, 0)] * 25 + [(1, 0)]
    assert summarize(results(held_out=mixed))[2] == (
        "“bag” and “coat” look alike to the model: 50 of its 51 mistakes on held-out images confuse the two. Add "
        "images that show the difference, or make them one class."
    )


def test_without_a_test_split_the_validation_images_are_named() -> None:
    good, compared, _ = summarize(results() | {"test": None})
    assert good == (
        "How good the model is on new images was not measured, because there is no test split; on the 30 validation "
        "images, which chose its settings, it got 100 % right."
    )
    assert compared.endswith("the model is better than both.")


def test_thousands_of_test_images_are_worth_a_decimal() -> None:
    many = results() | {"test": evaluate(*answers(1000, [(0, 2)] * 10).pair, NAMES)}
    assert summarize(many)[0].startswith("The model got 99.7 % of 3,000 test images right")


def test_results_of_earlier_versions_are_summarized_from_what_they_have() -> None:
    earlier = {key: value for key, value in results().items() if key not in ("held_out", "data")}
    earlier |= {"model": {"name": "alexnet"}, "weights": {"name": "bundled"}, "data": {"name": "photos"}}
    assert summarize(earlier)[2] == "More images of the classes with the lowest recall would help most."


def test_labels_of_the_test_split_choose_no_advice() -> None:
    one, other = results(test=[(0, 2)]), results(test=[(1, 0)] * 3)
    assert summarize(one)[2] == summarize(other)[2]
