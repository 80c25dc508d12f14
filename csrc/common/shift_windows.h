// Masks that move to later steps.
#pragma once

#include "portable.h"

namespace rambit {

struct ShiftWindowsArgs {
  uint8_t* out;          // (L, W, D, T)
  const uint8_t* masks;  // (L, D, T)
  const int32_t* room;   // (L,) by how many steps a mask can move before it would leave the series
  int64_t L, W, D, T;
};

// By how many steps mask i of the (L * W) of out has moved.
RAMBIT_HD int64_t shift_of(const ShiftWindowsArgs& a, int64_t i) {
  const int64_t shift = i % a.W, room = a.room[i / a.W];
  return shift < room ? shift : room;
}

}  // namespace rambit
