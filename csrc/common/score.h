// What each row says of its flipped cell: i1 - i2 over its horizons.
#pragma once

#include "distance.h"
#include "rows.h"

namespace rambit {

enum class Reduce : int32_t { kMean = 0, kMax = 1, kLast = kMax };

struct ScoreArgs {
  double* contributions;  // by slot
  const void* outputs;    // (n, C, K): the outputs of a row at the last K steps before `stop`
  const void* reference;  // (B, C, T): those of the original series
  const double* base;     // (R, T): distances of the base rows, R = slots / cells per base row
  const uint8_t* masks;   // (M, D * T) contiguous
  const Row* rows;        // (n,)
  const int64_t* target;  // (B,)
  int64_t n, C, K, T, width, slots_per_base, cells, series, masks_count, slots;
  int64_t outputs_stride[3], reference_stride[3];
  Dtype dtype;
  Metric metric;
  Reduce reduce;
};

// i1 - i2 at one horizon, from the distances of the flipped row and of its base row. i1 is that of the row in which the
// cell is replaced, whichever of the two that is.
RAMBIT_HD double difference_of(bool kept_in_base, double flipped, double base) {
  return kept_in_base ? flipped - base : base - flipped;
}

// The contribution of one row: mean over horizons, or the difference of largest magnitude, added to what earlier
// horizons of the same row left there.
template <typename T>
RAMBIT_HD void score_row(const ScoreArgs& a, int64_t i) {
  const Row& row = a.rows[i];
  const T* outputs = static_cast<const T*>(a.outputs) + i * a.outputs_stride[0];
  const T* reference = static_cast<const T*>(a.reference) + row.series * a.reference_stride[0];
  const double* base = a.base + (row.slot / a.slots_per_base) * a.T;
  const int64_t target = a.target[row.series];
  const int64_t stop = row.start + a.width, first = stop - a.K;
  const bool kept_in_base = a.masks[row.mask * a.cells + row.cell] != 0;
  double value = a.contributions[row.slot];
  for (int64_t h = row.horizon; h < stop; ++h) {
    const double flipped =
        distance(a.metric, reference + h * a.reference_stride[2], a.reference_stride[1],
                 outputs + (h - first) * a.outputs_stride[2], a.outputs_stride[1], a.C, target);
    const double difference = difference_of(kept_in_base, flipped, base[h]);
    if (a.reduce == Reduce::kMean) {
      value += difference / row.norm;
    } else if (fabs(difference) > fabs(value) || difference != difference) {
      value = difference;
    }
  }
  a.contributions[row.slot] = value;
}

}  // namespace rambit
