#include <cstring>
#include <stdexcept>

#include "../backend.h"
#include "parallel.h"

namespace rambit::cpu {

void shift_windows(const ShiftWindowsArgs& a, void*) {
  for (int64_t l = 0; l < a.L; ++l)
    if (a.room[l] < 0 || a.room[l] > a.T) throw std::out_of_range("rambit: shift_windows: room is not in 0 ... T");
  parallel_for(a.L * a.W, grain_for(a.D * a.T), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t l = i / a.W, shift = shift_of(a, i);
      for (int64_t d = 0; d < a.D; ++d) {
        const uint8_t* from = a.masks + (l * a.D + d) * a.T;
        uint8_t* to = a.out + (i * a.D + d) * a.T;
        std::memset(to, 1, static_cast<size_t>(shift));  // what the shift uncovers is kept
        std::memcpy(to + shift, from, static_cast<size_t>(a.T - shift));
      }
    }
  });
}

}  // namespace rambit::cpu
