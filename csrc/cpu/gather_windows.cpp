#include <stdexcept>
#include <string>

#include "../backend.h"
#include "parallel.h"
#include "steps.h"

namespace rambit::cpu {
namespace {

bool near(int64_t start) { return start >= -kFarthestStart && start <= kFarthestStart; }

// Before any thread starts: an exception inside a parallel region would lose its words.
void check_rows(const GatherWindowsArgs& a) {
  for (int64_t i = 0; i < a.n; ++i) {
    const auto row = [i] { return "rambit: gather_windows: row " + std::to_string(i); };
    if (a.which[i] < 0 || a.which[i] >= a.R) throw std::out_of_range(row() + " is of none of the places");
    if (!near(a.start[i]) || (a.window_start != nullptr && !near(a.window_start[i])))
      throw std::out_of_range(row() + " or its window starts too far away");
  }
}

// Up to five pieces: the window, and on both sides of it what lies within the series and outside.
template <typename Bits>
void write_row(const GatherWindowsArgs& a, int64_t i) {
  const WindowRow row(a, i);
  const StepStrides strides{a.out_stride[1], a.out_stride[2]};
  Bits* out = static_cast<Bits*>(a.out) + i * a.out_stride[0];
  const auto without_window = [&](int64_t begin, int64_t end) {
    const int64_t from = clamped(row.series_begin, begin, end), to = clamped(row.series_end, from, end);
    fill_steps(out + begin * strides.step, strides, static_cast<Bits>(a.outside), from - begin, a.K);
    if (from < to)
      copy_steps(out + from * strides.step, strides, static_cast<const Bits*>(a.places) + offset_in_places(a, i, from), {a.K, 1},
                 to - from, a.K);
    fill_steps(out + to * strides.step, strides, static_cast<Bits>(a.outside), end - to, a.K);
  };
  without_window(0, row.window_begin);
  if (row.window_begin < row.window_end) {
    const Bits* window = static_cast<const Bits*>(a.window) + i * a.window_stride[0];
    copy_steps(out + row.window_begin * strides.step, strides, window + (row.window_begin - row.lag) * a.window_stride[1],
               {a.window_stride[1], a.window_stride[2]}, row.window_end - row.window_begin, a.K);
  }
  without_window(row.window_end, a.w);
}

}  // namespace

void gather_windows(const GatherWindowsArgs& a, void*) {
  check_rows(a);
  parallel_for(a.n, grain_for(a.w * a.K), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      switch (a.bytes) {
        case 1: write_row<uint8_t>(a, i); break;
        case 2: write_row<uint16_t>(a, i); break;
        case 4: write_row<uint32_t>(a, i); break;
        default: write_row<uint64_t>(a, i);
      }
    }
  });
}

}  // namespace rambit::cpu
