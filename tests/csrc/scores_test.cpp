// Distances, scores and their sums; recurrent steps.
#include "check.h"

namespace rambit {
namespace {

double twin_distance(Metric metric, const std::vector<double>& p, const std::vector<double>& q, int64_t target) {
  const auto log_ratio = [](double a, double b) { return a * (std::log(a) - std::log(b)); };
  double pd = 0, l2 = 0, kl = 0, js = 0;
  for (size_t c = 0; c < p.size(); ++c) {
    const double a = std::max(p[c], 1e-12), b = std::max(q[c], 1e-12), m = (a + b) / 2;
    pd += std::fabs(p[c] - q[c]);
    l2 += (p[c] - q[c]) * (p[c] - q[c]);
    kl += log_ratio(a, b);
    js += 0.5 * (log_ratio(a, m) + log_ratio(b, m));
  }
  return metric == Metric::kPd ? pd : metric == Metric::kL2 ? std::sqrt(l2) : metric == Metric::kKl ? kl
         : metric == Metric::kJs ? js
         : metric == Metric::kChange ? std::fabs(p[target] - q[target]) : p[target] - q[target];
}

// Outputs (n, C, K) and originals (B, C, T) in memory under the given strides.
template <typename T>
struct Outputs {
  int64_t n, C, K, B, steps;
  std::vector<int64_t> so, sr;
  Sparse outputs, reference;
  std::vector<int64_t> target;

  Outputs(int64_t n_, int64_t C_, int64_t K_, int64_t B_, int64_t steps_, std::vector<int64_t> so_, std::vector<int64_t> sr_)
      : n(n_), C(C_), K(K_), B(B_), steps(steps_), so(so_), sr(sr_),
        outputs(((n - 1) * so[0] + (C - 1) * so[1] + (K - 1) * so[2] + 1) * static_cast<int64_t>(sizeof(T))),
        reference(((B - 1) * sr[0] + (C - 1) * sr[1] + (steps - 1) * sr[2] + 1) * static_cast<int64_t>(sizeof(T))) {
    for (int64_t i = 0; i < n; ++i)
      for (int64_t c = 0; c < C; ++c)
        for (int64_t k = 0; k < K; ++k) *output(i, c, k) = static_cast<T>(real());
    for (int64_t b = 0; b < B; ++b) {
      target.push_back(pick(0, C - 1));
      for (int64_t c = 0; c < C; ++c)
        for (int64_t t = 0; t < steps; ++t) *original(b, c, t) = static_cast<T>(real());
    }
  }
  T* output(int64_t i, int64_t c, int64_t k) { return outputs.template as<T>() + i * so[0] + c * so[1] + k * so[2]; }
  T* original(int64_t b, int64_t c, int64_t t) { return reference.template as<T>() + b * sr[0] + c * sr[1] + t * sr[2]; }
  double distance(Metric metric, int64_t i, int64_t k, int64_t b, int64_t t) {
    std::vector<double> p, q;
    for (int64_t c = 0; c < C; ++c) {
      p.push_back(*original(b, c, t));
      q.push_back(*output(i, c, k));
    }
    return twin_distance(metric, p, q, target[b]);
  }
};

template <typename T>
void check_distance(Dtype dtype, std::vector<int64_t> so, std::vector<int64_t> sr) {
  Outputs<T> s(3, 3, 4, 2, 4, so, sr);
  const std::vector<int32_t> series{1, 0, 1};
  bool right = true;
  for (int metric = 0; metric <= static_cast<int>(Metric::kLast); ++metric) {
    std::vector<double> out(s.n * s.K, -7);
    DistanceArgs a{};
    a.out = out.data(), a.outputs = s.outputs.template as<T>(), a.reference = s.reference.template as<T>();
    a.series = series.data(), a.target = s.target.data(), a.n = s.n, a.C = s.C, a.K = s.K, a.B = s.B;
    set_strides(a.outputs_stride, so);
    set_strides(a.reference_stride, sr);
    a.dtype = dtype, a.metric = static_cast<Metric>(metric);
    kernels.distance(a, nullptr);
    for (int64_t i = 0; i < s.n; ++i)
      for (int64_t k = 0; k < s.K; ++k) right = right && near(out[i * s.K + k], s.distance(a.metric, i, k, series[i], k));
  }
  CHECK(right);
}

template <typename T>
void check_score(Dtype dtype, std::vector<int64_t> so, std::vector<int64_t> sr) {
  const int64_t M = 2, S = 2, B = 2, D = 2, steps = 5, C = 3, width = 4, K = 3, cells = D * steps, n = 3;
  Outputs<T> s(n, C, K, B, steps, so, sr);
  std::vector<double> base(M * S * B * steps);
  for (auto& v : base) v = real();
  std::vector<uint8_t> masks(M * cells);
  for (auto& m : masks) m = static_cast<uint8_t>(pick(0, 1));
  std::vector<Row> rows(n);
  for (int64_t i = 0; i < n; ++i) {
    Row& r = rows[i];
    r.cell = static_cast<int32_t>(pick(0, cells - 1));
    r.slot = static_cast<int32_t>((2 * i + 1) * cells + r.cell);
    r.mask = static_cast<int32_t>(r.slot / cells / (S * B));
    r.series = static_cast<int32_t>(r.slot / cells % B);
    r.start = static_cast<int32_t>(pick(0, steps - width));
    r.horizon = r.start + static_cast<int32_t>(width - K + pick(0, K));
    r.norm = 4;
  }
  bool right = true;
  for (int metric = 0; metric <= static_cast<int>(Metric::kLast); ++metric)
    for (int reduce = 0; reduce <= 1; ++reduce) {
      std::vector<double> found(M * S * B * cells, 0.01);
      ScoreArgs a{};
      a.contributions = found.data(), a.outputs = s.outputs.template as<T>(), a.reference = s.reference.template as<T>();
      a.base = base.data(), a.masks = masks.data(), a.rows = rows.data(), a.target = s.target.data();
      a.n = n, a.C = C, a.K = K, a.T = steps, a.width = width, a.slots_per_base = cells, a.cells = cells, a.series = B;
      a.masks_count = M, a.slots = static_cast<int64_t>(found.size());
      set_strides(a.outputs_stride, so);
      set_strides(a.reference_stride, sr);
      a.dtype = dtype, a.metric = static_cast<Metric>(metric), a.reduce = static_cast<Reduce>(reduce);
      kernels.score(a, nullptr);
      for (int64_t i = 0; i < n; ++i) {
        const Row& r = rows[i];
        double expected = 0.01;
        for (int64_t h = r.horizon; h < r.start + width; ++h) {
          const double flipped = s.distance(a.metric, i, h - (r.start + width - K), r.series, h);
          const double unflipped = base[r.slot / cells * steps + h];
          const double change = masks[r.mask * cells + r.cell] != 0 ? flipped - unflipped : unflipped - flipped;
          expected = reduce == 0 ? expected + change / 4 : std::fabs(change) > std::fabs(expected) ? change : expected;
        }
        right = right && near(found[r.slot], expected);
      }
      right = right && std::count(found.begin(), found.end(), 0.01) >= static_cast<int64_t>(found.size()) - n;
    }
  CHECK(right);
}

void test_distance_and_score() {
  for (const bool last : {false, true}) {
    check_distance<float>(Dtype::kFloat, packed({3, 3, 4}, last), packed({2, 3, 4}, !last));
    check_distance<double>(Dtype::kDouble, packed({3, 3, 4}, last), packed({2, 3, 4}, last));
    check_score<float>(Dtype::kFloat, packed({3, 3, 3}, last), packed({2, 3, 5}, last));
    check_score<double>(Dtype::kDouble, packed({3, 3, 3}, last), packed({2, 3, 5}, !last));
  }
  const int64_t far = 2 * kGiga;
  const std::vector<int64_t> rows{far * 4, far, 1}, steps{1, 3, far};
  check_distance<float>(Dtype::kFloat, rows, steps);
  check_distance<float>(Dtype::kFloat, steps, rows);
  check_score<float>(Dtype::kFloat, rows, steps);
  check_score<float>(Dtype::kFloat, steps, rows);
}

void test_distance_checks_series() {
  const std::vector<double> outputs(4);
  const std::vector<int64_t> target{0};
  std::vector<double> out(2, 5);
  DistanceArgs a{};  // two rows of two classes, one series
  a.out = out.data(), a.outputs = outputs.data(), a.reference = outputs.data(), a.target = target.data();
  a.n = 2, a.C = 2, a.K = 1, a.B = 1, a.dtype = Dtype::kDouble;
  set_strides(a.outputs_stride, {2, 1, 1});
  set_strides(a.reference_stride, {2, 1, 1});
  for (const int32_t outside : {-1, 1, std::numeric_limits<int32_t>::max(), std::numeric_limits<int32_t>::min()}) {
    const std::vector<int32_t> series{0, outside};
    a.series = series.data();
    CHECK(throws([&] { kernels.distance(a, nullptr); }) && std::count(out.begin(), out.end(), 5.0) == 2);
  }
}

void test_score_checks_rows() {
  std::vector<double> contributions(8, 0.5), base(2 * 4);
  std::vector<float> outputs(2 * 2), reference(2 * 4);
  const std::vector<uint8_t> masks(4, 1);
  const std::vector<int64_t> target(1, 0);
  ScoreArgs a{};  // one mask, two draws, one series, one feature, four steps
  a.contributions = contributions.data(), a.outputs = outputs.data(), a.reference = reference.data(), a.base = base.data();
  a.masks = masks.data(), a.target = target.data();
  a.n = 1, a.C = 2, a.K = 2, a.T = 4, a.width = 3, a.slots_per_base = 4, a.cells = 4, a.series = 1, a.masks_count = 1, a.slots = 8;
  set_strides(a.outputs_stride, {4, 2, 1});
  set_strides(a.reference_stride, {8, 4, 1});
  const int32_t most = std::numeric_limits<int32_t>::max(), least = std::numeric_limits<int32_t>::min();
  const auto bad = [&](int32_t Row::*field, int32_t value) {
    Row row{0, 0, 0, 3, 1, 3, 1, 7, 0};
    row.*field = value;
    a.rows = &row;
    return throws([&] { kernels.score(a, nullptr); }) && std::count(contributions.begin(), contributions.end(), 0.5) == 8;
  };
  for (const int32_t v : {-1, 1, most, least}) CHECK(bad(&Row::series, v) && bad(&Row::mask, v));
  for (const int32_t v : {-1, 4, most, least}) CHECK(bad(&Row::cell, v));
  for (const int32_t v : {-1, 8, most, least}) CHECK(bad(&Row::slot, v));
  for (const int32_t v : {-1, 2, most, least}) CHECK(bad(&Row::start, v));
  for (const int32_t v : {-1, 1, least}) CHECK(bad(&Row::horizon, v));
  for (const int32_t v : {0, -1, least}) CHECK(bad(&Row::norm, v));
}

void test_accumulate() {
  const int64_t M = 5, S = 2, B = 2, cells = 3;
  const std::vector<int32_t> unit{0, 0, 2, 3, 3}, own{1, 1, 0, 2, 2};
  const std::vector<double> weight{0.25, 0.75, 1, 0.5, 0.5}, unit_weight{2, 2, 1, 3, 3}, count{1, 1, 4, 2, 2};
  for (const bool owned : {false, true}) {
    const int64_t slots = owned ? 1 : cells;
    std::vector<double> contributions(M * S * B * slots), sum(B * cells, 1), squares(B * cells, 2);
    for (auto& v : contributions) v = real() - 0.5;
    auto expected_sum = sum, expected_squares = squares;
    for (int64_t b = 0; b < B; ++b)
      for (int64_t k = 0; k < slots; ++k)
        for (const auto& members : std::vector<std::vector<int64_t>>{{0, 1}, {2}, {3, 4}}) {
          double value = 0;
          for (const int64_t m : members)
            for (int64_t s = 0; s < S; ++s) value += weight[m] * contributions[((m * S + s) * B + b) * slots + k] / S;
          const int64_t m = members[0], cell = b * cells + (owned ? own[m] : k);
          expected_sum[cell] += unit_weight[m] * value;
          expected_squares[cell] += count[m] * value * value;
        }
    kernels.accumulate({sum.data(), squares.data(), contributions.data(), unit.data(), weight.data(), unit_weight.data(),
                     count.data(), owned ? own.data() : nullptr, M, S, B, slots, cells},
                    nullptr);
    bool right = true;
    for (int64_t i = 0; i < B * cells; ++i) right = right && near(sum[i], expected_sum[i]) && near(squares[i], expected_squares[i]);
    CHECK(right);
  }
}

// ---- recurrent steps: elements side by side, strided, and further apart than 2^31 -------------------------------------------

template <typename T>
void check_gru_step(Dtype dtype, double tolerance, int64_t n, int64_t H, int64_t row, int64_t unit) {
  const auto room = [&](int64_t columns) { return ((n - 1) * row + (columns - 1) * unit + 1) * static_cast<int64_t>(sizeof(T)); };
  Sparse out(room(H)), input(room(3 * H)), hidden(room(3 * H)), state(room(H));
  std::vector<T> input_bias(3 * H), hidden_bias(3 * H);
  for (auto* bias : {&input_bias, &hidden_bias})
    for (auto& v : *bias) v = static_cast<T>(2 * real() - 1);
  const auto at = [&](Sparse& s, int64_t i, int64_t j) -> T& { return s.as<T>()[i * row + j * unit]; };
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < 3 * H; ++j) {
      at(input, i, j) = static_cast<T>(8 * real() - 4);
      at(hidden, i, j) = static_cast<T>(8 * real() - 4);
      if (j < H) at(state, i, j) = static_cast<T>(2 * real() - 1);
    }
  cpu::gru_step({out.as<T>(), input.as<T>(), hidden.as<T>(), input_bias.data(), hidden_bias.data(), state.as<T>(), n, H,
                 {row, unit}, {row, unit}, {row, unit}, {row, unit}, dtype}, nullptr);
  const auto sigma = [](double x) { return 1 / (1 + std::exp(-x)); };
  bool right = true;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < H; ++j) {
      double x[3], h[3];
      for (int64_t k = 0; k < 3; ++k) {
        x[k] = static_cast<double>(at(input, i, k * H + j)) + input_bias[k * H + j];
        h[k] = static_cast<double>(at(hidden, i, k * H + j)) + hidden_bias[k * H + j];
      }
      const double update = sigma(x[1] + h[1]), proposed = std::tanh(x[2] + sigma(x[0] + h[0]) * h[2]);
      right = right && near(at(out, i, j), (1 - update) * proposed + update * at(state, i, j), tolerance);
    }
  CHECK(right);
}

// An LSTM's step and a plain one's share their layout: gates (n, g H), values (n, H).
template <typename T>
void check_lstm_step(Dtype dtype, double tolerance, int64_t n, int64_t H, int64_t row, int64_t unit) {
  const auto room = [&](int64_t columns) { return ((n - 1) * row + (columns - 1) * unit + 1) * static_cast<int64_t>(sizeof(T)); };
  Sparse out(room(H)), after(room(H)), input(room(4 * H)), hidden(room(4 * H)), cell(room(H));
  std::vector<T> input_bias(4 * H), hidden_bias(4 * H);
  for (auto* bias : {&input_bias, &hidden_bias})
    for (auto& v : *bias) v = static_cast<T>(2 * real() - 1);
  const auto at = [&](Sparse& s, int64_t i, int64_t j) -> T& { return s.as<T>()[i * row + j * unit]; };
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < 4 * H; ++j) {
      at(input, i, j) = static_cast<T>(8 * real() - 4);
      at(hidden, i, j) = static_cast<T>(8 * real() - 4);
      if (j < H) at(cell, i, j) = static_cast<T>(2 * real() - 1);
    }
  cpu::lstm_step({out.as<T>(), after.as<T>(), input.as<T>(), hidden.as<T>(), input_bias.data(), hidden_bias.data(),
                     cell.as<T>(), n, H, {row, unit}, {row, unit}, {row, unit}, {row, unit}, {row, unit}, dtype}, nullptr);
  const auto sigma = [](double x) { return 1 / (1 + std::exp(-x)); };
  bool right = true;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < H; ++j) {
      double s[4];
      for (int64_t k = 0; k < 4; ++k)
        s[k] = static_cast<double>(at(input, i, k * H + j)) + input_bias[k * H + j] + at(hidden, i, k * H + j) + hidden_bias[k * H + j];
      const double value = sigma(s[1]) * at(cell, i, j) + sigma(s[0]) * std::tanh(s[2]);
      right = right && near(at(after, i, j), value, tolerance) && near(at(out, i, j), sigma(s[3]) * std::tanh(value), tolerance);
    }
  CHECK(right);
}

template <typename T>
void check_rnn_step(Dtype dtype, double tolerance, int64_t n, int64_t H, int64_t row, int64_t unit, Activation activation) {
  const int64_t room = ((n - 1) * row + (H - 1) * unit + 1) * static_cast<int64_t>(sizeof(T));
  Sparse out(room), input(room), hidden(room);
  std::vector<T> input_bias(H), hidden_bias(H);
  for (auto* bias : {&input_bias, &hidden_bias})
    for (auto& v : *bias) v = static_cast<T>(2 * real() - 1);
  const auto at = [&](Sparse& s, int64_t i, int64_t j) -> T& { return s.as<T>()[i * row + j * unit]; };
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < H; ++j) at(input, i, j) = static_cast<T>(8 * real() - 4), at(hidden, i, j) = static_cast<T>(8 * real() - 4);
  cpu::rnn_step({out.as<T>(), input.as<T>(), hidden.as<T>(), input_bias.data(), hidden_bias.data(), n, H, {row, unit},
                    {row, unit}, {row, unit}, dtype, activation}, nullptr);
  bool right = true;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < H; ++j) {
      const double sum = static_cast<double>(at(input, i, j)) + input_bias[j] + at(hidden, i, j) + hidden_bias[j];
      right = right && near(at(out, i, j), activation == Activation::kTanh ? std::tanh(sum) : std::max(sum, 0.0), tolerance);
    }
  CHECK(right);
}

void test_other_steps() {
  for (const int64_t H : {1, 8, 33}) {
    check_lstm_step<float>(Dtype::kFloat, 2e-6, 3, H, 4 * H, 1);
    check_lstm_step<float>(Dtype::kFloat, 2e-6, 3, H, 1, 3);
    check_lstm_step<double>(Dtype::kDouble, 1e-13, 3, H, 4 * H, 1);
    for (const Activation activation : {Activation::kTanh, Activation::kRelu}) {
      check_rnn_step<float>(Dtype::kFloat, 4e-6, 3, H, H, 1, activation);
      check_rnn_step<float>(Dtype::kFloat, 4e-6, 3, H, 1, 3, activation);
      check_rnn_step<double>(Dtype::kDouble, 1e-13, 3, H, H, 1, activation);
    }
  }
  check_lstm_step<float>(Dtype::kFloat, 2e-6, 2, 9, 4 * kGiga, 1);
  check_rnn_step<float>(Dtype::kFloat, 4e-6, 2, 9, 3 * kGiga, 1, Activation::kTanh);
}

void test_gru_step() {
  for (const int64_t H : {1, 7, 8, 33, 64}) {
    check_gru_step<float>(Dtype::kFloat, 2e-6, 3, H, 3 * H, 1);
    check_gru_step<float>(Dtype::kFloat, 2e-6, 3, H, 1, 3);
    check_gru_step<double>(Dtype::kDouble, 1e-13, 3, H, 3 * H, 1);
  }
  check_gru_step<float>(Dtype::kFloat, 2e-6, 2, 9, 3 * kGiga, 1);
  check_gru_step<double>(Dtype::kDouble, 1e-13, 2, 2, 1, kGiga);
}

// ---- offsets beyond int32 ------------------------------------------------------------------------------------------------

void test_accumulate_beyond_int32() {
  const OnlyLast only;
  const int64_t M = 2, S = 2, B = 2, slots = kGiga;
  Sparse sum(B * slots * 8), squares(B * slots * 8), contributions(M * S * B * slots * 8);
  const std::vector<int32_t> unit{0, 1};
  const std::vector<double> one{1, 1};
  for (int64_t i = 0; i < M * S; ++i) contributions.as<double>()[(i * B + B) * slots - 1] = static_cast<double>(i);
  kernels.accumulate({sum.as<double>(), squares.as<double>(), contributions.as<double>(), unit.data(), one.data(), one.data(),
                   one.data(), nullptr, M, S, B, slots, slots},
                  nullptr);
  CHECK(sum.as<double>()[B * slots - 1] == 3.0 && squares.as<double>()[B * slots - 1] == 0.25 + 6.25);
}

void test_score_beyond_int32() {
  const int64_t slots = 2 * kGiga - 1, T = 4;  // slots are int32 in a row, what they lead to is not
  Sparse contributions(slots * 8), base(slots * T * 8), masks(4 * kGiga);
  const std::vector<float> outputs{0.25}, reference{1, 1, 1, 1};
  const std::vector<int64_t> target{0};
  const Row row{0, 0, 3, static_cast<int32_t>(kGiga - 1), 3, 3, 1, static_cast<int32_t>(slots - 1), 0};
  base.as<double>()[slots * T - 1] = 0.5;
  masks.as<uint8_t>()[4 * kGiga - 1] = 1;
  ScoreArgs a{};
  a.contributions = contributions.as<double>(), a.outputs = outputs.data(), a.reference = reference.data();
  a.base = base.as<double>(), a.masks = masks.as<uint8_t>(), a.rows = &row, a.target = target.data();
  a.n = 1, a.C = 1, a.K = 1, a.T = T, a.width = 1, a.slots_per_base = 1, a.cells = kGiga, a.series = 1, a.masks_count = 4;
  a.slots = slots;
  set_strides(a.outputs_stride, {1, 1, 1});
  set_strides(a.reference_stride, {4, 4, 1});
  kernels.score(a, nullptr);
  CHECK(contributions.as<double>()[slots - 1] == 0.25);
}

}  // namespace

std::vector<Test> score_tests() {
  return {
      {"distance and score", test_distance_and_score, On::kEveryBackend},
      {"distance checks series", test_distance_checks_series, On::kCpu},
      {"score checks rows", test_score_checks_rows, On::kCpu},
      {"accumulate", test_accumulate, On::kEveryBackend},
      {"gru_step", test_gru_step, On::kCpu},
      {"lstm_step and rnn_step", test_other_steps, On::kCpu},
      {"accumulate beyond int32", test_accumulate_beyond_int32, On::kEveryBackend},
      {"score beyond int32", test_score_beyond_int32, On::kEveryBackend},
  };
}

}  // namespace rambit
