// The row descriptor: one masked input that the model must evaluate. The plan writes it, the ops read it.
#pragma once

#include <cstdint>

namespace rambit {

// Columns of the (N, kRowColumns) int32 table. rambit/game/rows.py names the same columns; a test compares the two.
struct Row {
  int32_t series;   // which of the B inputs
  int32_t draw;     // which set of counterfactual values
  int32_t mask;     // which base mask
  int32_t cell;     // the flipped cell d * T + t, or -1
  int32_t start;    // first time step that is written
  int32_t horizon;  // first time at which the output is compared
  int32_t norm;     // how many horizons the mask has at this cell: the divisor of the mean
  int32_t slot;     // where the contribution goes
  int32_t state;    // which state the model starts from
};
constexpr int64_t kRowColumns = 9;
static_assert(sizeof(Row) == kRowColumns * sizeof(int32_t), "a row is a plain run of int32");

}  // namespace rambit
