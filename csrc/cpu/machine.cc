#include "cpu/machine.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "core/buffer.h"
#include "core/error.h"

namespace moe {
namespace {

template <class Body>
double time_of(const CpuContext& cpu, int64_t items, const Body& body) {
  const auto started = std::chrono::steady_clock::now();
  cpu.parallel(items, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i);
  });
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
}

Probed probe_read(const CpuContext& cpu) {
  constexpr int64_t kBytes = int64_t{512} << 20, kPiece = int64_t{1} << 20;  // far beyond any cache
  const Buffer memory(kBytes);
  std::fill_n(reinterpret_cast<float*>(memory.data()), kBytes / sizeof(float), 1.f);
  double best = 1e9;
  for (int round = 0; round < 3; ++round)
    best = std::min(best, time_of(cpu, kBytes / kPiece, [&](int64_t i) {
                      volatile float sink = cpu.kernels.read_all(
                          reinterpret_cast<const float*>(memory.data() + i * kPiece),
                          kPiece / sizeof(float));
                      (void)sink;
                    }));
  return {static_cast<double>(kBytes), best};
}

/// Writes memory that the process has not had before, once.
Probed probe_fresh(const CpuContext& cpu) {
  constexpr int64_t kBytes = int64_t{1} << 30, kPiece = int64_t{1} << 21;
  const Buffer memory(kBytes);
  return {static_cast<double>(kBytes), time_of(cpu, kBytes / kPiece, [&](int64_t i) {
            std::memset(memory.data() + i * kPiece, 1, kPiece);
          })};
}

Probed probe_rate(const CpuContext& cpu, double (*spin)(int64_t)) {
  if (!spin) return {0, 1};
  constexpr int64_t kRounds = 2'000'000;
  const int64_t items = 4 * cpu.threads;
  double best = 1e9, work = 0;
  for (int round = 0; round < 3; ++round) {
    const double seconds = time_of(cpu, items, [&](int64_t) { work = spin(kRounds); });
    best = std::min(best, seconds);
  }
  return {work * static_cast<double>(items), best};
}

}  // namespace

Probed probe(const CpuContext& cpu, const std::string& kind) {
  if (kind == "read") return probe_read(cpu);
  if (kind == "fresh") return probe_fresh(cpu);
  if (kind == "f32") return probe_rate(cpu, cpu.kernels.spin_f32);
  if (kind == "bf16_dot") return probe_rate(cpu, cpu.kernels.spin_dot);
  fail(Code::option, "probe: kind must be read | fresh | f32 | bf16_dot, got ", kind);
}

}  // namespace moe
