"""Plain explanations of the terms in a report. The documentation's glossary is made from the same table."""

from markupsafe import Markup

# By term, in alphabetical order. Each explanation stands alone and needs no other term.
GLOSSARY = {
    "accuracy": "The share of images that the model classifies correctly.",
    "balanced accuracy": "The mean over all classes of the share of their images that are recognized. A rare class "
    "counts as much as a common one, so always answering the commonest class gains nothing.",
    "calibration": "Whether probabilities mean what they say: of the answers given with 80 %, 80 % should be correct.",
    "calibration error": "How far probabilities are from the truth, on average (expected calibration error, ECE). 0 "
    "is perfect; with 0.05, answers given with 90 % are correct in about 85 % or 95 % of cases.",
    "chance level": "The accuracy of guessing: one divided by the number of classes.",
    "closed form": "The head is computed in one step, as the exact solution of an equation, instead of step by step.",
    "confusion matrix": "A table of true classes (rows) and answers (columns). Correct answers are on the diagonal; "
    "every other cell counts a kind of mistake.",
    "embedding map": "A drawing in which images that look similar to the network lie close together.",
    "epoch": "One pass of the training over all training images.",
    "F1": "One number for precision and recall together (their harmonic mean). It is high only if both are.",
    "features": "The numbers by which a network describes an image; the head decides by them.",
    "filter": "A small pattern that the first layer of a network looks for everywhere in an image.",
    "frozen": "Stages that stay as they were pre-trained. They run once over the images, and their features are kept.",
    "frozen pass": "The one run of the frozen stages over the images.",
    "head": "The last layer, which turns features into a class. It is what is trained here.",
    "held-out images": "Images that were kept away from a training so that it can be checked on them.",
    "interval": "Where the accuracy on many more images like these would probably be. With 95 % confidence: of twenty "
    "such intervals, nineteen hold the true value. Few test images make it wide.",
    "loss": "What training makes small: how improbable the model found the true classes. 0 is perfect.",
    "macro F1": "The mean of the F1 of all classes. A rare class counts as much as a common one.",
    "pre-trained": "Trained earlier, on other images. What was learned there, such as edges and textures, is reused.",
    "precision": "Of the images that the model assigns to a class, the share that belongs to it.",
    "recall": "Of the images of a class, the share that the model recognizes.",
    "saliency map": "Marks the parts of an image that spoke for the answer.",
    "seed": "The number that all random choices start from. The same seed repeats a run.",
    "temperature": "One number that all scores are divided by, so that the probabilities fit. It changes no answer.",
    "test split": "Images that are used once, at the end, to measure the model. Nothing is chosen by them.",
    "top-5 accuracy": "The share of images whose true class is among the five most probable answers.",
    "training split": "The images that the head is trained on.",
    "validation split": "Images that the training does not learn from. They choose settings, so the accuracy on them "
    "is a little too good.",
}


def term_id(term: str) -> str:
    """Return the id of a term's explanation on a page."""
    return "term-" + term.casefold().replace(" ", "-")


class Terms:
    """The terms of one page; ``used`` has those that were shown so far."""

    def __init__(self) -> None:
        self.used: dict[str, str] = {}

    def __call__(self, name: str, shown: str | None = None) -> Markup:
        """Return a term as a button with its explanation: a tooltip on hover, a popover on tap or Enter.

        ``shown`` is the text of the button, by default the term itself. Raises ``KeyError`` for an unknown term.
        """
        self.used[term_id(name)] = GLOSSARY[name]
        return Markup('<button type="button" class="term" popovertarget="{}" title="{}">{}</button>').format(
            term_id(name), GLOSSARY[name], shown or name
        )
