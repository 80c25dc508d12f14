#pragma once

#include "../common/gru_step.h"
#include "entry.h"

namespace rambit::glue {

template <typename Backend>
void gru_step(Tensor out, Tensor input_gates, Tensor hidden_gates, Tensor input_bias, Tensor hidden_bias,
              Tensor state) {
  [[maybe_unused]] const auto guard =
      enter<Backend>("gru_step", {{"out", out}, {"input_gates", input_gates}, {"hidden_gates", hidden_gates},
                                  {"input_bias", input_bias}, {"hidden_bias", hidden_bias}, {"state", state}});
  GruStepArgs a{};
  read_strides(out, a.out_stride);
  read_strides(input_gates, a.input_stride);
  read_strides(hidden_gates, a.hidden_stride);
  read_strides(state, a.state_stride);
  a.n = out.size(0);
  a.H = out.size(1);
  a.dtype = dtype_of(out, "gru_step");
  const ScalarType type = out.scalar_type();
  RAMBIT_CHECK(has_shape(input_gates, {a.n, 3 * a.H}) && has_shape(hidden_gates, {a.n, 3 * a.H}) &&
                   has_shape(state, {a.n, a.H}),
               "gru_step: out and state are (N, H), gates (N, 3 H)");
  RAMBIT_CHECK(has_shape(input_bias, {3 * a.H}) && has_shape(hidden_bias, {3 * a.H}), "gru_step: a bias is (3 H,)");
  RAMBIT_CHECK(input_gates.scalar_type() == type && hidden_gates.scalar_type() == type && state.scalar_type() == type,
               "gru_step: dtypes differ");
  a.out = out.mutable_data_ptr();
  a.input_gates = input_gates.const_data_ptr();
  a.hidden_gates = hidden_gates.const_data_ptr();
  a.input_bias = plain<void>(input_bias, type, "input_bias");
  a.hidden_bias = plain<void>(hidden_bias, type, "hidden_bias");
  a.state = state.const_data_ptr();
  if (out.numel() > 0) Backend::gru_step(a, Backend::stream(out));
}

}  // namespace rambit::glue
