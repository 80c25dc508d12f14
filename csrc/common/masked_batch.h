// Rows that hold their series where a mask keeps, and counterfactual values elsewhere.
#pragma once

#include "dtype.h"
#include "portable.h"
#include "rows.h"

namespace rambit {

// What stands where a cell is not kept.
enum class Fill : int32_t { kFixed = 0, kCarryForward = 1, kInterpolate = 2, kWindows = 3, kLast = kWindows };

struct MaskedBatchArgs {
  void* out;                // (n, D, w)
  const void* x;            // (B, D, T)
  const void* draws;        // (K, B, D, T)
  const void* windows;      // (K, B, D, T, P): values of a replaced window by its start and the steps since, or null
  const uint8_t* masks;     // (M, D, T)
  const uint8_t* observed;  // (B, D, T) or null
  const Row* rows;          // (n,)
  int64_t n, w, B, D, T, K, M, P;
  int64_t out_stride[3], x_stride[3], draws_stride[4], windows_stride[5], masks_stride[3], observed_stride[3];
  Dtype dtype;
  Fill fill;
};

// ---- fixed values -------------------------------------------------------------------------------------------------

// In which order the elements of a row are written: its two dimensions, the one that is closer in out's memory last.
// Where every operand is as evenly spaced across lines as within them, the row is one line.
struct Axes {
  int outer, inner;  // 1: features, 2: time, as in out, x, masks and observed
  int64_t lines, length;
};

inline Axes axes_of(const MaskedBatchArgs& a) {
  const bool features_last = a.out_stride[1] == 1 && a.D > 1;
  Axes axes = features_last ? Axes{2, 1, a.w, a.D} : Axes{1, 2, a.D, a.w};
  const auto even = [&](const int64_t* stride) { return stride[axes.outer] == axes.length * stride[axes.inner]; };
  if (even(a.out_stride) && even(a.x_stride) && even(a.draws_stride + 1) && even(a.masks_stride) &&
      (a.observed == nullptr || even(a.observed_stride))) {
    axes.length *= axes.lines;
    axes.lines = 1;
  }
  return axes;
}

// Where row i is written and what it is made of, from its first step on. Values are moved as raw bits.
template <typename Bits>
struct RowOperands {
  Bits* out;
  const Bits *x, *draws;
  const uint8_t *mask, *observed;  // observed: or null

  RAMBIT_HD RowOperands(const MaskedBatchArgs& a, int64_t i) {
    const Row& r = a.rows[i];
    out = static_cast<Bits*>(a.out) + i * a.out_stride[0];
    x = static_cast<const Bits*>(a.x) + r.series * a.x_stride[0] + r.start * a.x_stride[2];
    draws = static_cast<const Bits*>(a.draws) + r.draw * a.draws_stride[0] + r.series * a.draws_stride[1] +
            r.start * a.draws_stride[3];
    mask = a.masks + r.mask * a.masks_stride[0] + r.start * a.masks_stride[2];
    observed = a.observed == nullptr
                   ? nullptr
                   : a.observed + r.series * a.observed_stride[0] + r.start * a.observed_stride[2];
  }
};

// ---- values that depend on what is kept ---------------------------------------------------------------------------

// One feature of one row: which of its steps are kept once the row's own flip is applied.
struct KeptLine {
  const uint8_t* mask;      // first step of this feature in the base mask
  int64_t mask_step;
  const uint8_t* observed;  // or null
  int64_t observed_step;
  int64_t flipped;          // the flipped step of this feature, or -1

  RAMBIT_HD bool operator()(int64_t t) const {
    if (observed != nullptr && observed[t * observed_step] == 0) return true;  // a missing value is never replaced
    return (mask[t * mask_step] != 0) != (t == flipped);
  }
};

// Where the window of replaced steps that contains `t` begins.
RAMBIT_HD int64_t window_start(const KeptLine& kept, int64_t t) {
  while (t > 0 && !kept(t - 1)) --t;
  return t;
}

// A conditional counterfactual: depends on the nearest kept steps of the same feature. `x` is that feature's line;
// missing values (not observed) count as kept but carry nothing, so the search passes over them.
template <typename T>
RAMBIT_HD T conditional_value(Fill fill, const KeptLine& kept, const T* x, int64_t x_step, int64_t length, int64_t t) {
  auto usable = [&](int64_t s) {
    return kept(s) && (kept.observed == nullptr || kept.observed[s * kept.observed_step] != 0);
  };
  int64_t before = t - 1, after = t + 1;
  while (before >= 0 && !usable(before)) --before;
  const bool has_before = before >= 0;
  if (has_before && fill == Fill::kCarryForward) return x[before * x_step];
  while (after < length && !usable(after)) ++after;
  const bool has_after = after < length;
  if (!has_before) return has_after ? x[after * x_step] : T(0);
  if (!has_after) return x[before * x_step];
  const T left = x[before * x_step], right = x[after * x_step];
  return left + (right - left) * (static_cast<T>(t - before) / static_cast<T>(after - before));
}

// One step of one feature of a row whose counterfactuals depend on what it keeps.
template <typename T>
RAMBIT_HD T conditional_element(const MaskedBatchArgs& a, const Row& r, int64_t d, int64_t t) {
  const KeptLine kept{
      a.masks + r.mask * a.masks_stride[0] + d * a.masks_stride[1], a.masks_stride[2],
      a.observed == nullptr ? nullptr : a.observed + r.series * a.observed_stride[0] + d * a.observed_stride[1],
      a.observed_stride[2], r.cell >= 0 && r.cell / a.T == d ? r.cell % a.T : -1};
  const T* x = static_cast<const T*>(a.x) + r.series * a.x_stride[0] + d * a.x_stride[1];
  if (kept(t)) return x[t * a.x_stride[2]];
  if (a.fill == Fill::kWindows) {  // beyond the last predicted step, that step's values go on
    const int64_t start = window_start(kept, t), since = t - start < a.P ? t - start : a.P - 1;
    return static_cast<const T*>(a.windows)[r.draw * a.windows_stride[0] + r.series * a.windows_stride[1] +
                                            d * a.windows_stride[2] + start * a.windows_stride[3] +
                                            since * a.windows_stride[4]];
  }
  T value = conditional_value(a.fill, kept, x, a.x_stride[2], a.T, t);
  if (a.draws != nullptr)  // noise around the conditional value
    value += static_cast<const T*>(a.draws)[r.draw * a.draws_stride[0] + r.series * a.draws_stride[1] +
                                            d * a.draws_stride[2] + t * a.draws_stride[3]];
  return value;
}

}  // namespace rambit
