"""The exact minimum of least squares with an L1 and an L2 penalty, by the primal-dual active set.

Hintermueller, Ito, Kunisch: The primal-dual active set strategy as a semismooth Newton method, SIAM
Journal on Optimization 13 (2002). Once it is guessed which columns are active, that is not zero,
and of which sign, the minimum solves linear equations. What solves them gives the next guess, and a
guess that is confirmed was right. Coordinate descent takes thousands of rounds where columns
resemble each other, and a round takes longer the more columns there are.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from training.families.linear import CenteredRows

GUESSES = 20
"""How many are tried; one to three were enough for the houses, at every penalty and width tried."""

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class ActiveSetSolver:
    """Finds the w of the least |y - Xw|^2 / 2 + l1 |w|_1 + l2 |w|^2 / 2 for some rows."""

    def __init__(self, rows: CenteredRows) -> None:
        """Multiply the rows once for all penalties."""
        X = self._X = rows.X
        self.tall = X.shape[0] > X.shape[1]
        self.products: Floats = X.T @ X if self.tall else X @ X.T
        """X'X where there are more rows than columns, else XX', which is smaller."""
        self._target: Floats = X.T @ rows.y
        self._squares: Floats = np.einsum("ij,ij->j", X, X)

    def find(self, l1: float, l2: float) -> Floats | None:
        """Return the coefficients; None where no guess is confirmed, which is for others to solve.

        Args:
            l1: The weight of the absolute values, at least 0.
            l2: The weight of the squares, above 0.
        """
        step = 1 / (self._squares + l2)
        # The first guess is that of no L1 penalty: every column is active, and pulled to no side.
        active, signs = np.ones(len(step), bool), np.zeros(len(step))
        for _ in range(GUESSES):
            try:
                found = self._solve(active, np.where(active, self._target - l1 * signs, 0), l2)
            except LinAlgError:
                return None
            moved = found + step * (self._target - self._multiply(found) - l2 * found)
            guess = np.where(np.abs(moved) > step * l1, np.sign(moved), 0)
            guess[guess * signs < 0] = 0  # a sign that turns is zero first, or it may turn for ever
            if np.array_equal(guess != 0, active) and np.array_equal(guess, signs):
                return found
            active, signs = guess != 0, guess
        return None

    def _solve(self, active: Mask, target: Floats, l2: float) -> Floats:
        """Solve (X'X + l2) w = target in the active columns; the others are zero."""
        if self.tall:
            found = np.zeros(len(target))
            if active.any():
                within = np.ix_(active, active)
                found[active] = _solve_symmetric(self.products[within], l2, target[active])
            return found
        # By the matrix inversion lemma: w = (target - X' (XX' + l2)^-1 X target) / l2.
        inner = _solve_symmetric(self._products_of(active), l2, self._X @ target)
        return np.where(active, (target - self._X.T @ inner) / l2, 0)

    def _products_of(self, active: Mask) -> Floats:
        """Return XX' of the active columns; by what the others add to it where they are fewer."""
        if 2 * active.sum() > len(active):
            return self.products - _outer(self._X[:, ~active])
        return _outer(self._X[:, active])

    def _multiply(self, coefficients: Floats) -> Floats:
        """Return X'X times the coefficients."""
        if self.tall:
            return self.products @ coefficients
        return self._X.T @ (self._X @ coefficients)


def _solve_symmetric(products: Floats, l2: float, target: Floats) -> Floats:
    penalised = products + l2 * np.eye(len(products))
    solution: Floats = cho_solve(cho_factor(penalised), target)
    return solution


def _outer(X: Floats) -> Floats:
    return X @ X.T
