#pragma once

#include "../common/lstm_step.h"
#include "entry.h"

namespace rambit::glue {

template <typename Backend>
void lstm_step(Tensor out, Tensor cell_out, Tensor input_gates, Tensor hidden_gates, Tensor input_bias,
               Tensor hidden_bias, Tensor cell) {
  [[maybe_unused]] const auto guard =
      enter<Backend>("lstm_step", {{"out", out}, {"cell_out", cell_out}, {"input_gates", input_gates},
                                   {"hidden_gates", hidden_gates}, {"input_bias", input_bias},
                                   {"hidden_bias", hidden_bias}, {"cell", cell}});
  LstmStepArgs a{};
  read_strides(out, a.out_stride);
  read_strides(cell_out, a.cell_out_stride);
  read_strides(input_gates, a.input_stride);
  read_strides(hidden_gates, a.hidden_stride);
  read_strides(cell, a.cell_stride);
  a.n = out.size(0);
  a.H = out.size(1);
  a.dtype = dtype_of(out, "lstm_step");
  const ScalarType type = out.scalar_type();
  RAMBIT_CHECK(has_shape(input_gates, {a.n, 4 * a.H}) && has_shape(hidden_gates, {a.n, 4 * a.H}) &&
                   has_shape(cell, {a.n, a.H}) && has_shape(cell_out, {a.n, a.H}),
               "lstm_step: out and cells are (N, H), gates (N, 4 H)");
  RAMBIT_CHECK(has_shape(input_bias, {4 * a.H}) && has_shape(hidden_bias, {4 * a.H}), "lstm_step: a bias is (4 H,)");
  RAMBIT_CHECK(cell_out.scalar_type() == type && input_gates.scalar_type() == type &&
                   hidden_gates.scalar_type() == type && cell.scalar_type() == type,
               "lstm_step: dtypes differ");
  a.out = out.mutable_data_ptr();
  a.cell_out = cell_out.mutable_data_ptr();
  a.input_gates = input_gates.const_data_ptr();
  a.hidden_gates = hidden_gates.const_data_ptr();
  a.input_bias = plain<void>(input_bias, type, "input_bias");
  a.hidden_bias = plain<void>(hidden_bias, type, "hidden_bias");
  a.cell = cell.const_data_ptr();
  if (out.numel() > 0) Backend::lstm_step(a, Backend::stream(out));
}

}  // namespace rambit::glue
