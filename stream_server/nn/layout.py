"""How numbers lie in memory, and how many rows are multiplied: the same sums, an order that suits the processor.

Never fewer than FEWEST_ROWS are multiplied where a row's numbers must not depend on its company: a product with one
row takes another way through the BLAS and rounds otherwise, whereas from two on each row's bits are the same in any
company (MKL on AVX-512 and weights laid out as here: measured, not promised by it).
"""

from collections.abc import Callable

from torch import Tensor, nn

FEWEST_ROWS = 2


def lay_out_for_rows(module: nn.Module) -> None:
    """Store every Linear's [out, in] weight column by column, so that a product with few rows reads it in order.

    Measured on Zen 3 with one row of 256 against 1,408 columns: 14 µs where the usual layout takes 32.
    """
    for linear in module.modules():
        if isinstance(linear, nn.Linear):
            linear.weight.data = linear.weight.data.t().contiguous().t()


def in_company(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """function(x) for x [N, C], a lonely row being given a twin."""
    return function(x) if len(x) >= FEWEST_ROWS else function(x.expand(FEWEST_ROWS, -1))[: len(x)]
