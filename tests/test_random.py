"""kernels/random.py against NumPy's RandomState and scikit-learn's shuffle."""

import numpy as np
import pytest
import sklearn.utils

from fastnn.kernels.random import WORDS, new_key, refill, shuffle, skip_shuffle


def key_of(state):
    key = new_key()
    _, key[:WORDS], key[WORDS], *_ = state.get_state()
    return key


def assert_same_state(key, state):
    np.testing.assert_array_equal(key[: WORDS + 1], key_of(state)[: WORDS + 1])


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
    assert_same_state(key, state)


@pytest.mark.parametrize("n", [1, 2, 16, 17, 33, 150, 1797, 65_537])
def test_a_shuffle_that_is_skipped_leaves_the_same_state(n):
    random = np.random.RandomState(n)
    random.randint(0, 2**31, 300)  # somewhere in the middle of the words
    key = key_of(random)
    for _ in range(3):
        skip_shuffle(n, key)
        random.shuffle(np.arange(n))
        assert_same_state(key, random)


def test_shuffle_goes_on_from_a_state_in_the_middle_of_its_words():
    state = np.random.RandomState(7)
    state.uniform(-1, 1, size=101)
    key, indices = key_of(state), np.arange(1000)
    shuffle(indices, key)
    np.testing.assert_array_equal(indices, state.permutation(1000))
