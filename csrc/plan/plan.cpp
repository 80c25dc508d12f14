// rambit._plan: the host's row enumeration for Python. Registers, and nothing else.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <stdexcept>

#include "flip_plan.h"

namespace py = pybind11;

namespace rambit {
namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

template <typename T>
std::vector<T> values(const std::optional<Array<T>>& array, int64_t size, const char* name) {
  if (!array.has_value()) return {};
  if (array->size() != size)
    throw py::value_error(std::string(name) + " has " + std::to_string(array->size()) + " values, expected " + std::to_string(size));
  return std::vector<T>(array->data(), array->data() + size);
}

FlipPlan make_plan(int64_t D, int64_t T, int64_t S, int64_t B, int64_t window, bool anchor_cell, bool per_horizon,
                   int start_rule, int state_rule, int64_t at, const Array<int32_t>& first,
                   const Array<int32_t>& h0, const Array<int32_t>& h1, const Array<int32_t>& low,
                   const Array<int32_t>& high, const Array<int32_t>& draw_base,
                   const std::optional<Array<int32_t>>& target_cell,
                   const std::optional<Array<int32_t>>& start, const std::optional<Array<uint8_t>>& skip) {
  const int64_t M = first.size(), cells = D * T;
  if (D < 1 || T < 1 || S < 1 || B < 1 || window < 1) throw py::value_error("D, T, S, B and window must be positive");
  FlipSetting s{D, T, S, B, M, window, anchor_cell, per_horizon, static_cast<StartRule>(start_rule),
                static_cast<StateRule>(state_rule), at,
                values<int32_t>(first, M, "first"), values<int32_t>(h0, M, "h0"), values<int32_t>(h1, M, "h1"),
                values<int32_t>(low, M, "low"), values<int32_t>(high, M, "high"), values<int32_t>(draw_base, M, "draw_base"),
                values<int32_t>(target_cell, M, "target_cell"),
                values<int32_t>(start, M * cells, "start"), values<uint8_t>(skip, S * B * cells, "skip")};
  if (s.start_rule == StartRule::kTable && s.start.empty()) throw py::value_error("this start rule needs the start table");
  const auto within = [](const std::vector<int32_t>& v, int64_t low, int64_t high, const char* name) {
    for (const int32_t value : v)
      if (value < low || value > high)
        throw py::value_error(std::string(name) + " holds " + std::to_string(value) + ", expected " + std::to_string(low) +
                              " to " + std::to_string(high));
  };
  within({start_rule}, 0, static_cast<int64_t>(StartRule::kLast), "start_rule");
  within({state_rule}, 0, static_cast<int64_t>(StateRule::kLast), "state_rule");
  within(s.target_cell, 0, cells - 1, "target_cell");
  within(s.low, 0, T, "low");
  within(s.high, 0, T, "high");
  within(s.h0, 0, INT32_MAX, "h0");
  within(s.h1, 0, T, "h1");
  within(s.start, 0, T - 1, "start");
  // Slots and states are int32 in a row, to keep rows small; the caller's memory bound stays far below.
  if (M * S * B * (target_cell.has_value() ? 1 : cells) > INT32_MAX || T * B * (1 + M * S) > INT32_MAX)
    throw py::value_error("too many rows for one plan: evaluate fewer masks at a time");
  return FlipPlan(std::move(s));
}

py::object next_rows(FlipPlan& plan, int64_t limit) {
  if (limit < 1) throw py::value_error("limit must be positive");
  py::array_t<int32_t> rows({limit, kRowColumns});
  int64_t width = 0, n = 0;
  Row* out = reinterpret_cast<Row*>(rows.mutable_data());
  {
    py::gil_scoped_release release;
    n = plan.next(out, limit, &width);
  }
  if (n == 0) return py::none();
  return py::make_tuple(rows[py::slice(0, n, 1)], width);
}

}  // namespace
}  // namespace rambit

PYBIND11_MODULE(_plan, m) {
  m.doc() = "Row plans: which masked inputs a question must evaluate (no torch).";
  m.attr("ROW_COLUMNS") = rambit::kRowColumns;
  py::class_<rambit::FlipPlan>(m, "FlipPlan")
      .def(py::init(&rambit::make_plan), py::kw_only(), py::arg("D"), py::arg("T"), py::arg("S"), py::arg("B"),
           py::arg("window"), py::arg("anchor_cell"), py::arg("per_horizon"), py::arg("start_rule"), py::arg("state_rule"), py::arg("at"), py::arg("first"), py::arg("h0"), py::arg("h1"),
           py::arg("low"), py::arg("high"), py::arg("draw_base"), py::arg("target_cell") = py::none(), py::arg("start") = py::none(),
           py::arg("skip") = py::none())
      .def_property_readonly("rows", &rambit::FlipPlan::rows)
      .def_property_readonly("row_steps", &rambit::FlipPlan::row_steps)
      .def("next", &rambit::next_rows, py::arg("limit"));
}
