// Boxed batches: any strides and element size, over what the rows held before.
#include "check.h"

namespace rambit {
namespace {

struct BoxCase {
  int64_t n = 5, C = 2, Z = 3, Y = 4, X = 6;
  std::vector<Box> boxes;
  std::vector<int64_t> offsets{0};

  BoxCase() {
    const auto range = [](int32_t& from, int32_t& to, int64_t size) {
      from = static_cast<int32_t>(pick(0, size)), to = static_cast<int32_t>(pick(0, size));  // some are empty
    };
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t k = pick(0, 3); k > 0; --k) {
        Box b{};
        range(b.z0, b.z1, Z), range(b.y0, b.y1, Y), range(b.x0, b.x1, X);
        boxes.push_back(b);
      }
      offsets.push_back(static_cast<int64_t>(boxes.size()));
    }
  }
  bool kept(int64_t i, int64_t z, int64_t y, int64_t x) const {
    for (int64_t k = offsets[i]; k < offsets[i + 1]; ++k) {
      const Box& b = boxes[k];
      if (b.z0 <= z && z < b.z1 && b.y0 <= y && y < b.y1 && b.x0 <= x && x < b.x1) return true;
    }
    return false;
  }
};

template <typename T>
bool boxes_agree(const BoxCase& c, const BoxCase* before, const std::vector<int64_t>& so, const std::vector<int64_t>& sv) {
  int64_t room = 1, values_room = 1;
  const std::vector<int64_t> sizes{c.n, c.C, c.Z, c.Y, c.X};
  for (size_t i = 0; i < 5; ++i) room += (sizes[i] - 1) * so[i];
  for (size_t i = 0; i < 4; ++i) values_room += (sizes[i + 1] - 1) * sv[i];
  Sparse out(room * sizeof(T)), inside(values_room * sizeof(T)), outside(values_room * sizeof(T));
  const auto value = [&](int64_t ch, int64_t z, int64_t y, int64_t x, bool in) {
    return static_cast<T>((((ch * c.Z + z) * c.Y + y) * c.X + x) % 100 + (in ? 100 : 0));
  };
  const auto each = [&](auto f) {
    for (int64_t ch = 0; ch < c.C; ++ch)
      for (int64_t z = 0; z < c.Z; ++z)
        for (int64_t y = 0; y < c.Y; ++y)
          for (int64_t x = 0; x < c.X; ++x) f(ch, z, y, x, ch * sv[0] + z * sv[1] + y * sv[2] + x * sv[3]);
  };
  each([&](int64_t ch, int64_t z, int64_t y, int64_t x, int64_t at) {
    inside.as<T>()[at] = value(ch, z, y, x, true);
    outside.as<T>()[at] = value(ch, z, y, x, false);
  });
  BoxedBatchArgs a{};
  a.out = out.as<T>(), a.inside = inside.as<T>(), a.outside = outside.as<T>();
  a.n = c.n, a.C = c.C, a.Z = c.Z, a.Y = c.Y, a.X = c.X, a.bytes = sizeof(T);
  set_strides(a.out_stride, so);
  set_strides(a.inside_stride, sv);
  set_strides(a.outside_stride, sv);
  if (before != nullptr) {
    a.boxes = before->boxes.data(), a.offsets = before->offsets.data(), a.count = static_cast<int64_t>(before->boxes.size());
    kernels.boxed_batch(a, nullptr);
    a.stale_boxes = a.boxes, a.stale_offsets = a.offsets, a.stale_count = a.count, a.stale = before->n;
  }
  a.boxes = c.boxes.data(), a.offsets = c.offsets.data(), a.count = static_cast<int64_t>(c.boxes.size());
  kernels.boxed_batch(a, nullptr);
  bool right = true;
  for (int64_t i = 0; i < c.n; ++i)
    each([&](int64_t ch, int64_t z, int64_t y, int64_t x, int64_t) {
      const T found = out.as<T>()[i * so[0] + ch * so[1] + z * so[2] + y * so[3] + x * so[4]];
      right = right && found == value(ch, z, y, x, c.kept(i, z, y, x));
    });
  return right;
}

void test_boxed_batch() {
  for (int round = 0; round < 20; ++round) {
    const BoxCase c, before;
    for (const bool last : {false, true}) {
      const auto so = packed({c.n, c.C, c.Z, c.Y, c.X}, last), sv = packed({c.C, c.Z, c.Y, c.X}, !last);
      for (const BoxCase* stale : {static_cast<const BoxCase*>(nullptr), &before})
        CHECK(boxes_agree<uint8_t>(c, stale, so, sv) && boxes_agree<float>(c, stale, so, sv) && boxes_agree<double>(c, stale, so, sv));
    }
    CHECK(boxes_agree<float>(c, &before, packed({c.n, c.C, c.Z, c.Y, c.X}, false), packed({c.C, c.Z, c.Y, c.X}, false)));
  }
}

void test_boxed_batch_beyond_int32() {
  const BoxCase c, before;
  const int64_t far = 2 * kGiga;
  CHECK(boxes_agree<uint8_t>(c, &before, {far * 4, far * 2, 64, 8, 1}, {far, 64, 8, 1}));
  CHECK(boxes_agree<uint8_t>(c, nullptr, {1, 8, 64, 512, far}, {1, 2, far, 16}));
}

}  // namespace

std::vector<Test> boxed_batch_tests() {
  return {
      {"boxed_batch", test_boxed_batch, On::kEveryBackend},
      {"boxed_batch beyond int32", test_boxed_batch_beyond_int32, On::kEveryBackend},
  };
}

}  // namespace rambit
