"""Floor 5: scikit-learn's MLPClassifier and MLPRegressor on the compiled engine."""

from fastnn.estimators._classifier import MLPClassifier
from fastnn.estimators._regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
