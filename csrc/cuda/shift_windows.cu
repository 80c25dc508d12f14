#include "launch.h"

namespace rambit::cuda {

void shift_windows(const ShiftWindowsArgs& a, void* stream) {
  const int64_t cells = a.D * a.T;
  each(a.L * a.W * cells, stream, [a, cells] __device__(int64_t i) {
    const int64_t window = i / cells, cell = i % cells, l = window / a.W, t = cell % a.T;
    const int64_t wanted = window % a.W, shift = wanted < a.room[l] ? wanted : a.room[l];
    a.out[i] = t < shift ? 1 : a.masks[l * cells + cell - shift];
  });
}

}  // namespace rambit::cuda
