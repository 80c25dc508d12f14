// What stands where a cell is not kept.
#pragma once

#include "rows.h"

namespace rambit {

enum class Fill : int32_t { kFixed = 0, kCarryForward = 1, kInterpolate = 2, kWindows = 3 };

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

}  // namespace rambit
