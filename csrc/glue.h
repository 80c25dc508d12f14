// From tensors to raw arguments, once for every backend: checks, then the kernel.
#pragma once

#include "backend.h"
#include "stable.h"

namespace rambit {

// `Backend` gives `stream(tensor)` and one static function an op (see ops.cpp and cuda/ops_cuda.cpp).
template <typename Backend>
struct Glue {
  // Before anything else: all tensors on the first one's device, which becomes the current one.
  static auto enter(const char* op, std::initializer_list<Argument> arguments) {
    check_one_device(op, arguments);
    return Backend::guard(*arguments.begin()->tensor);
  }

  static void sample_masks(Tensor out, Tensor index, std::optional<Tensor> owners, int64_t family, int64_t wt_min,
                           int64_t wt_max, int64_t wd_min, int64_t wd_max, double p, int64_t seed) {
    [[maybe_unused]] const auto guard = enter("sample_masks", {{"out", out}, {"index", index}, {"owners", owners}});
    RAMBIT_CHECK(out.dim() == 3, "sample_masks: out is (L, D, T)");
    const int64_t L = out.size(0), D = out.size(1), T = out.size(2);
    RAMBIT_CHECK(has_shape(index, {L}), "sample_masks: index is (L,)");
    RAMBIT_CHECK(!owners.has_value() || has_shape(*owners, {L}), "sample_masks: owners is (L,)");
    RAMBIT_CHECK(family >= 0 && family <= 4, "sample_masks: unknown family");
    RAMBIT_CHECK(1 <= wt_min && wt_min <= wt_max && 1 <= wd_min && wd_min <= wd_max, "sample_masks: bad bounds");
    RAMBIT_CHECK(L * D * T == 0 || family == static_cast<int64_t>(Family::kUpperTriangle) || (wt_max <= T && wd_max <= D),
                 "sample_masks: bounds exceed the grid");
    SampleMasksArgs a{};
    a.out = plain_out<uint8_t>(out, ScalarType::Bool, "out");
    a.owners = owners.has_value() ? plain<int32_t>(*owners, ScalarType::Int, "owners") : nullptr;
    a.index = plain<int64_t>(index, ScalarType::Long, "index");
    a.L = L;
    a.spec = MaskSpec{static_cast<Family>(family), D, T, wt_min, wt_max, wd_min, wd_max, p};
    a.seed = static_cast<uint64_t>(seed);
    if (L * D * T > 0) Backend::sample_masks(a, Backend::stream(out));
  }

  static void shift_windows(Tensor out, Tensor masks, Tensor room) {
    [[maybe_unused]] const auto guard = enter("shift_windows", {{"out", out}, {"masks", masks}, {"room", room}});
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

  static void draw(Tensor out, std::optional<Tensor> background, Tensor ids, int64_t kind, double low, double high,
                   int64_t first_draw, int64_t seed) {
    [[maybe_unused]] const auto guard = enter("draw", {{"out", out}, {"background", background}, {"ids", ids}});
    RAMBIT_CHECK(out.dim() == 4 && out.is_contiguous(), "draw: out is (S, B, D, T), contiguous");
    RAMBIT_CHECK(kind >= 0 && kind <= 3, "draw: unknown kind");
    DrawArgs a{};
    a.out = out.mutable_data_ptr();
    a.S = out.size(0);
    a.B = out.size(1);
    a.D = out.size(2);
    a.T = out.size(3);
    RAMBIT_CHECK(has_shape(ids, {a.B}), "draw: ids is (B,)");
    a.ids = plain<int64_t>(ids, ScalarType::Long, "ids");
    a.kind = static_cast<Draw>(kind);
    a.dtype = dtype_of(out);
    RAMBIT_CHECK(a.dtype == Dtype::kFloat || a.dtype == Dtype::kDouble, "draw: float32 or float64");
    if (a.kind == Draw::kMarginal || a.kind == Draw::kJoint) {
      RAMBIT_CHECK(background.has_value() && background->dim() == 3 && background->size(0) > 0 && background->size(2) > 0,
                   "draw: background is (N, D, T)");
      RAMBIT_CHECK(background->size(1) == a.D && background->scalar_type() == out.scalar_type() && background->is_contiguous(),
                   "draw: background must match out");
      RAMBIT_CHECK(a.kind == Draw::kMarginal || background->size(2) >= a.T, "draw: a joint background is as long as the series");
      a.background = background->const_data_ptr();
      a.N = background->size(0);
      a.Tb = background->size(2);
    }
    a.first_draw = first_draw;
    a.low = low;
    a.high = high;
    a.seed = static_cast<uint64_t>(seed);
    if (out.numel() > 0) Backend::draw(a, Backend::stream(out));
  }

  static void masked_batch(Tensor out, Tensor x, Tensor draws, Tensor masks, Tensor rows, std::optional<Tensor> observed,
                           int64_t fill, std::optional<Tensor> windows) {
    [[maybe_unused]] const auto guard = enter("masked_batch", {{"out", out}, {"x", x}, {"draws", draws}, {"masks", masks},
                                                               {"rows", rows}, {"observed", observed}, {"windows", windows}});
    MaskedBatchArgs a{};
    read_strides(out, a.out_stride);
    read_strides(x, a.x_stride);
    read_strides(draws, a.draws_stride);
    read_strides(masks, a.masks_stride);
    a.n = out.size(0);
    a.w = out.size(2);
    a.B = x.size(0);
    a.D = x.size(1);
    a.T = x.size(2);
    a.K = draws.size(0);
    a.M = masks.size(0);
    a.dtype = dtype_of(x);
    a.fill = static_cast<Fill>(fill);
    RAMBIT_CHECK(fill >= 0 && fill <= 3, "masked_batch: unknown fill");
    RAMBIT_CHECK(out.scalar_type() == x.scalar_type() && draws.scalar_type() == x.scalar_type(), "masked_batch: dtypes differ");
    RAMBIT_CHECK(out.size(1) == a.D && a.w <= a.T, "masked_batch: out is (N, D, w) with w <= T");
    RAMBIT_CHECK(has_shape(draws, {a.K, a.B, a.D, a.T}) || (fill != 0 && a.K == 0), "masked_batch: draws is (K, B, D, T)");
    RAMBIT_CHECK(has_shape(masks, {a.M, a.D, a.T}), "masked_batch: masks is (M, D, T)");
    RAMBIT_CHECK(has_shape(rows, {a.n, kRowColumns}), "masked_batch: rows is (N, columns)");
    RAMBIT_CHECK(masks.scalar_type() == ScalarType::Bool, "masked_batch: masks is bool");
    RAMBIT_CHECK(fill == 0 || a.dtype == Dtype::kFloat || a.dtype == Dtype::kDouble,
                 "masked_batch: conditional values need float32 or float64");
    if (observed.has_value()) {
      RAMBIT_CHECK(observed->scalar_type() == ScalarType::Bool && has_shape(*observed, {a.B, a.D, a.T}),
                   "masked_batch: observed is (B, D, T) bool");
      read_strides(*observed, a.observed_stride);
      a.observed = static_cast<const uint8_t*>(observed->const_data_ptr());
    }
    RAMBIT_CHECK((a.fill == Fill::kWindows) == windows.has_value(), "masked_batch: windows are for their own fill alone");
    if (windows.has_value()) {
      read_strides(*windows, a.windows_stride);
      a.P = windows->size(4);
      a.K = windows->size(0);
      RAMBIT_CHECK(has_shape(*windows, {a.K, a.B, a.D, a.T, a.P}) && a.P > 0 && windows->scalar_type() == x.scalar_type(),
                   "masked_batch: windows is (K, B, D, T, P)");
      a.windows = windows->const_data_ptr();
    }
    a.out = out.mutable_data_ptr();
    a.x = x.const_data_ptr();
    a.draws = draws.size(0) > 0 ? draws.const_data_ptr() : nullptr;
    a.masks = static_cast<const uint8_t*>(masks.const_data_ptr());
    a.rows = reinterpret_cast<const Row*>(plain<int32_t>(rows, ScalarType::Int, "rows"));
    if (out.numel() > 0) Backend::masked_batch(a, Backend::stream(out));
  }

  static void boxed_batch(Tensor out, Tensor inside, Tensor outside, Tensor boxes, Tensor offsets,
                          std::optional<Tensor> stale_boxes, std::optional<Tensor> stale_offsets) {
    [[maybe_unused]] const auto guard = enter("boxed_batch", {{"out", out}, {"inside", inside}, {"outside", outside},
                                                              {"boxes", boxes}, {"offsets", offsets},
                                                              {"stale_boxes", stale_boxes},
                                                              {"stale_offsets", stale_offsets}});
    BoxedBatchArgs a{};
    read_strides(out, a.out_stride);
    read_strides(inside, a.inside_stride);
    read_strides(outside, a.outside_stride);
    a.n = out.size(0);
    a.C = out.size(1);
    a.Z = out.size(2);
    a.Y = out.size(3);
    a.X = out.size(4);
    RAMBIT_CHECK(has_shape(inside, {a.C, a.Z, a.Y, a.X}) && has_shape(outside, {a.C, a.Z, a.Y, a.X}),
                 "boxed_batch: out is (N, C, Z, Y, X), inside and outside are (C, Z, Y, X)");
    RAMBIT_CHECK(inside.scalar_type() == out.scalar_type() && outside.scalar_type() == out.scalar_type(),
                 "boxed_batch: dtypes differ");
    a.bytes = out.scalar_type() == ScalarType::Bool ? 1 : bytes_of(dtype_of(out));
    read_boxes(boxes, offsets, a.n, a.boxes, a.offsets);
    a.count = boxes.size(0);
    RAMBIT_CHECK(stale_boxes.has_value() == stale_offsets.has_value(), "boxed_batch: stale boxes come with their offsets");
    if (stale_boxes.has_value()) {
      a.stale = stale_offsets->numel() - 1;
      read_boxes(*stale_boxes, *stale_offsets, a.stale, a.stale_boxes, a.stale_offsets);
      a.stale_count = stale_boxes->size(0);
    }
    a.out = out.mutable_data_ptr();
    a.inside = inside.const_data_ptr();
    a.outside = outside.const_data_ptr();
    if (out.numel() > 0) Backend::boxed_batch(a, Backend::stream(out));
  }

  static void read_boxes(const Tensor& boxes, const Tensor& offsets, int64_t n, const Box*& to_boxes, const int64_t*& to_offsets) {
    RAMBIT_CHECK(boxes.dim() == 2 && boxes.size(1) == kBoxColumns && n >= 0 && has_shape(offsets, {n + 1}),
                 "boxed_batch: boxes is (K, 6), offsets (N + 1,)");
    to_boxes = reinterpret_cast<const Box*>(plain<int32_t>(boxes, ScalarType::Int, "boxes"));
    to_offsets = plain<int64_t>(offsets, ScalarType::Long, "offsets");
  }

  static void distance(Tensor out, Tensor outputs, Tensor reference, Tensor series, Tensor target, int64_t metric) {
    [[maybe_unused]] const auto guard = enter("distance", {{"out", out}, {"outputs", outputs}, {"reference", reference},
                                                           {"series", series}, {"target", target}});
    DistanceArgs a{};
    read_strides(outputs, a.outputs_stride);
    read_strides(reference, a.reference_stride);
    a.n = outputs.size(0);
    a.C = outputs.size(1);
    a.K = outputs.size(2);
    a.B = reference.size(0);
    a.dtype = dtype_of(outputs);
    RAMBIT_CHECK(metric >= 0 && metric <= 4, "distance: unknown metric");
    RAMBIT_CHECK(a.dtype == Dtype::kFloat || a.dtype == Dtype::kDouble, "distance: float32 or float64");
    RAMBIT_CHECK(reference.scalar_type() == outputs.scalar_type() && reference.size(1) == a.C && reference.size(2) == a.K,
                 "distance: reference is (B, C, K)");
    RAMBIT_CHECK(has_shape(out, {a.n, a.K}) && has_shape(series, {a.n}) && has_shape(target, {reference.size(0)}),
                 "distance: shapes differ");
    a.out = plain_out<double>(out, ScalarType::Double, "out");
    a.outputs = outputs.const_data_ptr();
    a.reference = reference.const_data_ptr();
    a.series = plain<int32_t>(series, ScalarType::Int, "series");
    a.target = plain<int64_t>(target, ScalarType::Long, "target");
    a.metric = static_cast<Metric>(metric);
    if (out.numel() > 0) Backend::distance(a, Backend::stream(out));
  }

  static void score(Tensor contributions, Tensor outputs, Tensor reference, Tensor base, Tensor masks, Tensor rows,
                    Tensor target, int64_t width, int64_t metric, int64_t reduce) {
    [[maybe_unused]] const auto guard = enter("score", {{"contributions", contributions}, {"outputs", outputs},
                                                        {"reference", reference}, {"base", base}, {"masks", masks},
                                                        {"rows", rows}, {"target", target}});
    ScoreArgs a{};
    read_strides(outputs, a.outputs_stride);
    read_strides(reference, a.reference_stride);
    RAMBIT_CHECK(contributions.dim() == 4 && base.dim() == 2 && masks.dim() == 3,
                 "score: contributions is (M, S, B, slots), base (M * S * B, T), masks (M, D, T)");
    a.n = outputs.size(0);
    a.C = outputs.size(1);
    a.K = outputs.size(2);
    a.T = base.size(1);
    a.width = width;
    a.cells = masks.size(1) * masks.size(2);
    a.slots_per_base = contributions.size(3);
    a.slots = contributions.numel();
    a.masks_count = masks.size(0);
    a.series = reference.size(0);
    a.dtype = dtype_of(outputs);
    RAMBIT_CHECK(metric >= 0 && metric <= 4 && (reduce == 0 || reduce == 1), "score: unknown metric or reduction");
    RAMBIT_CHECK(a.dtype == Dtype::kFloat || a.dtype == Dtype::kDouble, "score: float32 or float64");
    RAMBIT_CHECK(reference.scalar_type() == outputs.scalar_type() && reference.size(1) == a.C && reference.size(2) == a.T,
                 "score: reference is (B, C, T)");
    RAMBIT_CHECK(base.size(0) * a.slots_per_base == contributions.numel(), "score: one base row for each (mask, draw, series)");
    RAMBIT_CHECK(has_shape(rows, {a.n, kRowColumns}) && has_shape(target, {reference.size(0)}), "score: shapes differ");
    RAMBIT_CHECK(a.K >= 1 && a.K <= width, "score: outputs hold the last K <= width steps");
    a.contributions = plain_out<double>(contributions, ScalarType::Double, "contributions");
    a.outputs = outputs.const_data_ptr();
    a.reference = reference.const_data_ptr();
    a.base = plain<double>(base, ScalarType::Double, "base");
    a.masks = plain<uint8_t>(masks, ScalarType::Bool, "masks");
    a.rows = reinterpret_cast<const Row*>(plain<int32_t>(rows, ScalarType::Int, "rows"));
    a.target = plain<int64_t>(target, ScalarType::Long, "target");
    a.metric = static_cast<Metric>(metric);
    a.reduce = static_cast<Reduce>(reduce);
    if (a.n > 0) Backend::score(a, Backend::stream(contributions));
  }

  static void accumulate(Tensor sum, Tensor squares, Tensor contributions, Tensor unit, Tensor weight,
                         Tensor unit_weight, Tensor count, std::optional<Tensor> own_cell) {
    [[maybe_unused]] const auto guard = enter("accumulate", {{"sum", sum}, {"squares", squares},
                                                             {"contributions", contributions}, {"unit", unit},
                                                             {"weight", weight}, {"unit_weight", unit_weight},
                                                             {"count", count}, {"own_cell", own_cell}});
    AccumulateArgs a{};
    RAMBIT_CHECK(contributions.dim() == 4 && sum.dim() == 2, "accumulate: contributions is (M, S, B, slots), sum (B, cells)");
    a.M = contributions.size(0);
    a.S = contributions.size(1);
    a.B = contributions.size(2);
    a.slots = contributions.size(3);
    a.cells = sum.size(1);
    RAMBIT_CHECK(has_shape(sum, {a.B, a.cells}) && has_shape(squares, {a.B, a.cells}), "accumulate: shapes differ");
    RAMBIT_CHECK(has_shape(unit, {a.M}) && has_shape(weight, {a.M}) && has_shape(unit_weight, {a.M}) && has_shape(count, {a.M}),
                 "accumulate: one unit and weight a mask");
    RAMBIT_CHECK(own_cell.has_value() ? (a.slots == 1 && has_shape(*own_cell, {a.M})) : a.slots == a.cells,
                 "accumulate: slots are all cells, or the mask's own");
    a.sum = plain_out<double>(sum, ScalarType::Double, "sum");
    a.squares = plain_out<double>(squares, ScalarType::Double, "squares");
    a.contributions = plain<double>(contributions, ScalarType::Double, "contributions");
    a.unit = plain<int32_t>(unit, ScalarType::Int, "unit");
    a.weight = plain<double>(weight, ScalarType::Double, "weight");
    a.unit_weight = plain<double>(unit_weight, ScalarType::Double, "unit_weight");
    a.count = plain<double>(count, ScalarType::Double, "count");
    a.own_cell = own_cell.has_value() ? plain<int32_t>(*own_cell, ScalarType::Int, "own_cell") : nullptr;
    if (contributions.numel() > 0) Backend::accumulate(a, Backend::stream(sum));
  }

  static void gru_step(Tensor out, Tensor input_gates, Tensor hidden_gates, Tensor input_bias, Tensor hidden_bias,
                       Tensor state) {
    [[maybe_unused]] const auto guard = enter("gru_step", {{"out", out}, {"input_gates", input_gates},
                                                           {"hidden_gates", hidden_gates}, {"input_bias", input_bias},
                                                           {"hidden_bias", hidden_bias}, {"state", state}});
    GruStepArgs a{};
    read_strides(out, a.out_stride);
    read_strides(input_gates, a.input_stride);
    read_strides(hidden_gates, a.hidden_stride);
    read_strides(state, a.state_stride);
    a.n = out.size(0);
    a.H = out.size(1);
    a.dtype = dtype_of(out);
    const ScalarType type = out.scalar_type();
    RAMBIT_CHECK(a.dtype == Dtype::kFloat || a.dtype == Dtype::kDouble, "gru_step: float32 or float64");
    RAMBIT_CHECK(has_shape(input_gates, {a.n, 3 * a.H}) && has_shape(hidden_gates, {a.n, 3 * a.H}) && has_shape(state, {a.n, a.H}),
                 "gru_step: out and state are (N, H), gates (N, 3 H)");
    RAMBIT_CHECK(has_shape(input_bias, {3 * a.H}) && has_shape(hidden_bias, {3 * a.H}), "gru_step: a bias is (3 H,)");
    RAMBIT_CHECK(input_gates.scalar_type() == type && hidden_gates.scalar_type() == type && state.scalar_type() == type,
                 "gru_step: dtypes differ");
    a.out = out.mutable_data_ptr();
    a.input_gates = input_gates.const_data_ptr();
    a.hidden_gates = hidden_gates.const_data_ptr();
    a.input_bias = plain<void>(input_bias, type, "input_bias");
    a.hidden_bias = plain<void>(hidden_bias, type, "hidden_bias");
    a.state = state.const_data_ptr();
    if (out.numel() > 0) Backend::gru_step(a, Backend::stream(out));
  }

  static void register_all(torch::stable::detail::StableLibrary& m) {
    m.impl("sample_masks", TORCH_BOX(&Glue::sample_masks));
    m.impl("shift_windows", TORCH_BOX(&Glue::shift_windows));
    m.impl("draw", TORCH_BOX(&Glue::draw));
    m.impl("masked_batch", TORCH_BOX(&Glue::masked_batch));
    m.impl("boxed_batch", TORCH_BOX(&Glue::boxed_batch));
    m.impl("distance", TORCH_BOX(&Glue::distance));
    m.impl("score", TORCH_BOX(&Glue::score));
    m.impl("accumulate", TORCH_BOX(&Glue::accumulate));
    m.impl("gru_step", TORCH_BOX(&Glue::gru_step));
  }
};

}  // namespace rambit
