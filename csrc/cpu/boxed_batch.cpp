#include <cstring>
#include <stdexcept>
#include <string>

#include "../backend.h"
#include "parallel.h"

namespace rambit::cpu {
namespace {

// Before any thread starts: an exception inside a parallel region would lose its words.
void check_boxes(const BoxedBatchArgs& a, const Box* boxes, const int64_t* offsets, int64_t rows, int64_t count) {
  for (int64_t i = 0; i < rows; ++i) {
    if (offsets[i] < 0 || offsets[i] > offsets[i + 1] || offsets[i + 1] > count)
      throw std::out_of_range("rambit: boxed_batch: the offsets of row " + std::to_string(i) + " point outside the boxes");
  }
  for (int64_t k = rows > 0 ? offsets[0] : 0; k < (rows > 0 ? offsets[rows] : 0); ++k) {
    const Box& b = boxes[k];
    if (b.z0 < 0 || b.z1 > a.Z || b.y0 < 0 || b.y1 > a.Y || b.x0 < 0 || b.x1 > a.X)
      throw std::out_of_range("rambit: boxed_batch: box " + std::to_string(k) + " leaves the grid");
  }
}

int64_t area(const Box& b) {
  return b.z1 > b.z0 && b.y1 > b.y0 && b.x1 > b.x0
             ? static_cast<int64_t>(b.z1 - b.z0) * (b.y1 - b.y0) * (b.x1 - b.x0)
             : 0;
}

// Copies a box of (C, Z, Y, X) values into the same place of one row.
template <typename Bits>
void copy_box(const BoxedBatchArgs& a, Bits* out, const void* values, const int64_t (&stride)[4], const Box& b) {
  if (area(b) == 0) return;
  const Bits* from = static_cast<const Bits*>(values);
  const int64_t width = b.x1 - b.x0;
  const bool runs = a.out_stride[4] == 1 && stride[3] == 1;
  for (int64_t c = 0; c < a.C; ++c) {
    for (int64_t z = b.z0; z < b.z1; ++z) {
      for (int64_t y = b.y0; y < b.y1; ++y) {
        Bits* to = out + c * a.out_stride[1] + z * a.out_stride[2] + y * a.out_stride[3] + b.x0 * a.out_stride[4];
        const Bits* source = from + c * stride[0] + z * stride[1] + y * stride[2] + b.x0 * stride[3];
        if (runs) {
          std::memcpy(to, source, width * sizeof(Bits));
        } else {
          for (int64_t x = 0; x < width; ++x) to[x * a.out_stride[4]] = source[x * stride[3]];
        }
      }
    }
  }
}

template <typename Bits>
void write_row(const BoxedBatchArgs& a, bool one_run, int64_t i) {
  Bits* out = static_cast<Bits*>(a.out) + i * a.out_stride[0];
  const int64_t positions = a.Z * a.Y * a.X;
  int64_t stale = positions;
  if (i < a.stale) {
    stale = 0;
    for (int64_t k = a.stale_offsets[i]; k < a.stale_offsets[i + 1]; ++k) stale += area(a.stale_boxes[k]);
  }
  if (2 * stale < positions) {  // only what the row held before is put back
    for (int64_t k = a.stale_offsets[i]; k < a.stale_offsets[i + 1]; ++k)
      copy_box(a, out, a.outside, a.outside_stride, a.stale_boxes[k]);
  } else if (one_run) {
    std::memcpy(out, a.outside, a.C * positions * sizeof(Bits));
  } else {
    copy_box(a, out, a.outside, a.outside_stride,
             Box{0, static_cast<int32_t>(a.Z), 0, static_cast<int32_t>(a.Y), 0, static_cast<int32_t>(a.X)});
  }
  for (int64_t k = a.offsets[i]; k < a.offsets[i + 1]; ++k) copy_box(a, out, a.inside, a.inside_stride, a.boxes[k]);
}

// Whether (C, Z, Y, X) values with these strides are one run of memory.
bool contiguous(const BoxedBatchArgs& a, const int64_t* stride) {
  return stride[3] == 1 && stride[2] == a.X && stride[1] == a.Y * a.X && stride[0] == a.Z * a.Y * a.X;
}

}  // namespace

void boxed_batch(const BoxedBatchArgs& a, void*) {
  check_boxes(a, a.boxes, a.offsets, a.n, a.count);
  check_boxes(a, a.stale_boxes, a.stale_offsets, a.stale, a.stale_count);
  const bool one_run = contiguous(a, a.out_stride + 1) && contiguous(a, a.outside_stride);
  parallel_for(a.n, grain_for(a.C * a.Z * a.Y * a.X), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      switch (a.bytes) {
        case 1: write_row<uint8_t>(a, one_run, i); break;
        case 4: write_row<uint32_t>(a, one_run, i); break;
        default: write_row<uint64_t>(a, one_run, i);
      }
    }
  });
}

}  // namespace rambit::cpu
