#pragma once

#include "../common/put_windows.h"
#include "entry.h"

namespace rambit::glue {

template <typename Backend>
void put_windows(Tensor out, Tensor window, Tensor start) {
  [[maybe_unused]] const auto guard = enter<Backend>("put_windows", {{"out", out}, {"window", window}, {"start", start}});
  PutWindowsArgs a{};
  read_strides(out, a.out_stride);
  read_strides(window, a.window_stride);
  a.n = out.size(0);
  a.T = out.size(1);
  a.K = out.size(2);
  a.v = window.size(1);
  a.bytes = bytes_of(out.scalar_type());
  RAMBIT_CHECK(has_shape(window, {a.n, a.v, a.K}) && a.v <= a.T,
               "put_windows: out is (N, T, K), window (N, v, K) with v <= T");
  RAMBIT_CHECK(window.scalar_type() == out.scalar_type(), "put_windows: dtypes differ");
  RAMBIT_CHECK(has_shape(start, {a.n}), "put_windows: start is (N,)");
  a.start = plain<int64_t>(start, ScalarType::Long, "start");
  a.window = window.const_data_ptr();
  a.out = out.mutable_data_ptr();
  if (window.numel() > 0) Backend::put_windows(a, Backend::stream(out));
}

}  // namespace rambit::glue
