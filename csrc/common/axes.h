// In which order the elements of one row of masked_batch are written.
#pragma once

#include "args.h"

namespace rambit {

// The two dimensions of a row, the one that is closer in out's memory last. Where every operand is as evenly spaced
// across lines as within them, the row is one line.
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

}  // namespace rambit
