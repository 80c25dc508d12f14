#include <stdexcept>
#include <string>

#include "../backend.h"
#include "parallel.h"
#include "steps.h"

namespace rambit::cpu {
namespace {

template <typename Bits>
void write_window(const PutWindowsArgs& a, int64_t i) {
  copy_steps(static_cast<Bits*>(a.out) + i * a.out_stride[0] + a.start[i] * a.out_stride[1], {a.out_stride[1], a.out_stride[2]},
             static_cast<const Bits*>(a.window) + i * a.window_stride[0], {a.window_stride[1], a.window_stride[2]}, a.v, a.K);
}

}  // namespace

void put_windows(const PutWindowsArgs& a, void*) {
  for (int64_t i = 0; i < a.n; ++i)
    if (!fits(a, i)) throw std::out_of_range("rambit: put_windows: window " + std::to_string(i) + " leaves its row");
  parallel_for(a.n, grain_for(a.v * a.K), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      switch (a.bytes) {
        case 1: write_window<uint8_t>(a, i); break;
        case 2: write_window<uint16_t>(a, i); break;
        case 4: write_window<uint32_t>(a, i); break;
        default: write_window<uint64_t>(a, i);
      }
    }
  });
}

}  // namespace rambit::cpu
