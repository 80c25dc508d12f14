// Windows written into the rows that they belong to.
#pragma once

#include "portable.h"

namespace rambit {

struct PutWindowsArgs {
  void* out;             // (n, T, K)
  const void* window;    // (n, v, K)
  const int64_t* start;  // (n,) the step of out at which each window begins
  int64_t n, T, v, K;
  int64_t out_stride[3], window_stride[3];
  int bytes;             // of an element
};

// Whether the window of row i lies within the row.
RAMBIT_HD bool fits(const PutWindowsArgs& a, int64_t i) { return a.start[i] >= 0 && a.start[i] <= a.T - a.v; }

}  // namespace rambit
