#pragma once

#include "../common/gather_windows.h"
#include "entry.h"

namespace rambit::glue {

template <typename Backend>
void gather_windows(Tensor out, Tensor places, Tensor which, Tensor start, std::optional<Tensor> window,
                    std::optional<Tensor> window_start, double outside) {
  [[maybe_unused]] const auto guard =
      enter<Backend>("gather_windows", {{"out", out}, {"places", places}, {"which", which}, {"start", start},
                                        {"window", window}, {"window_start", window_start}});
  GatherWindowsArgs a{};
  read_strides(out, a.out_stride);
  a.n = out.size(0);
  a.w = out.size(1);
  a.K = out.size(2);
  const ScalarType type = out.scalar_type();
  a.bytes = bytes_of(type);
  a.outside = bits_of(outside, type);
  RAMBIT_CHECK(places.dim() == 3, "gather_windows: places is (R, T, K)");
  a.R = places.size(0);
  a.T = places.size(1);
  RAMBIT_CHECK(places.size(2) == a.K, "gather_windows: out is (N, w, K), places (R, T, K)");
  RAMBIT_CHECK(has_shape(which, {a.n}) && has_shape(start, {a.n}), "gather_windows: which and start are (N,)");
  RAMBIT_CHECK(window.has_value() == window_start.has_value(), "gather_windows: a window comes with its start");
  if (window.has_value()) {
    read_strides(*window, a.window_stride);
    a.v = window->size(1);
    RAMBIT_CHECK(has_shape(*window, {a.n, a.v, a.K}) && has_shape(*window_start, {a.n}),
                 "gather_windows: window is (N, v, K), window_start (N,)");
    RAMBIT_CHECK(window->scalar_type() == type, "gather_windows: dtypes differ");
    a.window = window->const_data_ptr();
    a.window_start = plain<int64_t>(*window_start, ScalarType::Long, "window_start");
  }
  a.places = plain<void>(places, type, "places");
  a.which = plain<int64_t>(which, ScalarType::Long, "which");
  a.start = plain<int64_t>(start, ScalarType::Long, "start");
  a.out = out.mutable_data_ptr();
  if (out.numel() > 0) Backend::gather_windows(a, Backend::stream(out));
}

}  // namespace rambit::glue
