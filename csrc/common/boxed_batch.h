// Rows that hold one value inside of some boxes and another outside.
#pragma once

#include <cstdint>

namespace rambit {

struct Box {  // half-open: [z0, z1) x [y0, y1) x [x0, x1)
  int32_t z0, z1, y0, y1, x0, x1;
};
constexpr int64_t kBoxColumns = 6;
static_assert(sizeof(Box) == kBoxColumns * sizeof(int32_t), "a box is a plain run of int32");

struct BoxedBatchArgs {
  void* out;                     // (n, C, Z, Y, X)
  const void* inside;            // (C, Z, Y, X): the values in a row's boxes
  const void* outside;           // (C, Z, Y, X): those everywhere else
  const Box* boxes;
  const int64_t* offsets;        // (n + 1,): row i owns boxes offsets[i] … offsets[i + 1] - 1
  const Box* stale_boxes;        // what rows 0 … stale - 1 of out hold now, by the same rule; the rest of them is
  const int64_t* stale_offsets;  // `outside` already. A backend may use it to write less.
  int64_t n, stale, C, Z, Y, X, count, stale_count;
  int64_t out_stride[5], inside_stride[4], outside_stride[4];
  int bytes;                     // of an element: 1, 4 or 8
};

}  // namespace rambit
