#pragma once

#include "../common/shift_windows.h"
#include "entry.h"

namespace rambit::glue {

template <typename Backend>
void shift_windows(Tensor out, Tensor masks, Tensor room) {
  [[maybe_unused]] const auto guard = enter<Backend>("shift_windows", {{"out", out}, {"masks", masks}, {"room", room}});
  RAMBIT_CHECK(out.dim() == 4 && masks.dim() == 3, "shift_windows: out is (L, W, D, T), masks (L, D, T)");
  ShiftWindowsArgs a{};
  a.L = out.size(0);
  a.W = out.size(1);
  a.D = out.size(2);
  a.T = out.size(3);
  RAMBIT_CHECK(has_shape(masks, {a.L, a.D, a.T}) && has_shape(room, {a.L}), "shift_windows: shapes differ");
  a.out = plain_out<uint8_t>(out, ScalarType::Bool, "out");
  a.masks = plain<uint8_t>(masks, ScalarType::Bool, "masks");
  a.room = plain<int32_t>(room, ScalarType::Int, "room");
  if (out.numel() > 0) Backend::shift_windows(a, Backend::stream(out));
}

}  // namespace rambit::glue
