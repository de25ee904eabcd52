"""kernels/optimizers.py against NumPy: each rule over several steps, in both precisions."""

import numpy as np
import pytest
import reference
from cases import DTYPES, READ, WRITTEN, Guarded

from fastnn import Adam, Architecture, Network, Trainer
from fastnn.kernels import optimizers as hyper
from fastnn.kernels.codes import ADAM, GRADIENT_ONLY, MOMENTUM, NESTEROV, SGD
from fastnn.kernels.layout import PANEL_VECTORS, round_up, vector_lanes
from fastnn.kernels.schedule import set_hyper
from fastnn.kernels.state import ALPHA as PENALTY
from fastnn.kernels.state import (
    BATCH_WEIGHT,
    BETA_1,
    BETA_2,
    EPSILON,
    N_INTS,
    N_REALS,
    RATE,
    RATE_INIT,
    ROW_SCALE,
    SOLVER,
    STEP,
    UNIT_OF_FIRST,
)

SOLVERS = [SGD, MOMENTUM, NESTEROV, ADAM]
LENGTHS = [1, 2, 7, 8, 17, 64, 1000]
LEARNING_RATE, MOMENTUM_FACTOR, BETAS, ALPHA, BATCH = 0.05, 0.9, (0.9, 0.999), 0.3, 7.0
STEPS = 20


def hyper_of(solver, step, dtype):
    """Hyper-parameters of one step as the engine computes them, and what its gradients come multiplied by."""
    ints, reals = np.zeros(N_INTS, np.int64), np.zeros(N_REALS)
    ints[[SOLVER, STEP]] = solver, step
    reals[[RATE, RATE_INIT, BATCH_WEIGHT, PENALTY]] = LEARNING_RATE, LEARNING_RATE, BATCH, ALPHA
    reals[[BETA_1, BETA_2, EPSILON]] = (*BETAS, 1e-8) if solver == ADAM else (MOMENTUM_FACTOR, 0, 0)
    reals[UNIT_OF_FIRST] = unit_of_first(solver)
    values = np.zeros((2, hyper.N_HYPER), dtype)
    set_hyper(ints, reals, values)
    return values, reals[ROW_SCALE]


def as_kept(solver, state):
    """The oracle's (params, first, second) as the engine keeps them."""
    params, first, second = state
    return params, unit_of_first(solver) * first, second


def unit_of_first(solver):
    return np.sqrt(1 - BETAS[1]) / (1 - BETAS[0]) if solver == ADAM else 1


def reference_step(solver, state, gradient, step):
    """(params, first, second) after a step of the oracle."""
    params, first, second = state
    if solver == ADAM:
        rates = {"learning_rate": LEARNING_RATE, "beta_1": BETAS[0], "beta_2": BETAS[1]}
        new = reference.adam([params], [gradient], [first], [second], step, **rates)
        return tuple(each[0] for each in new)
    factor = 0.0 if solver == SGD else MOMENTUM_FACTOR
    rates = {"learning_rate": LEARNING_RATE, "momentum": factor, "nesterov": solver == NESTEROV}
    (params,), (first,) = reference.sgd([params], [gradient], [first], **rates)
    return params, first, second


def draw(rng, n, dtype):
    """Numbers of one sign a place, so that Adam never divides a rounding error by another."""
    return (rng.uniform(0.5, 1.5, n) * np.where(np.arange(n) % 2, 1, -1)).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("decays", [True, False])
@pytest.mark.parametrize("solver", SOLVERS)
def test_steps_are_those_of_the_rule(solver, decays, dtype):
    lanes = vector_lanes(np.dtype(dtype))
    for length in LENGTHS:
        n = round_up(length, lanes) if solver == ADAM else length  # Adam takes whole vectors
        rng = np.random.default_rng(n)
        params = draw(rng, n, dtype)
        params, first, second = (Guarded(values, WRITTEN) for values in (params, 0 * params, 0 * params))
        state = tuple(buffer.values.astype(float) for buffer in (params, first, second))
        for step in range(1, STEPS + 1):
            gradient = draw(rng, n, dtype) * dtype(BATCH)
            settings, scale = hyper_of(solver, step, dtype)
            scaled, before = (scale * gradient).astype(dtype), params.values.astype(float)
            buffers = (buffer.values for buffer in (first, second))
            squares = hyper.update(solver, params.values, scaled, *buffers, settings[0 if decays else 1])
            np.testing.assert_allclose(squares, (before**2).sum(), rtol=(n + 1) * float(np.finfo(dtype).eps))
            whole = gradient.astype(float) / BATCH + (ALPHA / BATCH * state[0] if decays else 0)
            state = reference_step(solver, state, whole, step)
        # A step rounds each number some ten times; rates and decays below 1 let errors add up, not multiply.
        tolerance = 10 * STEPS * float(np.finfo(dtype).eps)
        used = {SGD: 1, MOMENTUM: 2, NESTEROV: 2, ADAM: 3}[solver]
        for buffer, expected in zip((params, first, second)[:used], as_kept(solver, state), strict=False):
            np.testing.assert_allclose(buffer.values, expected, rtol=tolerance, atol=tolerance)
            buffer.assert_guards_untouched()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("solver", [MOMENTUM, NESTEROV, ADAM])
def test_steps_by_rows_have_the_outer_product_as_their_gradient(solver, dtype):
    for inputs, vectors in [(1, 1), (3, 2), (10, 13)]:
        ld = vectors * vector_lanes(np.dtype(dtype))
        rng, shape = np.random.default_rng(inputs), (inputs, ld)
        start = draw(rng, inputs * ld, dtype)
        params, first, second = (Guarded(values, WRITTEN) for values in (start, 0 * start, 0 * start))
        state = tuple(buffer.values.astype(float).reshape(shape) for buffer in (params, first, second))
        for step in range(1, STEPS + 1):
            x, delta = Guarded(draw(rng, inputs, dtype), READ), Guarded(draw(rng, ld, dtype), READ)
            before, settings = params.values.astype(float), hyper_of(solver, step, dtype)[0][0]
            buffers = (buffer.values for buffer in (params, first, second, x, delta))
            squares = hyper.update_by_rows(solver, *buffers, settings)
            np.testing.assert_allclose(
                squares, (before**2).sum(), rtol=(before.size + 1) * float(np.finfo(dtype).eps)
            )
            outer = np.outer(x.values.astype(float), delta.values) + ALPHA / BATCH * state[0]
            state = reference_step(solver, state, outer, step)
        tolerance = 10 * STEPS * float(np.finfo(dtype).eps)
        used = (params, first, second)[: 3 if solver == ADAM else 2]
        for buffer, expected in zip(used, as_kept(solver, state), strict=False):
            np.testing.assert_allclose(buffer.values, expected.ravel(), rtol=tolerance, atol=tolerance)
            buffer.assert_guards_untouched()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_padding_stays_zero(solver, dtype):
    params, first, second = (np.zeros(16, dtype) for _ in range(3))
    for step in range(1, 4):
        settings, _ = hyper_of(solver, step, dtype)
        hyper.update(solver, params, np.zeros(16, dtype), first, second, settings[0])
    for values in (params, first, second):
        assert not values.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_only_adds_the_penalty_and_leaves_the_parameters(dtype):
    rng = np.random.default_rng(0)
    params, gradient = draw(rng, 33, dtype), draw(rng, 33, dtype)
    before, expected = params.copy(), gradient + ALPHA / BATCH * params.astype(float)
    settings, _ = hyper_of(SGD, 1, dtype)
    squares = hyper.update(GRADIENT_ONLY, params, gradient, params[:0], params[:0], settings[0])
    np.testing.assert_array_equal(params, before)
    np.testing.assert_allclose(gradient, expected, rtol=4 * float(np.finfo(dtype).eps))
    np.testing.assert_allclose(
        squares, (before.astype(float) ** 2).sum(), rtol=33 * float(np.finfo(dtype).eps)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_adam_first_step_has_size_lr(scale, dtype):
    # m / sqrt(v) = g / |g|, whatever the size of g; epsilon is small beside sqrt(v).
    gradient = (scale * draw(np.random.default_rng(1), 64, dtype)).astype(dtype)
    params, (settings, scale_of_rows) = np.zeros(64, dtype), hyper_of(ADAM, 1, dtype)
    scaled = (scale_of_rows * gradient).astype(dtype)
    hyper.update(ADAM, params, scaled, np.zeros(64, dtype), np.zeros(64, dtype), settings[1])
    # epsilon / sqrt(v) with v = (1 - beta_2) g^2, and 10 roundings.
    tolerance = 1e-8 / (np.sqrt(1e-3) * 0.5 * scale / BATCH) + 10 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(params, -LEARNING_RATE * np.sign(gradient), rtol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
# The second has more chunks than a thread's window takes, rows with a vector of padding, and rows of padding
# that no gradient is written for.
# Batches of 5 rows have gradients and steps in one.
@pytest.mark.parametrize(
    ("sizes", "batch_size"),
    [((3, 10, 2), 20), ((297, 128, 40, 2), 20), ((3, 10, 2), 5), ((30, 50, 17, 2), 5)],
)
def test_moments_and_padding_of_a_trained_network_stay_in_the_layout(sizes, batch_size, dtype):
    network = Network.initialize(Architecture(sizes), seed=0, dtype=dtype)
    trainer = Trainer(network, Adam(), batch_size=batch_size, alpha=0.1, random_state=0)
    rng = np.random.default_rng(2)
    trainer.run(rng.normal(size=(65, sizes[0])), rng.normal(size=(65, 2)), epochs=3)
    inside = Network.from_arrays(network.architecture, network.weights, network.biases)
    np.testing.assert_array_equal(network.parameters, inside.parameters)
    owned = np.zeros(len(network.parameters), bool)
    marked = Network(network.architecture, dtype=dtype)
    for view in (*marked.weights, *marked.biases):
        view[...] = 1
    owned[marked.parameters == 1] = True
    assert owned.sum() == network.architecture.n_parameters
    for moment in (trainer.state.first, trainer.state.second):
        assert not moment[~owned].any()
        assert moment[owned].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_adam_by_few_rows_has_the_sum_of_outer_products_as_its_gradient(dtype):
    lanes = vector_lanes(np.dtype(dtype))
    height = PANEL_VECTORS * lanes
    for inputs, vectors in [(4, 1), (8, 2), (12, 5), (28, 2)]:
        for n_rows in (1, 3, lanes, height - 1, height):
            ld = vectors * lanes
            rng, shape = np.random.default_rng(inputs), (inputs, ld)
            start = draw(rng, inputs * ld, dtype)
            buffers = [Guarded(values, WRITTEN) for values in (start, 0 * start, 0 * start)]
            state = tuple(buffer.values.astype(float).reshape(shape) for buffer in buffers)
            for step in range(1, STEPS + 1):
                # Of one sign a place, so that Adam never divides a rounding error by another.
                x, delta = np.full((inputs, height), np.nan, dtype), np.full((ld, height), np.nan, dtype)
                x[:, :n_rows] = rng.uniform(0.5, 1.5, (inputs, n_rows))
                delta[:, :n_rows] = (
                    rng.uniform(0.5, 1.5, (ld, n_rows)) * np.where(np.arange(ld) % 2, 1, -1)[:, None]
                )
                strips = delta.reshape(vectors, lanes, height).transpose(0, 2, 1)
                read = [Guarded(values.ravel(), READ) for values in (x, strips)]
                before, settings = buffers[0].values.astype(float), hyper_of(ADAM, step, dtype)[0][0]
                room = Guarded(np.zeros(2 * hyper.TALL * lanes, dtype), WRITTEN)
                flat, arrays = (tuple(buffer.values for buffer in group) for group in (buffers, read))
                squares = hyper.adam_by_few_rows(flat, *arrays, (ld, ld, n_rows), room.values, settings)
                room.assert_guards_untouched()
                np.testing.assert_allclose(
                    squares, (before**2).sum(), rtol=(before.size + 1) * float(np.finfo(dtype).eps)
                )
                unit = np.sqrt(1 - BETAS[1])
                gradient = x[:, :n_rows].astype(float) @ delta[:, :n_rows].T.astype(float) / unit
                state = reference_step(ADAM, state, gradient + ALPHA / BATCH * state[0], step)
                for buffer in read:
                    buffer.assert_untouched()
            tolerance = (n_rows + 10) * STEPS * float(np.finfo(dtype).eps)
            for buffer, expected in zip(buffers, as_kept(ADAM, state), strict=True):
                np.testing.assert_allclose(buffer.values, expected.ravel(), rtol=tolerance, atol=tolerance)
                buffer.assert_guards_untouched()
