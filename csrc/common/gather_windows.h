// Windows of rows that are their series but for a window of their own.
#pragma once

#include "portable.h"

namespace rambit {

struct GatherWindowsArgs {
  void* out;                    // (n, w, K)
  const void* places;           // (R, T, K) without gaps
  const void* window;           // (n, v, K): what row i holds from window_start[i] on instead of places, or null
  const int64_t* which;         // (n,) whose places a row has, one of the R
  const int64_t* start;         // (n,) the step at which a row of out begins, one of the T or beyond them
  const int64_t* window_start;  // (n,) or null
  uint64_t outside;             // the bits of what stands before the first step and after the last, in the low bytes
  int64_t n, w, K, R, T, v;
  int64_t out_stride[3], window_stride[3];
  int bytes;                    // of an element
};

// Starts further away than this are refused: sums of two cannot overflow.
constexpr int64_t kFarthestStart = int64_t{1} << 61;

RAMBIT_HD int64_t clamped(int64_t value, int64_t low, int64_t high) {
  return value < low ? low : value > high ? high : value;
}

// Which positions 0 … w-1 of row i lie within its series, and which of all within its own window; both half-open.
struct WindowRow {
  int64_t series_begin, series_end, window_begin, window_end;
  int64_t lag;  // position 0 of the window, among those of the row

  RAMBIT_HD WindowRow(const GatherWindowsArgs& a, int64_t i) {
    const int64_t start = a.start[i];
    series_begin = clamped(-start, 0, a.w);
    series_end = clamped(a.T - start, series_begin, a.w);
    lag = a.window_start == nullptr ? 0 : a.window_start[i] - start;
    window_begin = clamped(lag, 0, a.w);
    window_end = clamped(lag + a.v, window_begin, a.w);
  }
};

// Where the values of a position of row i begin in `places`; the position lies within the series.
RAMBIT_HD int64_t offset_in_places(const GatherWindowsArgs& a, int64_t i, int64_t position) {
  return (a.which[i] * a.T + a.start[i] + position) * a.K;
}

}  // namespace rambit
