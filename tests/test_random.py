"""kernels/random.py against NumPy's RandomState and scikit-learn's shuffle."""

import numpy as np
import pytest
import sklearn.utils

from fastnn.kernels.random import random_interval, refill, shuffle, skip_shuffle


def key_of(state):
    _, words, position, *_ = state.get_state()
    return np.append(words, position).astype(np.uint32)


def test_refill_gives_the_next_624_words():
    state = np.random.RandomState(3)
    key = key_of(state)
    for _ in range(3):
        state.randint(0, 2**32, size=624, dtype=np.uint32)
        refill(key)
        np.testing.assert_array_equal(key[:624], key_of(state)[:624])


@pytest.mark.parametrize("n", [0, 1, 2, 3, 255, 256, 257, 65535, 65536, 65537, 100_000])
def test_successive_shuffles_are_those_of_scikit_learn(n):
    state = np.random.RandomState(5)
    key, expected, indices = key_of(state), np.arange(n) * 3 + 1, np.arange(n) * 3 + 1
    for _ in range(4):
        expected = sklearn.utils.shuffle(expected, random_state=state)
        shuffle(indices, key)
        np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(key, key_of(state))


@pytest.mark.parametrize("n", [1, 2, 16, 17, 33, 150, 1797, 65_537])
def test_a_shuffle_that_is_skipped_leaves_the_same_state(n):
    random = np.random.RandomState(n)
    random.randint(0, 2**31, 300)  # somewhere in the middle of the words
    key = key_of(random)
    for _ in range(3):
        skip_shuffle(n, key)
        random.shuffle(np.arange(n))
        np.testing.assert_array_equal(key, key_of(random))


def test_shuffle_goes_on_from_a_state_in_the_middle_of_its_words():
    state = np.random.RandomState(7)
    state.uniform(-1, 1, size=101)
    key, indices = key_of(state), np.arange(1000)
    shuffle(indices, key)
    np.testing.assert_array_equal(indices, state.permutation(1000))


@pytest.mark.parametrize("maximum", [0, 1, 2, 254, 255, 256, 2**16, 2**32 - 1])
def test_random_interval_draws_as_randomstate_does(maximum):
    state = np.random.RandomState(11)
    key = key_of(state)
    # The legacy 64-bit integers come from the same masked draws of 32-bit words.
    expected = state.randint(0, maximum + 1, size=2000, dtype=np.uint64)
    drawn = [random_interval(key, maximum) for _ in range(2000)]
    np.testing.assert_array_equal(drawn, expected)
    np.testing.assert_array_equal(key, key_of(state))
