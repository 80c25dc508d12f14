#pragma once

#include "../common/rnn_step.h"
#include "entry.h"

namespace rambit::glue {

template <typename Backend>
void rnn_step(Tensor out, Tensor input_sums, Tensor hidden_sums, Tensor input_bias, Tensor hidden_bias,
              int64_t activation) {
  [[maybe_unused]] const auto guard =
      enter<Backend>("rnn_step", {{"out", out}, {"input_sums", input_sums}, {"hidden_sums", hidden_sums},
                                  {"input_bias", input_bias}, {"hidden_bias", hidden_bias}});
  RnnStepArgs a{};
  read_strides(out, a.out_stride);
  read_strides(input_sums, a.input_stride);
  read_strides(hidden_sums, a.hidden_stride);
  a.n = out.size(0);
  a.H = out.size(1);
  a.dtype = dtype_of(out, "rnn_step");
  a.activation = enum_of<Activation>(activation, "rnn_step: activation is 0 (tanh) or 1 (relu)");
  const ScalarType type = out.scalar_type();
  RAMBIT_CHECK(has_shape(input_sums, {a.n, a.H}) && has_shape(hidden_sums, {a.n, a.H}),
               "rnn_step: out and sums are (N, H)");
  RAMBIT_CHECK(has_shape(input_bias, {a.H}) && has_shape(hidden_bias, {a.H}), "rnn_step: a bias is (H,)");
  RAMBIT_CHECK(input_sums.scalar_type() == type && hidden_sums.scalar_type() == type, "rnn_step: dtypes differ");
  a.out = out.mutable_data_ptr();
  a.input_sums = input_sums.const_data_ptr();
  a.hidden_sums = hidden_sums.const_data_ptr();
  a.input_bias = plain<void>(input_bias, type, "input_bias");
  a.hidden_bias = plain<void>(hidden_bias, type, "hidden_bias");
  if (out.numel() > 0) Backend::rnn_step(a, Backend::stream(out));
}

}  // namespace rambit::glue
