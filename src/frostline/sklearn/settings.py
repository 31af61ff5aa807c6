"""An estimator's parameters as the settings of a run."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any

from sklearn.utils import check_random_state

from frostline.config import TrainConfig
from frostline.errors import ConfigError, UnknownNameError

# Parameters that are no setting of a run, or are called otherwise there.
OWN = {"random_state", "validation_fraction", "verbose", "cache_dir", "keep", "settings"}
# Settings that scikit-learn has other ways for: which images, which labels, which seed.
ELSEWHERE = {"data", "data_dir", "strict", "limit", "labels_per_class", "seed"}


def config_of(params: Mapping[str, Any]) -> TrainConfig:
    """Return an estimator's parameters (``get_params``) as settings.

    ``random_state`` is the seed, and ``validation_fraction`` is ``val_fraction``.

    Raises
    ------
    ConfigError
        When a value is impossible, or ``settings`` names what is no setting or a parameter of its own.
    """
    values = {name: value for name, value in params.items() if name not in OWN}
    if "validation_fraction" in params:
        values["val_fraction"] = params["validation_fraction"]
    settings = params.get("settings") or {}
    allowed = sorted(set(TrainConfig.model_fields) - ELSEWHERE - set(values))
    for name in settings:
        if name in values:
            raise ConfigError(f"settings: '{name}' is a parameter of the estimator: set it there.")
        if name not in allowed:
            raise UnknownNameError("setting", name, allowed)
    return TrainConfig(data="images", seed=_seed(params["random_state"]), **values, **settings)


def _seed(random_state: Any) -> int:
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
