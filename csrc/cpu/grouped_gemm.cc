#include "ops/grouped_gemm.h"

#include "core/os_read_ahead.h"
#include "cpu/gemm.h"

namespace moe {
namespace {

/// Of weights in a mapped file, those that rows chose are asked for at once, so that a disk reads
/// them while the first are multiplied with.
void read_chosen(const std::vector<Weight>& weights, const int32_t* offsets) {
  for (size_t g = 0; g < weights.size(); ++g)
    if (weights[g].slot->in_file && offsets[g + 1] > offsets[g])
      os::read_ahead(weights[g].data(), weights[g].bytes());
}

}  // namespace

void GroupedGemm::run_cpu(const CpuContext& cpu) const {
  read_chosen(weights, offsets.as<int32_t>());
  gemm_cpu(cpu, {.x = x,
                 .offsets = offsets.as<int32_t>(),
                 .weights = weights.data(),
                 .groups = static_cast<int64_t>(weights.size()),
                 .epilogue = epilogue(),
                 .out = out,
                 .scratch = scratch});
}

size_t GroupedGemm::scratch_bytes(const Device* device) const {
  if (device) return static_cast<size_t>(staged_groups()) * weights[0].bytes();
  return gemm_scratch_bytes(x, weights[0].format, static_cast<int64_t>(weights.size()));
}

}  // namespace moe
