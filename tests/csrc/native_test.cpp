// Runs the tests of the C++ without torch: the kernels of the CPU in one piece and item by item, and those of CUDA on the
// host, in several orders.
#include <utility>

#include "check.h"
#include "cpu/parallel.h"

namespace rambit {

namespace cpu {

int64_t chunk = 1 << 30;

// Serial, so that the sanitizers see every access.
void run_parallel(int64_t n, int64_t, RangeBody body, void* context) {
  for (int64_t begin = host::only_last ? n - 1 : 0; begin < n; begin += chunk) body(context, begin, std::min(n, begin + chunk));
}

}  // namespace cpu

namespace {

#define RAMBIT_OF_CPU(name, Args) cpu::name,
#define RAMBIT_OF_CUDA(name, Args) cuda::name,

void run(const Test& test, const char* backend) {
  try {
    test.run();
  } catch (const std::exception& error) {
    ++failed;
    std::printf("%s on %s: %s\n", test.name, backend, error.what());
  }
}

int run_all() {
  std::vector<Test> tests;
  for (const auto& more : {number_tests(), mask_tests(), masked_batch_tests(), boxed_batch_tests(), window_tests(), score_tests(),
                           plan_tests(), backend_tests()})
    tests.insert(tests.end(), more.begin(), more.end());
  for (const Test& test : tests)
    if (test.on == On::kOnce) run(test, "no backend");
  kernels = Kernels{RAMBIT_OPS(RAMBIT_OF_CPU)};
  for (const int64_t chunk : {int64_t{1} << 30, int64_t{1}}) {  // in one piece, and item by item as many threads would
    cpu::chunk = chunk;
    for (const Test& test : tests)
      if (test.on != On::kOnce) run(test, "cpu");
  }
  const int on_cpu = passed;
  kernels = Kernels{RAMBIT_OPS(RAMBIT_OF_CUDA)};
  for (const auto order : {host::Order::kForward, host::Order::kBackward, host::Order::kScattered}) {
    host::order = order;
    for (const Test& test : tests)
      if (test.on == On::kEveryBackend) run(test, "cuda");
  }
  std::printf("%d passed (%d of them on the CUDA kernels), %d failed\n", passed, passed - on_cpu, failed);
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace rambit

int main() { return rambit::run_all(); }
