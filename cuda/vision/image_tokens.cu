#include "device/rows.cuh"
#include "ops/image_tokens.h"

namespace moe {
namespace {

/// One block a token.
__global__ void __launch_bounds__(256)
    image_tokens(Rows<const float> patches, const float* class_token, Rows<const float> positions,
                 int N, int H, Rows<float> out) {
  wait_prior_grid();
  launch_dependents();
  const int b = static_cast<int>(blockIdx.x) / N, n = static_cast<int>(blockIdx.x) % N;
  const int first = class_token ? 1 : 0;
  const float* from = n < first ? class_token : patches[int64_t{b} * (N - first) + n - first];
  for (int h = static_cast<int>(threadIdx.x); h < H; h += 256)
    out[blockIdx.x][h] = positions.data ? from[h] + positions[n][h] : from[h];
}

}  // namespace

void ImageTokens::run_cuda(const CudaContext& cuda) const {
  cuda.launch(image_tokens, blocks_for(out.dim(0), 1), 256, 0, rows_of<const float>(patches),
              class_token ? class_token.as<const float>() : nullptr,
              rows_of<const float>(positions), static_cast<int>(tokens()),
              static_cast<int>(patches.dim(1)), rows_of<float>(out));
}

}  // namespace moe
