#pragma once

#include "../common/boxed_batch.h"
#include "entry.h"

namespace rambit::glue {

inline void read_boxes(const Tensor& boxes, const Tensor& offsets, int64_t n, const Box*& to_boxes,
                       const int64_t*& to_offsets) {
  RAMBIT_CHECK(boxes.dim() == 2 && boxes.size(1) == kBoxColumns && n >= 0 && has_shape(offsets, {n + 1}),
               "boxed_batch: boxes is (K, 6), offsets (N + 1,)");
  to_boxes = reinterpret_cast<const Box*>(plain<int32_t>(boxes, ScalarType::Int, "boxes"));
  to_offsets = plain<int64_t>(offsets, ScalarType::Long, "offsets");
}

template <typename Backend>
void boxed_batch(Tensor out, Tensor inside, Tensor outside, Tensor boxes, Tensor offsets,
                 std::optional<Tensor> stale_boxes, std::optional<Tensor> stale_offsets) {
  [[maybe_unused]] const auto guard =
      enter<Backend>("boxed_batch", {{"out", out}, {"inside", inside}, {"outside", outside}, {"boxes", boxes},
                                     {"offsets", offsets}, {"stale_boxes", stale_boxes},
                                     {"stale_offsets", stale_offsets}});
  BoxedBatchArgs a{};
  read_strides(out, a.out_stride);
  read_strides(inside, a.inside_stride);
  read_strides(outside, a.outside_stride);
  a.n = out.size(0);
  a.C = out.size(1);
  a.Z = out.size(2);
  a.Y = out.size(3);
  a.X = out.size(4);
  RAMBIT_CHECK(has_shape(inside, {a.C, a.Z, a.Y, a.X}) && has_shape(outside, {a.C, a.Z, a.Y, a.X}),
               "boxed_batch: out is (N, C, Z, Y, X), inside and outside are (C, Z, Y, X)");
  RAMBIT_CHECK(inside.scalar_type() == out.scalar_type() && outside.scalar_type() == out.scalar_type(),
               "boxed_batch: dtypes differ");
  a.bytes = out.scalar_type() == ScalarType::Bool ? 1 : dtype_of(out, "boxed_batch") == Dtype::kDouble ? 8 : 4;
  read_boxes(boxes, offsets, a.n, a.boxes, a.offsets);
  a.count = boxes.size(0);
  RAMBIT_CHECK(stale_boxes.has_value() == stale_offsets.has_value(),
               "boxed_batch: stale boxes come with their offsets");
  if (stale_boxes.has_value()) {
    a.stale = stale_offsets->numel() - 1;
    read_boxes(*stale_boxes, *stale_offsets, a.stale, a.stale_boxes, a.stale_offsets);
    a.stale_count = stale_boxes->size(0);
  }
  a.out = out.mutable_data_ptr();
  a.inside = inside.const_data_ptr();
  a.outside = outside.const_data_ptr();
  if (out.numel() > 0) Backend::boxed_batch(a, Backend::stream(out));
}

}  // namespace rambit::glue
