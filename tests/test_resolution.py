"""kernels/resolution.py: what Numba finds, found once."""

import operator

import pytest
from numba import types
from numba.core.compiler import Flags
from numba.core.errors import TypingError
from numba.core.registry import cpu_target

from fastnn.kernels import resolution
from fastnn.kernels.jit import kernel
from fastnn.kernels.resolution import RememberingContext

VECTOR = types.Array(types.float32, 1, "C")
OPERATIONS = [
    (operator.add, (types.int64, types.float32)),
    (operator.lt, (types.int64, types.int64)),
    (operator.getitem, (VECTOR, types.int64)),
    (operator.getitem, (VECTOR, types.slice2_type)),
]


class Counting:
    """A typing context that counts what it is asked for."""

    def __init__(self):
        self.context, self.asked = cpu_target.typing_context, 0

    def __getattr__(self, name):
        return getattr(self.context, name)

    def resolve_function_type(self, function, args, kws):
        self.asked += 1
        return self.context.resolve_function_type(function, args, kws)

    def resolve_setitem(self, target, index, value):
        self.asked += 1
        return self.context.resolve_setitem(target, index, value)


@pytest.fixture
def context(monkeypatch):
    monkeypatch.setattr(resolution, "found_with", {})
    cpu_target.typing_context.refresh()
    return Counting()


@pytest.mark.parametrize(("function", "args"), OPERATIONS)
def test_every_compilation_with_the_same_flags_finds_what_the_first_one_has_found(function, args, context):
    expected = cpu_target.typing_context.resolve_function_type(function, args, {})
    for _ in range(3):
        assert RememberingContext(context, Flags()).resolve_function_type(function, args, {}) == expected
    assert context.asked == 1


def test_what_an_assignment_to_an_item_does_is_found_once(context):
    item = VECTOR, types.int64, types.float32
    for _ in range(3):
        found = RememberingContext(context, Flags()).resolve_setitem(*item)
        assert found == cpu_target.typing_context.resolve_setitem(*item)
    assert context.asked == 1


def test_types_names_and_flags_tell_things_apart(context):
    exact = Flags()
    exact.fastmath = {"contract"}
    for flags in (Flags(), exact):
        remembering = RememberingContext(context, flags)
        for right in (types.int64, types.float32, types.literal(3)):
            remembering.resolve_function_type(operator.add, (types.int64, right), {})
        sum_type = context.resolve_value_type(sum)
        for names in ({}, {"start": types.int64}):
            remembering.resolve_function_type(sum_type, (types.UniTuple(types.int64, 2),), names)
    assert context.asked == 10


def test_flags_that_change_later_are_others(context):
    flags = Flags()
    first = RememberingContext(context, flags)
    flags.fastmath = {"contract"}
    assert RememberingContext(context, flags).found is not first.found
    assert RememberingContext(context, Flags()).found is first.found


def test_an_error_is_not_remembered(context):
    for asked in (1, 2):
        with pytest.raises(TypingError):
            RememberingContext(context, Flags()).resolve_function_type(
                operator.add, (VECTOR, types.unicode_type), {}
            )
        assert context.asked == asked


def test_kernels_are_left_to_numba(context):
    @kernel
    def same(value):
        return value

    for asked in (1, 2):
        remembering = RememberingContext(context, Flags())
        found = remembering.resolve_function_type(same._numba_type_, (types.float32,), {})
        assert found.return_type == types.float32
        assert context.asked == asked


def test_everything_else_is_asked_of_numba(context):
    remembering = RememberingContext(context, Flags())
    assert remembering.resolve_getattr(VECTOR, "size") == types.intp
