"""The leading eigenvectors of a symmetric matrix that is known only by its products.

From a random start each new vector is the matrix times the last one, made orthogonal to all before
it; in their span the matrix is the tridiagonal one of the coefficients, whose eigenvectors are
those that are wanted once the residual is small.

    A Q = Q T + beta q e^T        Q [n, m], T [m, m] tridiagonal
    residual of an eigenpair (t, y) of T: beta |y_m|

Reference: C. Lanczos, 1950, doi:10.6028/jres.045.026, with full reorthogonalisation.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def leading(product: Callable[[np.ndarray], np.ndarray], size: int, number: int, *, seed: int = 0,
            tolerance: float = 1e-10) -> tuple[np.ndarray, np.ndarray]:
  """The largest eigenvalues and their eigenvectors.

  Args:
    product: [n] float64 -> the matrix times it.
    size: n.
    number: of eigenvectors, at most n.
    tolerance: largest residual, as a share of the largest eigenvalue.
  Returns:
    [number] eigenvalues, the largest first; [n, number] orthonormal eigenvectors.
  """
  rng = np.random.default_rng(seed)
  basis = [_unit(rng.normal(size=size))]
  diagonal, off = [], []
  while True:
    grown = product(basis[-1])
    diagonal.append(float(basis[-1] @ grown))
    rest = _without(grown, basis)
    beta = float(np.linalg.norm(rest))
    values, vectors = np.linalg.eigh(
        np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))
    values, vectors = values[::-1], vectors[:, ::-1]
    residuals = beta * np.abs(vectors[-1, :number])
    scale = max(abs(values[0]), np.finfo(float).tiny)
    full = len(basis) == size
    if full or (len(basis) >= number and np.all(residuals <= tolerance * scale)):
      return values[:number], np.stack(basis, 1) @ vectors[:, :number]
    if beta <= 1e-14 * scale:
      # The span is closed under the matrix: what is left of the space begins anew.
      rest, off = _without(rng.normal(size=size), basis), [*off, 0.0]
    else:
      off = [*off, beta]
    basis.append(_unit(rest))


def _without(vector: np.ndarray, basis: list[np.ndarray]) -> np.ndarray:
  """The part of a vector that is orthogonal to all of the basis; twice, against rounding."""
  q = np.stack(basis, 1)
  for _ in range(2):
    vector = vector - q @ (q.T @ vector)
  return vector


def _unit(vector: np.ndarray) -> np.ndarray:
  return vector / np.linalg.norm(vector)
