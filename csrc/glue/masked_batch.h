#pragma once

#include "../common/masked_batch.h"
#include "entry.h"

namespace rambit::glue {

template <typename Backend>
void masked_batch(Tensor out, Tensor x, Tensor draws, Tensor masks, Tensor rows, std::optional<Tensor> observed,
                  int64_t fill, std::optional<Tensor> windows) {
  [[maybe_unused]] const auto guard =
      enter<Backend>("masked_batch", {{"out", out}, {"x", x}, {"draws", draws}, {"masks", masks}, {"rows", rows},
                                      {"observed", observed}, {"windows", windows}});
  MaskedBatchArgs a{};
  read_strides(out, a.out_stride);
  read_strides(x, a.x_stride);
  read_strides(draws, a.draws_stride);
  read_strides(masks, a.masks_stride);
  a.n = out.size(0);
  a.w = out.size(2);
  a.B = x.size(0);
  a.D = x.size(1);
  a.T = x.size(2);
  a.K = draws.size(0);
  a.M = masks.size(0);
  a.dtype = dtype_of(x, "masked_batch");
  a.fill = enum_of<Fill>(fill, "masked_batch: unknown fill");
  RAMBIT_CHECK(out.scalar_type() == x.scalar_type() && draws.scalar_type() == x.scalar_type(),
               "masked_batch: dtypes differ");
  RAMBIT_CHECK(out.size(1) == a.D && a.w <= a.T, "masked_batch: out is (N, D, w) with w <= T");
  RAMBIT_CHECK(has_shape(draws, {a.K, a.B, a.D, a.T}) || (a.fill != Fill::kFixed && a.K == 0),
               "masked_batch: draws is (K, B, D, T)");
  RAMBIT_CHECK(has_shape(masks, {a.M, a.D, a.T}), "masked_batch: masks is (M, D, T)");
  RAMBIT_CHECK(has_shape(rows, {a.n, kRowColumns}), "masked_batch: rows is (N, columns)");
  RAMBIT_CHECK(masks.scalar_type() == ScalarType::Bool, "masked_batch: masks is bool");
  if (observed.has_value()) {
    RAMBIT_CHECK(observed->scalar_type() == ScalarType::Bool && has_shape(*observed, {a.B, a.D, a.T}),
                 "masked_batch: observed is (B, D, T) bool");
    read_strides(*observed, a.observed_stride);
    a.observed = static_cast<const uint8_t*>(observed->const_data_ptr());
  }
  RAMBIT_CHECK((a.fill == Fill::kWindows) == windows.has_value(), "masked_batch: windows are for their own fill alone");
  if (windows.has_value()) {
    read_strides(*windows, a.windows_stride);
    a.P = windows->size(4);
    a.K = windows->size(0);
    RAMBIT_CHECK(has_shape(*windows, {a.K, a.B, a.D, a.T, a.P}) && a.P > 0 && windows->scalar_type() == x.scalar_type(),
                 "masked_batch: windows is (K, B, D, T, P)");
    a.windows = windows->const_data_ptr();
  }
  a.out = out.mutable_data_ptr();
  a.x = x.const_data_ptr();
  a.draws = draws.size(0) > 0 ? draws.const_data_ptr() : nullptr;
  a.masks = static_cast<const uint8_t*>(masks.const_data_ptr());
  a.rows = reinterpret_cast<const Row*>(plain<int32_t>(rows, ScalarType::Int, "rows"));
  if (out.numel() > 0) Backend::masked_batch(a, Backend::stream(out));
}

}  // namespace rambit::glue
