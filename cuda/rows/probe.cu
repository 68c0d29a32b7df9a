#include "device/rows.cuh"
#include "ops/probe.h"

namespace moe {
namespace {

constexpr unsigned kThreads = 512, kUnroll = 4;

__global__ void __launch_bounds__(kThreads)
    read_all(const uint4* from, int64_t count, float* sums) {
  wait_prior_grid();
  launch_dependents();
  const int64_t step = int64_t{gridDim.x} * kThreads;
  uint32_t sum = 0;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += kUnroll * step) {
    uint4 v[kUnroll] = {};
#pragma unroll
    for (unsigned u = 0; u < kUnroll; ++u)
      if (i + u * step < count) v[u] = load_stream(from + i + u * step);
#pragma unroll
    for (unsigned u = 0; u < kUnroll; ++u) sum += v[u].x + v[u].y + v[u].z + v[u].w;
  }
  if (sum == 1) sums[blockIdx.x] = 1.f;  // so that nothing is left out
}

__global__ void __launch_bounds__(kThreads) copy_all(const uint4* from, int64_t count, uint4* to) {
  wait_prior_grid();
  launch_dependents();
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += step)
    to[i] = load_stream(from + i);
}

__global__ void nothing() {
  wait_prior_grid();
  launch_dependents();
}

}  // namespace

void Probe::run_cuda(const CudaContext& cuda) const {
  if (kind == ProbeKind::empty) return cuda.launch(nothing, 1, 32, 0);
  const int64_t count = from.dim(0) / 4;
  const auto blocks = static_cast<unsigned>(
      std::min<int64_t>({blocks_for(count, kThreads), 4 * cuda.multiprocessors, kSums}));
  if (kind == ProbeKind::read)
    cuda.launch(read_all, blocks, kThreads, 0, from.as<const uint4>(), count, to.as<float>());
  else
    cuda.launch(copy_all, blocks, kThreads, 0, from.as<const uint4>(), count, to.as<uint4>());
}

}  // namespace moe
