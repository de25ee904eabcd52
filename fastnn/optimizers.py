"""Which steps are taken: the settings of an optimizer. Applying them is the trainer's work (training.py)."""

from dataclasses import dataclass

import numpy as np

from fastnn.architecture import choose
from fastnn.checks import check_flag, check_number
from fastnn.kernels import codes


@dataclass(frozen=True)
class SGD:
    """Gradient descent, ``new = old - learning_rate * gradient``, with momentum if asked for.

    ``schedule='invscaling'`` sets the rate after each epoch to ``learning_rate / (rows seen + 1)**power_t``;
    ``'adaptive'`` divides it by 5 whenever training stops improving, until 1e-6.

    Examples
    --------
    >>> from fastnn import SGD
    >>> SGD(learning_rate=0.1, momentum=0.9).nesterov
    False
    """

    learning_rate: float = 1e-3
    momentum: float = 0.0
    nesterov: bool = False
    schedule: str = "constant"
    power_t: float = 0.5

    def __post_init__(self) -> None:
        check_number("learning_rate", self.learning_rate, 0, np.inf, open_low=True, open_high=True)
        check_number("momentum", self.momentum, 0, 1)
        check_number("power_t", self.power_t, 0, np.inf, open_high=True)
        choose("schedule", self.schedule, tuple(codes.SCHEDULES))
        if check_flag("nesterov", self.nesterov) and self.momentum == 0:
            raise ValueError("nesterov=True needs a momentum above 0, 0.9 for example; got momentum=0.")

    @property
    def code(self) -> int:
        if self.momentum == 0:
            return codes.SGD
        return codes.NESTEROV if self.nesterov else codes.MOMENTUM


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba, 2015): a step for each parameter from running means of its gradient and squared
    gradient.

    Examples
    --------
    >>> from fastnn import Adam
    >>> Adam(learning_rate=0.01).beta_1
    0.9
    """

    learning_rate: float = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        check_number("learning_rate", self.learning_rate, 0, np.inf, open_low=True, open_high=True)
        check_number("beta_1", self.beta_1, 0, 1, open_high=True)
        check_number("beta_2", self.beta_2, 0, 1, open_high=True)
        check_number("epsilon", self.epsilon, 0, np.inf, open_low=True, open_high=True)

    @property
    def code(self) -> int:
        return codes.ADAM
