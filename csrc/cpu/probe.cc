#include "ops/probe.h"

#include <cstring>

#include "cpu/context.h"

namespace moe {

void Probe::run_cpu(const CpuContext& cpu) const {
  if (kind == ProbeKind::empty) return;
  constexpr int64_t kPiece = 65536;
  const int64_t n = from.dim(0);
  cpu.parallel((n + kPiece - 1) / kPiece, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* piece = from.as<float>() + i * kPiece;
      const int64_t count = std::min(kPiece, n - i * kPiece);
      if (kind == ProbeKind::read)
        to.as<float>()[i % kSums] = cpu.kernels.read_all(piece, count);
      else
        std::memcpy(to.as<float>() + i * kPiece, piece, static_cast<size_t>(count) * sizeof(float));
    }
  });
}

}  // namespace moe
