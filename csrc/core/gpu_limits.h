#pragma once

#include <cstddef>
#include <cstdint>

namespace moe {

/// What the kernels of a GPU take at most, for whoever refuses an op before it runs. Lists of
/// experts travel as kernel parameters, so that a captured graph owns them.
struct GpuLimits {
  static constexpr size_t kGroups = 512;               // of a grouped_gemm
  static constexpr size_t kExperts = 1024;             // of a combine, of all kinds
  static constexpr int kSampleRows = 64 * 256;         // of a sample's logits
  static constexpr int64_t kSampleWidth = 704 * 4096;  // of a row of them
};

}  // namespace moe
