"""The parameters of params.yaml for all candidates, with fits that take a second."""

from ontime.params import Train


def short(train: Train) -> Train:
    """The same candidates with few trees and small networks."""
    changes: dict[str, dict[str, object]] = {
        "hist_gradient_boosting": {"max_iter": 20},
        "lightgbm": {"n_estimators": 30},
        "random_forest": {"n_estimators": 10},
        "xgboost": {"n_estimators": 20},
        "catboost": {"iterations": 20},
        "neural_network": {"bins": 4, "units": 16, "epochs": 2},
        "distilled": {"teacher": "hist_gradient_boosting", "changes": {"n_estimators": 20}, "folds": 2},
    }
    for name, values in changes.items():
        train = train.changed(name, **values)
    return train
