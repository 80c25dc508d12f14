// The CUDA kernels, on the host, against those of the CPU: the same bits, whatever the order of the threads, the shapes and
// the places in memory. (On a GPU the logarithms of `distance` and `score` may differ in the last place.)
#include <tuple>

#include "check.h"

namespace rambit {
namespace {

// A tensor anywhere: dimensions in any order of memory, with gaps, at an odd offset; or without gaps and in order.
template <typename T>
class Placed {
 public:
  template <typename F>
  Placed(std::vector<int64_t> sizes, bool plain, F value) : stride(sizes.size()) {
    std::vector<size_t> order(sizes.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = order.size() - 1 - i;
    if (!plain) std::shuffle(order.begin(), order.end() - pick(0, 1), random_bits);
    int64_t room = plain ? 1 : pick(1, 2);
    for (const size_t i : order) {
      stride[i] = room;
      room = room * sizes[i] + (plain ? 0 : pick(0, 1));
    }
    offset_ = plain && pick(0, 1) ? 0 : pick(0, 3);  // 0: as aligned as memory comes
    for (int64_t i = 0; i < offset_ + room; ++i) memory.push_back(static_cast<T>(value()));
  }
  T* data() { return memory.data() + offset_; }

  std::vector<T> memory;
  std::vector<int64_t> stride;

 private:
  int64_t offset_;
};

double signed_real() { return 2 * real() - 1; }
uint64_t bits() { return random_bits(); }
auto up_to(int64_t most) {
  return [most] { return pick(0, most); };
}

// From the same memory, both kernels leave the same bytes, inside and outside of what they are to write.
template <typename Args, typename... T>
bool agree(void (*on_cpu)(const Args&, void*), void (*on_cuda)(const Args&, void*), const Args& args, Placed<T>&... written) {
  const auto bytes = [&] {
    std::string all;
    (all.append(reinterpret_cast<const char*>(written.memory.data()), written.memory.size() * sizeof(T)), ...);
    return all;
  };
  const auto before = std::make_tuple(written.memory...);
  const auto restore = [&] {  // in place: the arguments point there
    std::apply([&](const auto&... old) { (std::copy(old.begin(), old.end(), written.memory.begin()), ...); }, before);
  };
  on_cpu(args, nullptr);
  const std::string expected = bytes();
  bool right = true;
  for (const auto order : {host::Order::kForward, host::Order::kBackward, host::Order::kScattered}) {
    host::order = order;
    restore();
    on_cuda(args, nullptr);
    right = right && bytes() == expected;
  }
  return right;
}

void test_masks() {
  for (int round = 0; round < 40; ++round)
    for (int family = 0; family <= 4; ++family) {
      const int64_t L = pick(1, 20), D = pick(1, 7), T = pick(1, 40), wt = pick(1, T), wd = pick(1, D);
      Placed<int64_t> index({L}, true, up_to(int64_t{1} << 32));
      Placed<int32_t> target_cells({L}, true, up_to(D * T - 1));
      Placed<uint8_t> out({L, D, T}, true, [] { return 0xAA; });
      SampleMasksArgs a{out.data(), pick(0, 1) ? target_cells.data() : nullptr, index.data(), L,
                        {static_cast<Family>(family), D, T, pick(1, wt), wt, pick(1, wd), wd, real()}, random_bits()};
      CHECK(agree(cpu::sample_masks, cuda::sample_masks, a, out));

      const int64_t W = pick(1, 50);
      Placed<uint8_t> shifted({L, W, D, T}, true, [] { return 0xAA; });
      Placed<int32_t> room({L}, true, up_to(T));
      CHECK(agree(cpu::shift_windows, cuda::shift_windows, {shifted.data(), out.data(), room.data(), L, W, D, T}, shifted));
    }
}

template <typename T>
void test_draws(Dtype dtype) {
  for (int round = 0; round < 40; ++round)
    for (int kind = 0; kind <= 3; ++kind) {
      const int64_t S = pick(1, 4), B = pick(1, 4), D = pick(1, 5), steps = pick(1, 30), N = pick(1, 5), Tb = pick(steps, 40);
      Placed<T> out({S, B, D, steps}, true, signed_real), background({N, D, Tb}, true, signed_real);
      Placed<int64_t> ids({B}, true, up_to(int64_t{1} << 32));
      CHECK(agree(cpu::draw, cuda::draw,
                  {out.data(), background.data(), ids.data(), S, B, D, steps, N, Tb, pick(0, 9), dtype, static_cast<Draw>(kind),
                   -1.5, 2.5, random_bits()},
                  out));
    }
}

template <typename T, typename Value>
void test_batches(Dtype dtype, Fill fill, Value value) {
  for (int round = 0; round < 60; ++round) {
    const bool narrow = pick(0, 3) == 0, even = pick(0, 2) == 0;  // even: what is written several elements at a time
    const auto plain = [even] { return even || pick(0, 2) == 0; };
    MaskedBatchArgs a{};
    a.n = pick(1, 12), a.B = pick(1, 3), a.D = pick(1, 6), a.T = even ? 16 * pick(1, 20) : pick(1, 300);
    a.K = pick(1, 3), a.M = pick(1, 3), a.P = pick(1, 5);
    a.w = even ? 16 * pick(1, a.T / 16) : narrow ? 1 : pick(0, 1) ? a.T : pick(1, a.T);
    Placed<T> out({a.n, a.D, a.w}, plain(), value), x({a.B, a.D, a.T}, plain(), value);
    Placed<T> draws({a.K, a.B, a.D, a.T}, plain(), value), windows({a.K, a.B, a.D, a.T, a.P}, false, value);
    Placed<uint8_t> masks({a.M, a.D, a.T}, plain(), up_to(1)), observed({a.B, a.D, a.T}, pick(0, 1), up_to(2));
    std::vector<Row> rows(a.n);
    for (Row& r : rows) {
      r.series = static_cast<int32_t>(pick(0, a.B - 1)), r.draw = static_cast<int32_t>(pick(0, a.K - 1));
      r.mask = static_cast<int32_t>(pick(0, a.M - 1)), r.cell = static_cast<int32_t>(pick(-1, a.D * a.T - 1));
      r.start = static_cast<int32_t>(pick(0, a.T - a.w));
    }
    a.out = out.data(), a.x = x.data(), a.masks = masks.data(), a.rows = rows.data();
    a.draws = fill == Fill::kFixed || pick(0, 1) ? draws.data() : nullptr;
    a.windows = fill == Fill::kWindows ? windows.data() : nullptr;
    a.observed = pick(0, 1) ? observed.data() : nullptr;
    set_strides(a.out_stride, out.stride), set_strides(a.x_stride, x.stride), set_strides(a.draws_stride, draws.stride);
    set_strides(a.windows_stride, windows.stride), set_strides(a.masks_stride, masks.stride);
    set_strides(a.observed_stride, observed.stride);
    a.dtype = dtype, a.fill = fill;
    CHECK(agree(cpu::masked_batch, cuda::masked_batch, a, out));
  }
}

struct Boxes {
  std::vector<Box> boxes;
  Placed<int64_t> offsets;

  Boxes(int64_t n, int64_t Z, int64_t Y, int64_t X) : offsets({n + 1}, true, [] { return 0; }) {
    const auto cut = [](int64_t size) { return static_cast<int32_t>(pick(0, size)); };
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t k = pick(0, 4); k > 0; --k) boxes.push_back({cut(Z), cut(Z), cut(Y), cut(Y), cut(X), cut(X)});
      offsets.data()[i + 1] = static_cast<int64_t>(boxes.size());
    }
  }
};

template <typename T>
void test_boxes() {
  for (int round = 0; round < 60; ++round) {
    BoxedBatchArgs a{};
    const bool even = pick(0, 1);
    const auto plain = [even] { return even || pick(0, 1); };
    a.n = pick(1, 6), a.C = pick(1, 4), a.Z = pick(1, 3), a.Y = pick(1, 9), a.X = even ? 16 * pick(1, 3) : pick(1, 20);
    a.bytes = sizeof(T);
    Placed<T> out({a.n, a.C, a.Z, a.Y, a.X}, plain(), bits);
    Placed<T> inside({a.C, a.Z, a.Y, a.X}, plain(), bits), outside({a.C, a.Z, a.Y, a.X}, plain(), bits);
    const int64_t known = pick(1, a.n);
    Boxes now(a.n, a.Z, a.Y, a.X), before(known, a.Z, a.Y, a.X);
    a.out = out.data(), a.inside = inside.data(), a.outside = outside.data();
    set_strides(a.out_stride, out.stride), set_strides(a.inside_stride, inside.stride);
    set_strides(a.outside_stride, outside.stride);
    a.boxes = now.boxes.data(), a.offsets = now.offsets.data(), a.count = static_cast<int64_t>(now.boxes.size());
    CHECK(agree(cpu::boxed_batch, cuda::boxed_batch, a, out));
    BoxedBatchArgs older = a;
    older.n = known, older.boxes = before.boxes.data(), older.offsets = before.offsets.data();
    older.count = static_cast<int64_t>(before.boxes.size());
    cpu::boxed_batch(older, nullptr);
    a.stale = known, a.stale_boxes = older.boxes, a.stale_offsets = older.offsets, a.stale_count = older.count;
    CHECK(agree(cpu::boxed_batch, cuda::boxed_batch, a, out));
  }
}

template <typename T>
void test_windows() {
  for (int round = 0; round < 60; ++round) {
    const bool even = pick(0, 1);  // values of a step that are moved several at a time
    const auto plain = [even] { return even || pick(0, 1); };
    const int64_t n = pick(1, 6), w = pick(1, 12), R = pick(1, 3), steps = pick(1, 20), v = pick(1, 9);
    const int64_t K = even ? 8 * pick(1, 4) : pick(1, 9);
    Placed<T> out({n, w, K}, plain(), bits), places({R, steps, K}, true, bits), window({n, v, K}, plain(), bits);
    Placed<int64_t> which({n}, true, up_to(R - 1)), start({n}, true, [&] { return pick(-w - 1, steps + 1); });
    Placed<int64_t> window_start({n}, true, [&] { return pick(-v - 1, steps + 1); });
    GatherWindowsArgs a{};
    a.out = out.data(), a.places = places.data(), a.which = which.data(), a.start = start.data();
    a.outside = static_cast<T>(bits()), a.n = n, a.w = w, a.K = K, a.R = R, a.T = steps, a.bytes = sizeof(T);
    set_strides(a.out_stride, out.stride);
    if (pick(0, 3) > 0) {
      a.window = window.data(), a.window_start = window_start.data(), a.v = v;
      set_strides(a.window_stride, window.stride);
    }
    CHECK(agree(cpu::gather_windows, cuda::gather_windows, a, out));

    const int64_t length = v + pick(0, 5);
    Placed<T> values({n, length, K}, plain(), bits);
    Placed<int64_t> within({n}, true, up_to(length - v));
    PutWindowsArgs p{values.data(), window.data(), within.data(), n, length, v, K, {}, {}, sizeof(T)};
    set_strides(p.out_stride, values.stride), set_strides(p.window_stride, window.stride);
    CHECK(agree(cpu::put_windows, cuda::put_windows, p, values));
  }
}

template <typename T>
void test_scores(Dtype dtype) {
  for (int round = 0; round < 60; ++round)
    for (int metric = 0; metric <= static_cast<int>(Metric::kLast); ++metric) {
      const int64_t M = pick(1, 3), S = pick(1, 2), B = pick(1, 3), D = pick(1, 3), steps = pick(1, 12), C = pick(1, 5);
      const int64_t width = pick(1, steps), K = pick(1, width), slots = D * steps, n = M * S * B;
      Placed<T> outputs({n, C, K}, pick(0, 1), real), reference({B, C, steps}, pick(0, 1), real);
      Placed<double> base({n, steps}, true, real), contributions({n, slots}, true, signed_real), out({n, K}, true, real);
      Placed<uint8_t> masks({M, slots}, true, up_to(1));
      Placed<int64_t> target({B}, true, up_to(C - 1));
      Placed<int32_t> series({n}, true, up_to(B - 1));
      std::vector<Row> rows(n);
      for (int64_t i = 0; i < n; ++i) {
        Row& r = rows[i];
        r.series = static_cast<int32_t>(i % B), r.mask = static_cast<int32_t>(i / B / S);
        r.cell = static_cast<int32_t>(pick(0, slots - 1));
        r.slot = static_cast<int32_t>(i * slots + r.cell), r.start = static_cast<int32_t>(pick(0, steps - width));
        r.horizon = static_cast<int32_t>(r.start + width - K + pick(0, K)), r.norm = static_cast<int32_t>(pick(1, 9));
      }
      DistanceArgs d{out.data(), outputs.data(), reference.data(), series.data(), target.data(), n, C, K, B, {}, {}, dtype,
                     static_cast<Metric>(metric)};
      set_strides(d.outputs_stride, outputs.stride), set_strides(d.reference_stride, reference.stride);
      CHECK(agree(cpu::distance, cuda::distance, d, out));
      ScoreArgs a{contributions.data(), outputs.data(), reference.data(), base.data(), masks.data(), rows.data(), target.data(),
                  n, C, K, steps, width, slots, slots, B, M, M * S * B * slots, {}, {}, dtype, d.metric,
                  static_cast<Reduce>(pick(0, 1))};
      set_strides(a.outputs_stride, outputs.stride), set_strides(a.reference_stride, reference.stride);
      CHECK(agree(cpu::score, cuda::score, a, contributions));
    }
}

void test_sums() {
  for (int round = 0; round < 100; ++round) {
    const bool own = pick(0, 1);
    const int64_t M = pick(1, 9), S = pick(1, 4), B = pick(1, 5), cells = pick(1, 90), slots = own ? 1 : cells;
    Placed<double> contributions({M, S, B, slots}, true, signed_real), sum({B, cells}, true, signed_real);
    Placed<double> squares({B, cells}, true, real), weight({M}, true, real), unit_weight({M}, true, real);
    Placed<double> count({M}, true, real);
    Placed<int32_t> unit({M}, true, up_to(2)), target_cell({M}, true, up_to(cells - 1));
    std::sort(unit.data(), unit.data() + M);
    CHECK(agree(cpu::accumulate, cuda::accumulate,
                {sum.data(), squares.data(), contributions.data(), unit.data(), weight.data(), unit_weight.data(), count.data(),
                 own ? target_cell.data() : nullptr, M, S, B, slots, cells},
                sum, squares));
  }
}

void test_masked_batches() {
  test_batches<uint32_t>(Dtype::kFloat, Fill::kFixed, bits);
  test_batches<uint64_t>(Dtype::kDouble, Fill::kFixed, bits);
  for (const Fill fill : {Fill::kCarryForward, Fill::kInterpolate, Fill::kWindows}) {
    test_batches<float>(Dtype::kFloat, fill, signed_real);
    test_batches<double>(Dtype::kDouble, fill, signed_real);
  }
}

void test_boxed_batches() {
  test_boxes<uint8_t>();
  test_boxes<uint32_t>();
  test_boxes<uint64_t>();
}

void test_all_windows() {
  test_windows<uint8_t>();
  test_windows<uint16_t>();
  test_windows<uint32_t>();
  test_windows<uint64_t>();
}

// More than 2^31 elements: of the launch, of which the last threads alone run. What is read stands in one place.
void test_launches_beyond_int32() {
  const OnlyLast only;
  {
    const int64_t n = 3, T = kGiga;
    Sparse out(n * T * 4);
    const float x = 7, draw = 8;
    const uint8_t mask = 0;
    const std::vector<Row> rows(n, {0, 0, 0, -1, 0, 0, 1, 0, 0});
    MaskedBatchArgs a{};
    a.out = out.as<float>(), a.x = &x, a.draws = &draw, a.masks = &mask, a.rows = rows.data();
    a.n = n, a.w = T, a.B = a.D = a.K = a.M = 1, a.T = T, a.dtype = Dtype::kFloat;
    set_strides(a.out_stride, {T, T, 1});
    cuda::masked_batch(a, nullptr);
    CHECK(out.as<float>()[n * T - 1] == draw);
  }
  {
    const int64_t n = 3, Y = 1 << 15;
    Sparse out(n * Y * Y);
    const uint8_t inside = 3, outside = 4;
    const Box box{0, 1, static_cast<int32_t>(Y - 1), static_cast<int32_t>(Y), 0, static_cast<int32_t>(Y - 1)};
    const std::vector<int64_t> offsets{0, 0, 0, 1};
    BoxedBatchArgs a{};
    a.out = out.as<uint8_t>(), a.inside = &inside, a.outside = &outside, a.boxes = &box, a.offsets = offsets.data();
    a.n = n, a.C = a.Z = a.count = a.bytes = 1, a.Y = a.X = Y;
    set_strides(a.out_stride, {Y * Y, Y * Y, Y * Y, Y, 1});
    cuda::boxed_batch(a, nullptr);
    CHECK(out.as<uint8_t>()[n * Y * Y - 1] == outside && out.as<uint8_t>()[n * Y * Y - 2] == inside);
  }
  {
    const int64_t n = 3, w = kGiga;
    Sparse out(n * w * 2), from(2 * w * 2);
    const std::vector<int64_t> which{0, 0, 1}, start{0, 0, 0};
    from.as<uint16_t>()[2 * w - 1] = 7;
    GatherWindowsArgs a{};
    a.out = out.as<uint16_t>(), a.places = from.as<uint16_t>(), a.which = which.data(), a.start = start.data();
    a.n = n, a.w = a.T = w, a.R = 2, a.K = 1, a.bytes = 2;
    set_strides(a.out_stride, {w, 1, 1});
    cuda::gather_windows(a, nullptr);
    CHECK(out.as<uint16_t>()[n * w - 1] == 7);
    Sparse window(n * w * 2);
    window.as<uint16_t>()[n * w - 1] = 8;
    PutWindowsArgs p{a.out, window.as<uint16_t>(), start.data(), n, w, w, 1, {w, 1, 1}, {w, 1, 1}, 2};
    cuda::put_windows(p, nullptr);
    CHECK(out.as<uint16_t>()[n * w - 1] == 8);
  }
  {
    const int64_t n = 3, K = kGiga;
    Sparse out(n * K * 8);
    const float p = 0.75, q = 0.25;
    const std::vector<int32_t> series(n);
    const int64_t target = 0;
    DistanceArgs a{out.as<double>(), &q, &p, series.data(), &target, n, 1, K, 1, {}, {}, Dtype::kFloat, Metric::kPd};
    cuda::distance(a, nullptr);
    CHECK(out.as<double>()[n * K - 1] == 0.5);
  }
}

}  // namespace

std::vector<Test> backend_tests() {
  return {
      {"masks", test_masks, On::kOnce},
      {"draws, float", [] { test_draws<float>(Dtype::kFloat); }, On::kOnce},
      {"draws, double", [] { test_draws<double>(Dtype::kDouble); }, On::kOnce},
      {"masked batches", test_masked_batches, On::kOnce},
      {"boxed batches", test_boxed_batches, On::kOnce},
      {"windows", test_all_windows, On::kOnce},
      {"scores, float", [] { test_scores<float>(Dtype::kFloat); }, On::kOnce},
      {"scores, double", [] { test_scores<double>(Dtype::kDouble); }, On::kOnce},
      {"sums", test_sums, On::kOnce},
      {"launches beyond int32", test_launches_beyond_int32, On::kOnce},
  };
}

}  // namespace rambit
