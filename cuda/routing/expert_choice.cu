#include "ops/expert_choice.h"
#include "routing/place.cuh"

namespace moe {
namespace {

constexpr int kThreads = 256;

struct ChoiceArgs {
  const float* logits;  // [T, E]
  const int32_t* segments;
  int T, E, B, capacity;
  int32_t* ids;
  float* weights;
  int32_t *rows, *offsets;
};

/// One warp a token.
__global__ void __launch_bounds__(kThreads) token_softmax(const ChoiceArgs args) {
  wait_prior_grid();
  launch_dependents();
  const int t = static_cast<int>((blockIdx.x * blockDim.x + threadIdx.x) / 32);
  const int lane = static_cast<int>(threadIdx.x % 32), E = args.E;
  if (t >= args.T) return;
  const float* z = args.logits + int64_t{t} * E;
  float *p = args.weights + int64_t{t} * E, top = -INFINITY, total = 0.f;
  bool defined = true;
  for (int e = lane; e < E; e += 32) {
    top = fmaxf(top, z[e]);
    defined &= z[e] < INFINITY;  // and not NaN
  }
  top = warp_max(top);
  for (int e = lane; e < E; e += 32) total += expf(z[e] - top);
  total = warp_sum(total);
  if (__ballot_sync(~0u, defined) != ~0u) total = NAN;
  for (int e = lane; e < E; e += 32) {
    p[e] = expf(z[e] - top) / total;
    args.ids[int64_t{t} * E + e] = e;
  }
}

/// One thread a pair counts the tokens of the segment that the expert likes better, so that nothing
/// is sorted; the last block then places what is taken.
__global__ void __launch_bounds__(kThreads) take_tokens(const ChoiceArgs args, unsigned* counter) {
  auto* shared = reinterpret_cast<int*>(shared_memory());
  wait_prior_grid();
  launch_dependents();
  const int slot = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), E = args.E;
  if (slot < args.T * E) {
    const auto key = [&](int t) {
      const float p = args.weights[int64_t{t} * E + slot % E];
      return isnan(p) ? -1.f : p;
    };
    const int token = slot / E, b = segment_of(args.segments, args.B, token);
    const float own = key(token);
    int before = 0;
    for (int t = args.segments[b]; before < args.capacity && t < args.segments[b + 1]; ++t) {
      const float other = key(t);
      before += other > own || (other == own && t < token);
    }
    args.rows[slot] = before < args.capacity ? 0 : -1;
  }
  if (!is_last(counter, gridDim.x, shared)) return;
  place(
      args.T, E, E, [&](int s) { return args.rows[s] < 0 ? -1 : s % E; },
      Rows<int32_t>{args.rows, E}, args.offsets, shared + 1);
}

}  // namespace

void ExpertChoice::run_cuda(const CudaContext& cuda) const {
  const ChoiceArgs args{logits.as<const float>(),
                        segments.as<const int32_t>(),
                        static_cast<int>(logits.dim(0)),
                        static_cast<int>(logits.dim(1)),
                        static_cast<int>(segment_count(segments)),
                        static_cast<int>(std::min<int64_t>(capacity, INT32_MAX)),
                        ids.as<int32_t>(),
                        weights.as<float>(),
                        rows.as<int32_t>(),
                        offsets.as<int32_t>()};
  cuda.launch(token_softmax, blocks_for(args.T, kThreads / 32), kThreads, 0, args);
  cuda.launch(take_tokens, std::max(blocks_for(logits.shape.count(), kThreads), 1u), kThreads,
              sizeof(int) + place_bytes(args.E, kThreads / 32), args, cuda.counters);
}

}  // namespace moe
