#pragma once

#include "../common/score.h"
#include "entry.h"

namespace rambit::glue {

template <typename Backend>
void score(Tensor contributions, Tensor outputs, Tensor reference, Tensor base, Tensor masks, Tensor rows,
           Tensor target, int64_t width, int64_t metric, int64_t reduce) {
  [[maybe_unused]] const auto guard =
      enter<Backend>("score", {{"contributions", contributions}, {"outputs", outputs}, {"reference", reference},
                               {"base", base}, {"masks", masks}, {"rows", rows}, {"target", target}});
  ScoreArgs a{};
  read_strides(outputs, a.outputs_stride);
  read_strides(reference, a.reference_stride);
  RAMBIT_CHECK(contributions.dim() == 4 && base.dim() == 2 && masks.dim() == 3,
               "score: contributions is (M, S, B, slots), base (M * S * B, T), masks (M, D, T)");
  a.n = outputs.size(0);
  a.C = outputs.size(1);
  a.K = outputs.size(2);
  a.T = base.size(1);
  a.width = width;
  a.cells = masks.size(1) * masks.size(2);
  a.slots_per_base = contributions.size(3);
  a.slots = contributions.numel();
  a.masks_count = masks.size(0);
  a.series = reference.size(0);
  a.dtype = dtype_of(outputs, "score");
  RAMBIT_CHECK(reference.scalar_type() == outputs.scalar_type() && reference.size(1) == a.C && reference.size(2) == a.T,
               "score: reference is (B, C, T)");
  RAMBIT_CHECK(base.size(0) * a.slots_per_base == contributions.numel(),
               "score: one base row for each (mask, draw, series)");
  RAMBIT_CHECK(has_shape(rows, {a.n, kRowColumns}) && has_shape(target, {reference.size(0)}), "score: shapes differ");
  RAMBIT_CHECK(a.K >= 1 && a.K <= width, "score: outputs hold the last K <= width steps");
  a.contributions = plain_out<double>(contributions, ScalarType::Double, "contributions");
  a.outputs = outputs.const_data_ptr();
  a.reference = reference.const_data_ptr();
  a.base = plain<double>(base, ScalarType::Double, "base");
  a.masks = plain<uint8_t>(masks, ScalarType::Bool, "masks");
  a.rows = reinterpret_cast<const Row*>(plain<int32_t>(rows, ScalarType::Int, "rows"));
  a.target = plain<int64_t>(target, ScalarType::Long, "target");
  a.metric = enum_of<Metric>(metric, "score: unknown metric");
  a.reduce = enum_of<Reduce>(reduce, "score: unknown reduction");
  if (a.n > 0) Backend::score(a, Backend::stream(contributions));
}

}  // namespace rambit::glue
