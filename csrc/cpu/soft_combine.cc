#include "ops/soft_combine.h"

#include "cpu/mix_rows.h"

namespace moe {

void SoftCombine::run_cpu(const CpuContext& cpu) const {
  const int64_t H = residual.dim(1), S = weights.dim(1), B = segment_count(segments);
  const int64_t P = S / experts, pieces = (H + kPiece - 1) / kPiece;
  const auto* segment = segments.as<int32_t>();
  int64_t longest = 0;
  for (int64_t b = 0; b < B; ++b) longest = std::max<int64_t>(longest, segment[b + 1] - segment[b]);
  const int64_t parts = (longest + kMixedSums - 1) / kMixedSums;
  cpu.parallel(B * parts * pieces, 1, [&](int64_t begin, int64_t end) {
    MixedRows rows;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / pieces / parts, from = segment[b] + i / pieces % parts * kMixedSums;
      const int64_t m = std::min(kMixedSums, segment[b + 1] - from);
      if (m <= 0) continue;
      const int64_t first = i % pieces * kPiece, n = std::min(kPiece, H - first);
      for (int64_t t = from; t < from + m; ++t)
        if (out.row<float>(t) != residual.row<float>(t))
          std::copy_n(residual.row<float>(t) + first, n, out.row<float>(t) + first);
      for (int64_t s = 0; s < S; s += kMixed) {
        rows.read(cpu.kernels, expert_out, first, n, std::min(kMixed, S - s),
                  [&](int64_t j) { return ((s + j) / P * B + b) * P + (s + j) % P; });
        rows.add(
            cpu.kernels, m, [&](int64_t t) { return out.row<float>(from + t) + first; },
            [&](int64_t t, int64_t j) { return weights.row<float>(from + t)[s + j]; });
      }
    }
  });
}

}  // namespace moe
