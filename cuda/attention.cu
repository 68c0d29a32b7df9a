// Few tokens of a sequence, and any dtype and head size. Bound by the bandwidth of the cache.

#include "attention.cuh"

namespace moe {
namespace {

constexpr int kWarps = 4;

/// A running softmax: the best score, the total of exp(score - best), and the values' sums.
struct Softmax {
  float best = -INFINITY, total = 0.f;

  /// Moves to a better score and returns what the sums so far are multiplied by.
  __device__ float raise(float score) {
    const float top = fmaxf(best, score);
    const float keep = best == -INFINITY ? 0.f : expf(best - top);
    best = top;
    total *= keep;
    return keep;
  }
};

/// One block for a query head of a token and one split of its keys. A warp takes every fourth cache
/// block: lane j scores key j, then lane l sums the values' columns l, l + 32, ..., C of them.
template <class T, int C>
__global__ void __launch_bounds__(32 * kWarps)
    attention(const AttentionArgs args, Rows<const T> q, const T* keys, const T* values,
              Rows<T> out) {
  auto* query = reinterpret_cast<float*>(shared_memory());  // [D]
  float* warp_sums = query + args.D;                        // [warps, D]
  auto* softmaxes = reinterpret_cast<Softmax*>(warp_sums + kWarps * args.D);
  wait_for_grid();
  release_grid();
  const int t = static_cast<int>(blockIdx.x), n = static_cast<int>(blockIdx.y);
  const int split = static_cast<int>(blockIdx.z);
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  if (args.runs_apart && in_long_run(args, t)) return;
  const int D = args.D, g = n / (args.N / args.G);
  const int first = args.starts[t], last = args.positions[t];
  const int begin = max(first / kKeys, split * args.split_blocks);
  const int end = min(last / kKeys + 1, (split + 1) * args.split_blocks);
  for (int d = static_cast<int>(threadIdx.x); d < D; d += 32 * kWarps)
    query[d] = to_float(q[t][n * D + d]);
  __syncthreads();

  Softmax softmax;
  float sums[C] = {};
  for (int block = begin + warp; block < end; block += kWarps) {
    const int64_t base =
        (int64_t{args.block_table[args.sequences[t]][block]} * args.G + g) * D * kKeys;
    const int position = block * kKeys + lane;
    float score = 0.f;
    for (int d = 0; d < D; ++d) score += query[d] * to_float(keys[base + d * kKeys + lane]);
    score = position < first || position > last ? -INFINITY : score * args.scale;
    const float best = warp_max(score);
    const float keep = softmax.raise(best);
    const float p = score == -INFINITY ? 0.f : expf(score - softmax.best);
    softmax.total += warp_sum(p);
    for (int i = 0; i < C; ++i) sums[i] *= keep;
    const int count = min(kKeys, last - block * kKeys + 1);
    for (int j = 0; j < count; ++j) {
      const float weight = __shfl_sync(~0u, p, j);
      for (int i = 0; i < C; ++i)
        if (lane + 32 * i < D) sums[i] += weight * to_float(values[base + j * D + lane + 32 * i]);
    }
  }

  for (int i = 0; i < C; ++i)
    if (lane + 32 * i < D) warp_sums[warp * D + lane + 32 * i] = sums[i];
  if (lane == 0) softmaxes[warp] = softmax;
  __syncthreads();
  float best = -INFINITY, total = 0.f, factor[kWarps];
  for (int w = 0; w < kWarps; ++w) best = fmaxf(best, softmaxes[w].best);
  for (int w = 0; w < kWarps; ++w) {
    factor[w] = softmaxes[w].best == -INFINITY ? 0.f : expf(softmaxes[w].best - best);
    total += factor[w] * softmaxes[w].total;
  }
  float* partial = args.partial + ((int64_t{t} * args.N + n) * args.splits + split) * (D + 2);
  for (int d = static_cast<int>(threadIdx.x); d < D; d += 32 * kWarps) {
    float sum = 0.f;
    for (int w = 0; w < kWarps; ++w) sum += factor[w] * warp_sums[w * D + d];
    if (args.splits == 1)
      out[t][n * D + d] = from_f32<T>(sum / total);
    else
      partial[d] = sum;
  }
  if (args.splits > 1 && threadIdx.x == 0) {
    partial[D] = best;
    partial[D + 1] = total;
  }
}

/// One block for a query head of a token.
template <class T>
__global__ void merge_splits(const AttentionArgs args, Rows<T> out) {
  wait_for_grid();
  release_grid();
  const int t = static_cast<int>(blockIdx.x), n = static_cast<int>(blockIdx.y), D = args.D;
  if (args.runs_apart && in_long_run(args, t)) return;
  const float* partial = args.partial + (int64_t{t} * args.N + n) * args.splits * (D + 2);
  float best = -INFINITY, total = 0.f;
  for (int s = 0; s < args.splits; ++s) best = fmaxf(best, partial[s * (D + 2) + D]);
  const auto factor = [&](int s) {
    const float own = partial[s * (D + 2) + D];
    return own == -INFINITY ? 0.f : expf(own - best);
  };
  for (int s = 0; s < args.splits; ++s) total += factor(s) * partial[s * (D + 2) + D + 1];
  for (int d = static_cast<int>(threadIdx.x); d < D; d += static_cast<int>(blockDim.x)) {
    float sum = 0.f;
    for (int s = 0; s < args.splits; ++s) {
      const float f = factor(s);
      if (f != 0.f) sum += f * partial[s * (D + 2) + d];
    }
    out[t][n * D + d] = from_f32<T>(sum / total);
  }
}

template <class T>
void run(const CudaContext& cuda, const Attention& op) {
  const auto T_ = static_cast<unsigned>(op.q.dim(0));
  const auto D = static_cast<int>(op.keys.dim(2)), N = static_cast<int>(op.q.dim(1)) / D;
  AttentionArgs args{op.positions.as<const int32_t>(),
                     op.starts.as<const int32_t>(),
                     op.sequences.as<const int32_t>(),
                     rows_of<const int32_t>(op.block_table),
                     op.scale,
                     static_cast<int>(T_),
                     N,
                     static_cast<int>(op.keys.dim(1)),
                     D,
                     static_cast<int>(op.splits()),
                     static_cast<int>(op.split_blocks()),
                     op.scratch.as<float>(),
                     false};
  args.runs_apart = sizeof(T) == 2 && args.T >= kLongRun && attention_runs(cuda, op, args);
  if (args.runs_apart && op.block_table.dim(0) == 1) return;  // one sequence: one long run
  const auto launch = [&](auto kernel) {
    const size_t shared = sizeof(float) * static_cast<size_t>((1 + kWarps) * D + 2 * kWarps);
    cuda.launch(kernel, {T_, static_cast<unsigned>(N), static_cast<unsigned>(args.splits)},
                32 * kWarps, shared, args, rows_of<const T>(op.q), op.keys.as<const T>(),
                op.values.as<const T>(), rows_of<T>(op.out));
  };
  if (D <= 64)
    launch(attention<T, 2>);
  else if (D <= 128)
    launch(attention<T, 4>);
  else if (D <= 256)
    launch(attention<T, 8>);
  else
    launch(attention<T, 32>);
  if (args.splits > 1)
    cuda.launch(merge_splits<T>, {T_, static_cast<unsigned>(N)}, 128, 0, args, rows_of<T>(op.out));
}

}  // namespace

void Attention::run_cuda(const CudaContext& cuda) const {
  dispatch_activation(keys.dtype, kName, [&](auto tag) { run<decltype(tag)>(cuda, *this); });
}

}  // namespace moe
