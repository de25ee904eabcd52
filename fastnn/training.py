"""Training as a process: the trainer, which applies an optimizer to a network, and what it records."""

import copy
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn import kernels
from fastnn.checks import (
    check_flag,
    check_inputs,
    check_number,
    check_seed,
    check_targets,
    check_threads,
    check_weights,
    is_finite,
)
from fastnn.engine import Session, make_table
from fastnn.network import Network
from fastnn.optimizers import SGD, Adam
from fastnn.state import State, read_key, write_key
from fastnn.threads import turn_of

SLICE_SECONDS = 0.06  # Python takes over this often: Ctrl-C, time limits, progress
REST_SHARE = 12  # of a slice is what a smaller team does before all threads are tried again: 5 ms
FIRST_SLICE_WORK = 1e9  # floating point operations before the speed is known
CURVE_LENGTH = 1024  # epochs whose losses one call may record
NEVER = 2**62
# Why a run has ended, by its status.
REASONS = {
    kernels.state.EPOCHS_DONE: "max_iter",
    kernels.state.STOPPED_IMPROVING: "no_improvement",
    kernels.state.RATE_TOO_SMALL: "rate_too_small",
    kernels.state.DIVERGED: "diverged",
}
# Attributes that are of this process: a pickle, or a copy, makes them anew.
NOT_SAVED = ("state", "_session", "_turns", "_running_in")
AUTO_BATCH = 200  # rows of a batch with batch_size='auto', as in scikit-learn


@dataclass
class History:
    """One entry an epoch: the mean loss of its batches, each before its update; the score after it."""

    loss: list[float] = field(default_factory=list)
    score: list[float] = field(default_factory=list)


def resolve_batch(batch_size: Any, n_rows: int) -> int:
    """Rows of a batch: 'auto' (up to 200), 'full' (all), or an integer, at most all."""
    if batch_size == "auto":
        return min(AUTO_BATCH, n_rows)
    if batch_size == "full":
        return n_rows
    if isinstance(batch_size, Integral) and not isinstance(batch_size, bool) and int(batch_size) >= 1:
        return min(int(batch_size), n_rows)
    raise ValueError(f"batch_size must be 'auto', 'full' or an int >= 1; got {batch_size!r}.")


def check_patience(n_iter_no_change: Any) -> int:
    """Idle epochs to bear, as a number for the kernels: an integer of 1 or more, or infinity."""
    number = check_number("n_iter_no_change", n_iter_no_change, 1, np.inf)
    if number != np.inf and number != int(number):
        raise ValueError(f"n_iter_no_change must be a whole number or inf; got {n_iter_no_change!r}.")
    return int(min(number, NEVER))


def is_true(answer: Any) -> bool:
    """Whether a callback has said True, Python's or NumPy's; anything else means nothing."""
    return isinstance(answer, bool | np.bool_) and bool(answer)


class Trainer:
    """Trains a network in place. Moments, learning rate and counters stay between runs.

    Runs of one trainer take turns, whatever threads they come from. A copy, or a pickle, made between runs
    holds a network and moments of its own and goes on as the original would.

    Parameters
    ----------
    network : Network
    optimizer : SGD or Adam
        To assign another one later is to begin with it, as `restart` does.
    alpha : float
        Strength of the L2 penalty on the weights.
    batch_size : 'auto', 'full' or int
        'auto' is 200 rows, 'full' gradient descent on all rows, 1 stochastic gradient descent.
    shuffle : bool
        Shuffle the rows before each epoch. A full batch keeps its order; the numbers are drawn all the same.
    random_state : None, int or RandomState
        Source of the shuffles.
    tol, n_iter_no_change : float, int or inf
        Training stops after more than `n_iter_no_change` epochs without an improvement of `tol`.
    n_threads : int or None
        None: as many as the work of a step is worth. The result doesn't depend on it.
    loss_scale : float
        Factor of the data term, not of the penalty, in the recorded losses.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import Adam, Architecture, Network, Trainer
    >>> X = np.linspace(-1, 1, 100).reshape(-1, 1)
    >>> network = Network.initialize(Architecture((1, 16, 1), activation="tanh"), seed=0)
    >>> trainer = Trainer(network, Adam(learning_rate=0.01), random_state=0)
    >>> trainer.run(X, X**2, epochs=20)
    'max_iter'
    >>> trainer.history.loss[-1] < trainer.history.loss[0]
    True
    """

    def __init__(
        self,
        network: Network,
        optimizer: SGD | Adam,
        *,
        alpha: float = 0.0,
        batch_size: Any = "auto",
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        n_iter_no_change: float = 10,
        n_threads: int | None = None,
        loss_scale: float = 1.0,
    ) -> None:
        if not isinstance(network, Network):
            raise TypeError(f"network must be a fastnn.Network; got {network!r}.")
        self._network = network
        self.alpha = check_number("alpha", alpha, 0, np.inf, open_high=True)
        resolve_batch(batch_size, 1)
        self.batch_size = batch_size
        self.shuffle = check_flag("shuffle", shuffle)
        self.random_state = check_seed("random_state", random_state)
        self.n_threads = check_threads(n_threads)
        self._prepare()
        self.tol, self.n_iter_no_change, self.loss_scale = tol, n_iter_no_change, loss_scale
        self.history = History()
        self._earlier_epochs = 0
        self.best: Network | None = None
        self.optimizer = optimizer

    def _prepare(self) -> None:
        """What every trainer has of its own, whatever it is made from."""
        self.state = State(self.network)
        self._session: Session | None = None
        self._turns: dict[int, Any] = {}
        self._running_in = 0  # process

    @property
    def network(self) -> Network:
        """What is trained, always the same."""
        return self._network

    @property
    def optimizer(self) -> SGD | Adam:
        """Which steps are taken."""
        return self.state.optimizer

    @optimizer.setter
    def optimizer(self, optimizer: SGD | Adam) -> None:
        if not isinstance(optimizer, SGD | Adam):
            raise TypeError(f"optimizer must be a fastnn.SGD or fastnn.Adam; got {optimizer!r}.")
        with turn_of(self._turns):
            self._refuse_while_running("assigning `optimizer`")
            self.state.begin(optimizer)

    def restart(self) -> None:
        """Forget moments, step count and learning rate; keep parameters, history and the count of idle
        epochs.
        """
        with turn_of(self._turns):
            self._refuse_while_running("restart")
            self.state.begin(self.optimizer)

    @property
    def tol(self) -> float:
        """What counts as an improvement."""
        return float(self.state.reals[kernels.state.TOL])

    @tol.setter
    def tol(self, tol: float) -> None:
        self._set(self.state.reals, kernels.state.TOL, check_number("tol", tol, 0, np.inf))

    @property
    def n_iter_no_change(self) -> float:
        """Epochs without an improvement that training bears, an integer or infinity."""
        patience = int(self.state.ints[kernels.state.PATIENCE])
        return patience if patience < NEVER else np.inf

    @n_iter_no_change.setter
    def n_iter_no_change(self, n_iter_no_change: float) -> None:
        self._set(self.state.ints, kernels.state.PATIENCE, check_patience(n_iter_no_change))

    @property
    def loss_scale(self) -> float:
        """Factor of the data term in the recorded losses."""
        return float(self.state.reals[kernels.state.LOSS_SCALE])

    @loss_scale.setter
    def loss_scale(self, loss_scale: float) -> None:
        scale = check_number("loss_scale", loss_scale, 0, np.inf, open_high=True)
        self._set(self.state.reals, kernels.state.LOSS_SCALE, scale)

    def _set(self, numbers: NDArray[Any], place: int, value: float) -> None:
        """While the compiled loop runs, two threads each read a copy, and have to decide alike: whoever is in
        another thread waits for the end of the run.
        """
        with turn_of(self._turns):
            numbers[place] = value

    @property
    def learning_rate(self) -> float:
        """The rate of the last step; Adam's carries the bias correction."""
        return float(self.state.reals[kernels.state.RATE])

    @property
    def samples_seen(self) -> int:
        """Rows that the network has been trained on, each epoch counted."""
        return int(self.state.ints[kernels.state.SAMPLES_SEEN])

    @property
    def best_loss(self) -> float:
        """The smallest of what the last run was judged by, infinity before its first epoch: losses, or scores
        times -1.
        """
        return float(self.state.reals[kernels.state.BEST])

    @property
    def rate_cuts(self) -> int:
        """How often the adaptive schedule has divided the learning rate."""
        return int(self.state.ints[kernels.state.RATE_CUTS])

    @property
    def n_epochs(self) -> int:
        """Epochs done in the last run."""
        return int(self.state.ints[kernels.state.EPOCH])

    def run(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        epochs: int,
        score: Callable[[Network], float] | None = None,
        on_epoch: Callable[["Trainer"], Any] | None = None,
        max_time: float | None = None,
    ) -> str:
        """Train for up to `epochs` epochs on X (n, I) and y (see `Network.loss_and_gradient`).

        Every setting of the constructor but the network may have been changed since the last run.

        `score(network)`, higher is better, decides on stopping in place of the loss; `best` keeps the best
        network. `on_epoch(trainer)` is called after each epoch; True ends the run. `max_time` is in seconds.

        Returns why the run ended: 'max_iter', 'no_improvement', 'rate_too_small', 'max_time', 'stopped',
        'interrupted' (Ctrl-C) or 'diverged'.
        """
        network = self.network
        matrix = check_inputs(X, network.dtype, network.architecture.layer_sizes[0])
        targets = check_targets(network.architecture, y, matrix.shape[0], network.dtype)
        weights = check_weights(sample_weight, matrix.shape[0], network.dtype)
        check_number("alpha", self.alpha, 0, np.inf, open_high=True)
        check_threads(self.n_threads)
        check_flag("shuffle", self.shuffle)
        self.random_state = check_seed("random_state", self.random_state)
        if not isinstance(epochs, Integral) or isinstance(epochs, bool) or epochs < 1:
            raise ValueError(f"epochs must be an int >= 1; got {epochs!r}.")
        for name, function in (("score", score), ("on_epoch", on_epoch)):
            if function is not None and not callable(function):
                raise TypeError(f"{name} must be None or a function; got {function!r}.")
        if max_time is not None:
            check_number("max_time", max_time, 0, np.inf)
        return self.run_checked(
            matrix, targets, weights, epochs=epochs, score=score, on_epoch=on_epoch, max_time=max_time
        )

    def run_checked(
        self,
        X: Any,
        y: NDArray[Any],
        sample_weight: NDArray[Any],
        *,
        epochs: int,
        score: Callable[[Network], float] | None = None,
        on_epoch: Callable[["Trainer"], Any] | None = None,
        max_time: float | None = None,
    ) -> str:
        """`run` for arrays that are known to be right: C-contiguous, of the network's dtype, y (n, K),
        weights or (0,).
        """
        with turn_of(self._turns):
            self._refuse_while_running("run")
            self._running_in = os.getpid()
            try:
                return self._run(X, y, sample_weight, epochs, score, on_epoch, max_time)
            finally:
                self._running_in = 0

    def _run(
        self,
        X: Any,
        y: NDArray[Any],
        sample_weight: NDArray[Any],
        epochs: int,
        score: Callable[[Network], float] | None,
        on_epoch: Callable[["Trainer"], Any] | None,
        max_time: float | None,
    ) -> str:
        """One run, while nobody else's is on."""
        session, names = self._session_for(resolve_batch(self.batch_size, X.shape[0])), kernels.state
        data = kernels.backprop.Data(make_table(X), y, sample_weight, np.arange(X.shape[0]))
        # One row has one order. Reading and writing the generator takes longer than its step.
        draws = self.shuffle and X.shape[0] > 1
        key = read_key(self.random_state) if draws else kernels.random.new_key()
        ints, self._earlier_epochs = self.state.ints, len(self.history.loss)
        # One by one: an index of four takes 3 us.
        ints[names.N_ROWS], ints[names.EPOCHS] = X.shape[0], min(epochs, NEVER)
        ints[names.CURSOR] = ints[names.EPOCH] = 0
        ints[names.SHUFFLE] = draws
        self.state.judge_by(names.LOSS if score is None else names.SCORE)
        ints[names.PAUSE] = score is not None or on_epoch is not None
        ints[names.STATUS] = names.RUNNING
        self.state.reals[names.ALPHA] = self.alpha
        control = session.control(ints, self.state.reals, np.zeros(min(epochs, CURVE_LENGTH)), key)
        session.bind(session.moments(self.state.first, self.state.second), data, control)
        deadline = np.inf if max_time is None else time.perf_counter() + max_time
        with kernels.team.Team(session.n_threads) as team:
            try:
                status = self._slices(session, team, control, score, on_epoch, deadline)
            except KeyboardInterrupt:
                status = "interrupted"
            finally:
                self._record(control.loss_curve)
                if self.state.reals[names.SHRINK] != 1.0:
                    # In the middle of an epoch of single samples, a factor is kept apart from the weights.
                    ints[[names.BUDGET, names.STATUS]] = 0, names.RUNNING
                    session.advance(team)
                session.release()
                if draws:
                    write_key(self.random_state, key)
        # The loss of an epoch can't show what its last step did.
        if is_finite(self.network.parameters):
            return status
        # So is what lies in the session's memory, some of which the next run would not write anew.
        self._session = None
        return "diverged"

    def _refuse_while_running(self, what: str) -> None:
        if self._running_in == os.getpid():
            raise RuntimeError(
                f"{what} is not possible while the trainer runs, by `on_epoch` or `score` for example: return"
                " True from `on_epoch` to end the run first, or take another Trainer."
            )

    def __copy__(self) -> "Trainer":
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: value for name, value in vars(self).items() if name not in NOT_SAVED}
        return {**kept, "saved": self.state.saved()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        saved = self.__dict__.pop("saved")
        self._prepare()
        # An early version kept the optimizer here.
        self.state.begin(saved.get("optimizer", self.__dict__.pop("_optimizer", None)))
        self.state.restore(saved)

    def _slices(
        self,
        session: Session,
        team: Any,
        control: Any,
        score: Callable[[Network], float] | None,
        on_epoch: Callable[["Trainer"], Any] | None,
        deadline: float,
    ) -> str:
        """Calls of the compiled loop, each of about SLICE_SECONDS, until the run ends."""
        names, ints = kernels.state, self.state.ints
        batches_per_epoch = -(-int(ints[names.N_ROWS]) // session.batch_rows)
        most = batches_per_epoch * len(control.loss_curve)
        budget = min(most, max(1, int(FIRST_SLICE_WORK / session.step_work)))

        def batches_done() -> int:
            return int(ints[names.EPOCH]) * batches_per_epoch + int(ints[names.CURSOR]) // session.batch_rows

        while True:
            start, before = time.perf_counter(), batches_done()
            ints[names.BUDGET], ints[names.REST] = budget, max(1, budget // REST_SHARE)
            session.advance(team)
            now = time.perf_counter()
            in_time = (batches_done() - before) * SLICE_SECONDS / max(now - start, 1e-9)
            budget = min(most, max(1, int(min(4.0 * budget, in_time))))
            ended = self._record(control.loss_curve) > 0 and ints[names.CURSOR] == 0
            if ended and ints[names.STATUS] == names.AWAITS_SCORE:
                self._score(score, session, team)
            if ended and on_epoch is not None and is_true(on_epoch(self)):
                return "stopped"
            if ints[names.STATUS] != names.RUNNING:
                return REASONS[int(ints[names.STATUS])]
            if now > deadline:
                return "max_time"

    def _record(self, loss_curve: NDArray[np.float64]) -> int:
        """Take the losses of finished epochs into the history; returns how many are new.

        Also after an interrupt, which comes as soon as a compiled call returns.
        """
        done = len(self.history.loss) - self._earlier_epochs
        new = [float(loss_curve[epoch % len(loss_curve)]) for epoch in range(done, self.n_epochs)]
        self.history.loss += new
        return len(new)

    def _score(self, score: Any, session: Session, team: Any) -> None:
        """Ask for the score of the network and let the compiled loop judge it."""
        names, answer = kernels.state, score(self.network)
        try:
            value = float(answer)
        except (TypeError, ValueError) as error:
            raise TypeError(f"score must return a number, higher is better; got {answer!r}.") from error
        if self.best is None or -value < self.best_loss:
            self.best = self.network.copy()
        self.history.score.append(value)
        self.state.reals[names.MONITORED] = -value
        self.state.ints[names.BUDGET] = 0
        session.advance(team)

    def _session_for(self, batch_rows: int) -> Session:
        made_for = self._session and (self._session.batch_rows, self._session.threads_asked)
        if self._session is None or made_for != (batch_rows, self.n_threads):
            network = self.network
            self._session = Session(
                network.architecture.layer_sizes,
                network.architecture.codes,
                network.parameters,
                batch_rows,
                self.n_threads,
            )
        return self._session
