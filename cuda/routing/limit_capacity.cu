#include "ops/limit_capacity.h"
#include "routing/place.cuh"

namespace moe {
namespace {

constexpr int kThreads = 256;

struct CapacityArgs {
  const int32_t* ids;  // [T, K]
  const float* weights;
  const int32_t* segments;
  int T, K, E, B, capacity;
  CapacityOrder order;
  float threshold;
  int32_t *rows, *offsets;

  __device__ bool wanted(int s) const { return s % K == 0 || weights[s] > threshold; }
  __device__ float priority(int t) const {
    const float best = weights[int64_t{t} * K];
    return isnan(best) ? -INFINITY : best;
  }
  /// Slot a is served before slot b, another one of the same expert.
  __device__ bool before(int a, int b) const {
    if (order == CapacityOrder::token) return a < b;
    if (a % K != b % K) return a % K < b % K;
    if (order == CapacityOrder::choice) return a < b;
    const float x = priority(a / K), y = priority(b / K);
    return x > y || (x == y && a < b);
  }
};

/// One thread a slot counts who comes before it among its segment's slots of the same expert, so
/// that nothing is sorted; the last block then places what is served.
__global__ void __launch_bounds__(kThreads)
    limit_capacity(const CapacityArgs args, unsigned* counter) {
  auto* shared = reinterpret_cast<int*>(shared_memory());
  wait_prior_grid();
  launch_dependents();
  const int slot = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), K = args.K;
  if (slot < args.T * K) {
    const int b = segment_of(args.segments, args.B, slot / K), id = args.ids[slot];
    bool served = args.wanted(slot);
    int before = 0;
    for (int s = args.segments[b] * K; served && s < args.segments[b + 1] * K; ++s)
      if (args.ids[s] == id && s != slot && args.wanted(s) && args.before(s, slot))
        served = ++before < args.capacity;
    args.rows[slot] = served ? 0 : -1;
  }
  if (!is_last(counter, gridDim.x, shared)) return;
  place(
      args.T, K, args.E, [&](int s) { return args.rows[s] < 0 ? -1 : args.ids[s]; },
      Rows<int32_t>{args.rows, K}, args.offsets, shared + 1);
}

}  // namespace

void LimitCapacity::run_cuda(const CudaContext& cuda) const {
  const CapacityArgs args{ids.as<const int32_t>(),
                          weights.as<const float>(),
                          segments.as<const int32_t>(),
                          static_cast<int>(ids.dim(0)),
                          static_cast<int>(ids.dim(1)),
                          static_cast<int>(experts),
                          static_cast<int>(segment_count(segments)),
                          static_cast<int>(std::min<int64_t>(capacity, INT32_MAX)),
                          order,
                          threshold,
                          rows.as<int32_t>(),
                          offsets.as<int32_t>()};
  const unsigned blocks = std::max(blocks_for(ids.shape.count(), kThreads), 1u);
  cuda.launch(limit_capacity, blocks, kThreads, sizeof(int) + place_bytes(args.E, kThreads / 32),
              args, cuda.counters);
}

}  // namespace moe
