"""The counts behind every share of the limit, against counts by hand."""

import pytest

from benchmarks import problems, work

SIZES = (3, 4, 2)
CEILING = {
    "sgemm_1": 100.0,
    "sgemm_all": 180.0,
    "dgemm_1": 50.0,
    "dgemm_all": 90.0,
    "l1": 1000.0,
    "memory": 10.0,
    "last_cache_bytes": 1e6,
}


def test_parameters_of_3_4_2_are_26():
    # 3*4 weights and 4 biases, then 4*2 weights and 2 biases.
    assert work.n_parameters(SIZES) == 12 + 4 + 8 + 2


def test_forward_of_one_row_counted_by_hand():
    # First layer: 12 multiplications and 12 additions, with the biases' 4 among them 4 more; second: 8, 8, 2.
    assert work.forward_flops(SIZES) == (12 + 12 + 4) + (8 + 8 + 2)


def test_backward_of_one_row_counted_by_hand():
    # Weight gradients 12 + 8 products and as many sums, bias gradients 4 + 2, delta of the hidden layer 8 +
    # 8.
    assert work.backward_flops(SIZES) == 2 * (12 + 8) + (4 + 2) + (8 + 8)


def test_backward_does_not_count_a_gradient_of_the_data():
    assert work.backward_flops((5, 1)) == 2 * 5 + 1


@pytest.mark.parametrize(("solver", "flops"), [("sgd", 2), ("momentum", 4), ("nesterov", 6), ("adam", 12)])
def test_a_step_adds_the_update_of_every_parameter(solver, flops):
    rows = 10 * (work.forward_flops(SIZES) + work.backward_flops(SIZES))
    assert work.training_step(SIZES, 10, solver, 4).flops == rows + 26 * flops


def test_bytes_of_an_adam_step_counted_by_hand():
    # Weights read twice, gradient written; then parameter, gradient, m, v in, parameter, m, v out; 10 rows of
    # 3 + 2.
    assert work.training_step(SIZES, 10, "adam", 4).l1_bytes == 4 * (26 * (2 + 1 + 4 + 3) + 10 * 5)


def test_bytes_of_one_sample_counted_by_hand():
    # Plain SGD: weights in forwards, in and out backwards. One row of 3 inputs and 2 outputs.
    assert work.training_step(SIZES, 1, "sgd", 8).l1_bytes == 8 * (26 * 3 + 5)


def test_an_epoch_ends_with_a_smaller_batch():
    whole, rest = work.training_step(SIZES, 4, "sgd", 4), work.training_step(SIZES, 2, "sgd", 4)
    assert work.epoch(SIZES, 10, 4, "sgd", 4) == whole + whole + rest
    assert work.steps_per_epoch(10, 4) == 3


def test_an_epoch_of_whole_batches_has_no_rest():
    assert work.epoch(SIZES, 8, 4, "sgd", 4) == work.training_step(SIZES, 4, "sgd", 4) * 2


def test_prediction_counts_forward_only():
    cost = work.prediction(SIZES, 7, 4)
    assert cost.flops == 7 * 46
    assert cost.l1_bytes == 4 * (26 + 7 * 5)


def test_arithmetic_is_the_limit_of_dense_work():
    limit = work.limit(work.Cost(1000, 10, 10), CEILING, dtype="float32", threads=1, footprint=0)
    assert (limit.name, limit.seconds) == ("arithmetic", 10.0)


def test_double_precision_is_measured_against_dgemm():
    limit = work.limit(work.Cost(1000, 10, 10), CEILING, dtype="float64", threads=1, footprint=0)
    assert limit.seconds == 20.0


def test_several_threads_are_measured_against_the_peak_of_all_cores():
    limit = work.limit(work.Cost(1800, 10, 10), CEILING, dtype="float32", threads=2, footprint=0)
    assert limit.seconds == 10.0


def test_traffic_is_the_limit_of_thin_work():
    limit = work.limit(work.Cost(10, 5000, 10), CEILING, dtype="float32", threads=1, footprint=0)
    assert (limit.name, limit.seconds) == ("L1 traffic", 5.0)


def test_main_memory_is_a_limit_only_beyond_the_last_cache():
    cost = work.Cost(10, 10, 500)
    inside = work.limit(cost, CEILING, dtype="float32", threads=1, footprint=1e6)
    outside = work.limit(cost, CEILING, dtype="float32", threads=1, footprint=2e6)
    assert inside.name == "arithmetic"
    assert (outside.name, outside.seconds) == ("memory traffic", 50.0)


def test_digits_epoch_counted_by_hand():
    # 64-100-10 has 7510 parameters; a row takes 3 * 2 * 7400 less 2 * 6400 for the data's gradient, biases 2
    # * 110.
    per_row = 3 * 2 * 7400 - 2 * 6400 + 2 * 110
    problem = problems.get("digits-200-adam")
    assert work.n_parameters(problem.sizes) == 7510
    assert problem.steps == 9
    assert problem.cost.flops == 1797 * per_row + 9 * 12 * 7510
