#pragma once

#include "../common/distance.h"
#include "entry.h"

namespace rambit::glue {

template <typename Backend>
void distance(Tensor out, Tensor outputs, Tensor reference, Tensor series, Tensor target, int64_t metric) {
  [[maybe_unused]] const auto guard =
      enter<Backend>("distance", {{"out", out}, {"outputs", outputs}, {"reference", reference}, {"series", series},
                                  {"target", target}});
  DistanceArgs a{};
  read_strides(outputs, a.outputs_stride);
  read_strides(reference, a.reference_stride);
  a.n = outputs.size(0);
  a.C = outputs.size(1);
  a.K = outputs.size(2);
  a.B = reference.size(0);
  a.dtype = dtype_of(outputs, "distance");
  RAMBIT_CHECK(reference.scalar_type() == outputs.scalar_type() && reference.size(1) == a.C && reference.size(2) == a.K,
               "distance: reference is (B, C, K)");
  RAMBIT_CHECK(has_shape(out, {a.n, a.K}) && has_shape(series, {a.n}) && has_shape(target, {reference.size(0)}),
               "distance: shapes differ");
  a.out = plain_out<double>(out, ScalarType::Double, "out");
  a.outputs = outputs.const_data_ptr();
  a.reference = reference.const_data_ptr();
  a.series = plain<int32_t>(series, ScalarType::Int, "series");
  a.target = plain<int64_t>(target, ScalarType::Long, "target");
  a.metric = enum_of<Metric>(metric, "distance: unknown metric");
  if (out.numel() > 0) Backend::distance(a, Backend::stream(out));
}

}  // namespace rambit::glue
