"""Coefficients of elementary.EXP_TERMS: the polynomial with the least maximal error, by Remez's exchange.

python benchmarks/micro/minimax.py
"""

import math
from decimal import Decimal, getcontext

getcontext().prec = 50
GRID = 2000


def solve(rows, right):
    """Solution of a system of linear equations, by Gauss's elimination with pivots."""
    rows = [[*row, value] for row, value in zip(rows, right, strict=True)]
    n = len(rows)
    for column in range(n):
        pivot = max(range(column, n), key=lambda row: abs(rows[row][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for row in rows[column + 1 :]:
            factor = row[column] / rows[column][column]
            row[:] = [value - factor * above for value, above in zip(row, rows[column], strict=True)]
    solution = [Decimal(0)] * n
    for row in reversed(range(n)):
        known = sum(rows[row][other] * solution[other] for other in range(row + 1, n))
        solution[row] = (rows[row][n] - known) / rows[row][row]
    return solution


def evaluate(terms, x):
    total = Decimal(0)
    for term in reversed(terms):
        total = total * x + term
    return total


def extremes(errors):
    """Index of the largest error of each run of one sign."""
    found = []
    for index, error in enumerate(errors):
        if found and (error > 0) == (errors[found[-1]] > 0):
            if abs(error) > abs(errors[found[-1]]):
                found[-1] = index
        else:
            found.append(index)
    return found


def minimax(function, weight, bound, degree, rounds=12):
    """(terms, error): the polynomial p on [-bound, bound] with the least max |weight (p - function)|."""
    grid = [bound * Decimal(-math.cos(math.pi * k / GRID)) for k in range(GRID + 1)]
    values, weights = [function(x) for x in grid], [weight(x) for x in grid]
    places = [round(GRID * k / (degree + 1)) for k in range(degree + 2)]
    for _ in range(rounds):
        # At degree + 2 places the weighted errors shall be equal, with alternating signs.
        rows = [
            [*(grid[place] ** power for power in range(degree + 1)), (-1) ** turn / weights[place]]
            for turn, place in enumerate(places)
        ]
        terms = solve(rows, [values[place] for place in places])[:-1]
        triples = zip(grid, values, weights, strict=True)
        errors = [(evaluate(terms, x) - value) * w for x, value, w in triples]
        places = extremes(errors)
        while len(places) > degree + 2:
            places.pop(0 if abs(errors[places[0]]) < abs(errors[places[-1]]) else -1)
        if len(places) < degree + 2:
            break
    return terms, max(abs(error) for error in errors)


def rest_of_exp(x):
    """(e^x - 1 - x) / x^2, by its series."""
    total, term = Decimal(0), Decimal(1) / 2
    for power in range(3, 60):
        total += term
        term *= x / power
    return total


if __name__ == "__main__":
    # A little more than ln 2 / 2: the rounding to the nearest integer is not exact at its edge.
    bound = Decimal(2).ln() / 2 * Decimal("1.0005")
    for degree in (4, 9):
        # |x| p is the error of e^x - 1 relative to x; at x = 0 the weight must not vanish.
        terms, error = minimax(rest_of_exp, lambda x: abs(x) + Decimal("1e-9"), bound, degree)
        print(f"degree {degree}, relative error {float(error):.1e}")
        for term in terms:
            print(f"    {float(term)!r},")
