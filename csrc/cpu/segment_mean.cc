#include "ops/segment_mean.h"

#include "cpu/pieces.h"

namespace moe {

void SegmentMean::run_cpu(const CpuContext& cpu) const {
  const int64_t H = x.dim(1);
  const auto* segment = segments.as<int32_t>();
  cpu.parallel(segment_count(segments), 1, [&](int64_t begin, int64_t end) {
    std::vector<float> sums(static_cast<size_t>(H));
    for (int64_t b = begin; b < end; ++b) {
      std::fill(sums.begin(), sums.end(), 0.f);
      for (int64_t t = segment[b]; t < segment[b + 1]; ++t)
        for_pieces(cpu.kernels, x, t, 0, H, [&](int64_t h, const float* values, int64_t n) {
          cpu.kernels.add_scaled(values, 1.f, n, &sums[h]);
        });
      const auto count = static_cast<float>(std::max(segment[b + 1] - segment[b], 1));
      for (int64_t h = 0; h < H; h += kPiece)
        store_piece(cpu.kernels, out, b, h, std::min(kPiece, H - h), [&](float* to) {
          for (int64_t i = 0; i < std::min(kPiece, H - h); ++i) to[i] = sums[h + i] / count;
        });
    }
  });
}

}  // namespace moe
