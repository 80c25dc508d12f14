// Contributions added to the running sums of scores and of their squares.
#pragma once

#include "portable.h"

namespace rambit {

struct AccumulateArgs {
  double* sum;                  // (B, cells)
  double* squares;              // (B, cells)
  const double* contributions;  // (M, S, B, slots)
  const int32_t* unit;          // (M,) ascending: masks of one unit are averaged before they are squared
  const double* weight;         // (M,) weight of a mask in its unit
  const double* unit_weight;    // (M,) weight of the unit in the sum, the same for all masks of a unit
  const double* count;          // (M,) how many equal draws of this unit there are, the same for all masks of a unit
  const int32_t* target_cell;   // (M,) the one cell that a mask scores, or null where slots are all cells
  int64_t M, S, B, slots, cells;
};

// One (series, slot) of the running sums: draws first, then the masks of a unit, then units in order.
RAMBIT_HD void accumulate_slot(const AccumulateArgs& a, int64_t b, int64_t k) {
  double unit_value = 0.0;
  for (int64_t m = 0; m < a.M; ++m) {
    double value = 0.0;
    for (int64_t s = 0; s < a.S; ++s) value += a.contributions[((m * a.S + s) * a.B + b) * a.slots + k];
    unit_value += a.weight[m] * (value / static_cast<double>(a.S));
    if (m + 1 < a.M && a.unit[m + 1] == a.unit[m]) continue;
    const int64_t cell = b * a.cells + (a.target_cell != nullptr ? a.target_cell[m] : k);
    a.sum[cell] += a.unit_weight[m] * unit_value;
    a.squares[cell] += a.count[m] * unit_value * unit_value;
    unit_value = 0.0;
  }
}

}  // namespace rambit
