// Windows gathered and put back: any strides and element size, starts anywhere, strides beyond 2^31, rows that point outside.
#include "check.h"

namespace rambit {
namespace {

int64_t room(const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides) {
  int64_t last = 1;
  for (size_t i = 0; i < sizes.size(); ++i) last += (sizes[i] - 1) * strides[i];
  return last;
}

struct GatherCase {
  int64_t n = 9, w = 5, R = 2, T = 6, v = 3, K = 4;
  std::vector<int64_t> which, start, window_start;

  GatherCase() {
    for (int64_t i = 0; i < n; ++i) {
      which.push_back(pick(0, R - 1));
      start.push_back(pick(-w - 1, T + 1));
      window_start.push_back(start[i] + pick(-v - 1, w + 1));
    }
  }
};

// Each value says where it comes from.
template <typename T>
bool gathers(const GatherCase& c, bool windowed, const std::vector<int64_t>& so, const std::vector<int64_t>& sw) {
  Sparse out(room({c.n, c.w, c.K}, so) * sizeof(T)), window(room({c.n, c.v, c.K}, sw) * sizeof(T));
  std::vector<T> places(c.R * c.T * c.K);
  const auto in_places = [&](int64_t r, int64_t t, int64_t k) { return static_cast<T>(1 + (r * c.T + t) * c.K + k); };
  const auto in_window = [&](int64_t i, int64_t p, int64_t k) { return static_cast<T>(100 + (i * c.v + p) * c.K + k); };
  const T outside = static_cast<T>(77);
  for (int64_t r = 0; r < c.R; ++r)
    for (int64_t t = 0; t < c.T; ++t)
      for (int64_t k = 0; k < c.K; ++k) places[(r * c.T + t) * c.K + k] = in_places(r, t, k);
  for (int64_t i = 0; i < c.n; ++i)
    for (int64_t p = 0; p < c.v; ++p)
      for (int64_t k = 0; k < c.K; ++k) window.as<T>()[i * sw[0] + p * sw[1] + k * sw[2]] = in_window(i, p, k);
  GatherWindowsArgs a{};
  a.out = out.as<T>(), a.places = places.data(), a.which = c.which.data(), a.start = c.start.data(), a.outside = outside;
  a.n = c.n, a.w = c.w, a.K = c.K, a.R = c.R, a.T = c.T, a.bytes = sizeof(T);
  set_strides(a.out_stride, so);
  if (windowed) {
    a.window = window.as<T>(), a.window_start = c.window_start.data(), a.v = c.v;
    set_strides(a.window_stride, sw);
  }
  kernels.gather_windows(a, nullptr);
  bool right = true;
  for (int64_t i = 0; i < c.n; ++i)
    for (int64_t p = 0; p < c.w; ++p)
      for (int64_t k = 0; k < c.K; ++k) {
        const int64_t t = c.start[i] + p, since = t - c.window_start[i];
        const T expected = windowed && since >= 0 && since < c.v ? in_window(i, since, k)
                           : t >= 0 && t < c.T                   ? in_places(c.which[i], t, k)
                                                                 : outside;
        right = right && out.as<T>()[i * so[0] + p * so[1] + k * so[2]] == expected;
      }
  return right;
}

void test_gather_windows() {
  for (int round = 0; round < 40; ++round) {
    GatherCase c;
    c.K = pick(0, 1) ? 16 : pick(1, 9);
    for (const bool windowed : {false, true})
      for (int orders = 0; orders < 4; ++orders) {  // of out and window in memory
        const auto so = packed({c.n, c.w, c.K}, orders & 1), sw = packed({c.n, c.v, c.K}, orders & 2);
        CHECK(gathers<uint8_t>(c, windowed, so, sw) && gathers<uint16_t>(c, windowed, so, sw) &&
              gathers<uint32_t>(c, windowed, so, sw) && gathers<uint64_t>(c, windowed, so, sw));
      }
    const std::vector<int64_t> gaps{c.w * (c.K + 3), c.K + 3, 1};
    CHECK(gathers<uint32_t>(c, true, gaps, gaps));
  }
}

void test_gather_windows_beyond_int32() {
  const GatherCase c;
  const int64_t far = 2 * kGiga;
  CHECK(gathers<uint16_t>(c, true, {far, 4, 1}, {far * 4, far, 1}));
  CHECK(gathers<uint16_t>(c, true, {far * 8, far, 1}, {1, 16, far}));
  CHECK(gathers<uint32_t>(c, true, {1, 16, far}, {8, far, 1}));
}

void test_gather_windows_checks_rows() {
  GatherCase c;
  std::vector<float> out(c.n * c.w * c.K, 5), places(c.R * c.T * c.K), window(c.n * c.v * c.K);
  GatherWindowsArgs a{};
  a.out = out.data(), a.places = places.data(), a.window = window.data(), a.which = c.which.data(), a.start = c.start.data();
  a.window_start = c.window_start.data(), a.n = c.n, a.w = c.w, a.K = c.K, a.R = c.R, a.T = c.T, a.v = c.v, a.bytes = 4;
  set_strides(a.out_stride, packed({c.n, c.w, c.K}, false));
  set_strides(a.window_stride, packed({c.n, c.v, c.K}, false));
  const auto bad = [&](std::vector<int64_t>& values, int64_t value) {
    const int64_t before = values.back();
    values.back() = value;
    const bool refused = throws([&] { kernels.gather_windows(a, nullptr); }) &&
                         std::count(out.begin(), out.end(), 5.0f) == static_cast<int64_t>(out.size());
    values.back() = before;
    return refused;
  };
  const int64_t most = std::numeric_limits<int64_t>::max(), least = std::numeric_limits<int64_t>::min();
  for (const int64_t v : {int64_t{-1}, c.R, most, least}) CHECK(bad(c.which, v));
  for (const int64_t v : {most, least, kFarthestStart + 1, -kFarthestStart - 1}) CHECK(bad(c.start, v) && bad(c.window_start, v));
  c.start[0] = -kFarthestStart, c.window_start[0] = kFarthestStart;  // as far apart as they may be: nothing overflows
  c.start[1] = kFarthestStart, c.window_start[1] = -kFarthestStart;
  kernels.gather_windows(a, nullptr);
  CHECK(std::count(out.begin(), out.end(), 5.0f) == 0);
}

template <typename T>
bool puts(int64_t n, int64_t steps, int64_t v, int64_t K, const std::vector<int64_t>& so, const std::vector<int64_t>& sw) {
  Sparse out(room({n, steps, K}, so) * sizeof(T)), window(room({n, v, K}, sw) * sizeof(T));
  const auto put = [&](int64_t i, int64_t p, int64_t k) { return static_cast<T>(1 + (i * v + p) * K + k); };
  std::vector<int64_t> start;
  for (int64_t i = 0; i < n; ++i) start.push_back(pick(0, steps - v));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t p = 0; p < v; ++p)
      for (int64_t k = 0; k < K; ++k) window.as<T>()[i * sw[0] + p * sw[1] + k * sw[2]] = put(i, p, k);
  PutWindowsArgs a{out.as<T>(), window.as<T>(), start.data(), n, steps, v, K, {}, {}, sizeof(T)};
  set_strides(a.out_stride, so);
  set_strides(a.window_stride, sw);
  kernels.put_windows(a, nullptr);
  bool right = true;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t t = 0; t < steps; ++t)
      for (int64_t k = 0; k < K; ++k) {
        const int64_t p = t - start[i];
        right = right && out.as<T>()[i * so[0] + t * so[1] + k * so[2]] == (p >= 0 && p < v ? put(i, p, k) : T(0));
      }
  return right;
}

void test_put_windows() {
  for (int round = 0; round < 40; ++round) {
    const int64_t n = 5, T = pick(1, 9), v = pick(1, T), K = pick(0, 1) ? 16 : pick(1, 9);
    for (int orders = 0; orders < 4; ++orders) {
      const auto so = packed({n, T, K}, orders & 1), sw = packed({n, v, K}, orders & 2);
      CHECK(puts<uint8_t>(n, T, v, K, so, sw) && puts<uint16_t>(n, T, v, K, so, sw) && puts<uint32_t>(n, T, v, K, so, sw) &&
            puts<uint64_t>(n, T, v, K, so, sw));
    }
    CHECK(puts<uint32_t>(n, T, v, K, {T * (K + 3), K + 3, 1}, {v * (K + 1), K + 1, 1}));
  }
  const int64_t far = 2 * kGiga;
  CHECK(puts<uint16_t>(3, 4, 2, 3, {far * 4, far, 1}, {far, 4, 1}));
  CHECK(puts<uint16_t>(3, 4, 2, 3, {1, 8, far}, {1, far, 4}));
}

const int64_t kBadStarts[] = {-1, 3, std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::min()};

// What leaves its row is not written; the CPU says so, before it writes anything.
void test_put_windows_checks_rows() {
  std::vector<float> out(2 * 4, 5), window(2 * 2, 6);
  std::vector<int64_t> start(2, 0);
  const PutWindowsArgs a{out.data(), window.data(), start.data(), 2, 4, 2, 1, {4, 1, 1}, {2, 1, 1}, 4};
  for (const int64_t bad : kBadStarts) {
    start[1] = bad;
    CHECK(throws([&] { kernels.put_windows(a, nullptr); }) && std::count(out.begin(), out.end(), 5.0f) == 8);
  }
}

void test_cuda_writes_no_window_that_leaves_its_row() {
  std::vector<float> out(2 * 4, 5), window(2 * 2, 6);
  std::vector<int64_t> start(2, 0);
  const PutWindowsArgs a{out.data(), window.data(), start.data(), 2, 4, 2, 1, {4, 1, 1}, {2, 1, 1}, 4};
  for (const int64_t bad : kBadStarts) {
    start[1] = bad;
    cuda::put_windows(a, nullptr);
    CHECK(std::count(out.begin(), out.begin() + 2, 6.0f) == 2 && std::count(out.begin() + 2, out.end(), 5.0f) == 6);
  }
}

}  // namespace

std::vector<Test> window_tests() {
  return {
      {"gather_windows", test_gather_windows, On::kEveryBackend},
      {"gather_windows beyond int32", test_gather_windows_beyond_int32, On::kEveryBackend},
      {"gather_windows checks rows", test_gather_windows_checks_rows, On::kCpu},
      {"put_windows", test_put_windows, On::kEveryBackend},
      {"put_windows checks rows", test_put_windows_checks_rows, On::kCpu},
      {"put_windows, windows that leave their rows", test_cuda_writes_no_window_that_leaves_its_row, On::kOnce},
  };
}

}  // namespace rambit
