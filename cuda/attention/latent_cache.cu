#include "norm/norm.cuh"
#include "ops/latent_cache.h"
#include "rope_cache.cuh"

namespace moe {
namespace {

/// One block a token: its query heads, then its row of the cache.
template <class X, class T>
__global__ void __launch_bounds__(kNormThreads)
    latent_cache(const RopeArgs<T> args, const NormArgs<X> norm, float scale, Rows<T> cache) {
  wait_prior_grid();
  launch_dependents();
  const int t = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const int pairs = args.rotary / 2, C = norm.H;
  for (int i = thread; i < args.N * pairs; i += kNormThreads)
    args.rotate_query(t, i / pairs, i % pairs);
  const X* r = norm.x[t] + C;
  T* row = cache[args.slots[t]];
  for (int j = thread; j < args.rotary; j += kNormThreads)
    row[C + j] = from_f32<T>(args.turned(r, t, j));
  auto* scratch = reinterpret_cast<float*>(shared_memory());
  norm_rows(norm, t, 1, scratch, [&](int, int h, Quad quad) {
    for (float& v : quad.v) v *= scale;
    store_quad(row, h, C, norm.whole, quad);
  });
}

}  // namespace

void LatentCache::run_cuda(const CudaContext& cuda) const {
  dispatch_activation(cache.dtype, kName, [&](auto tag) {
    using Value = decltype(tag);
    RopeArgs<Value> args{};
    args.q = rows_of<Value>(q);
    args.positions = positions.as<const int32_t>();
    args.slots = slots.as<const int32_t>();
    args.table = rows_of<const float>(table);
    args.rotary = static_cast<int>(table.dim(1));
    args.N = static_cast<int>(heads);
    args.D = static_cast<int>(q.dim(1) / heads);
    const int64_t C = weight.dim(0);
    dispatch_activation(latent.dtype, kName, [&](auto x_tag) {
      using X = decltype(x_tag);
      const NormArgs<X> norm{rows_of<const X>(latent), weight.as<const float>(), eps,
                             static_cast<int>(C), C % 4 == 0 && in_quads(latent, weight, cache)};
      cuda.launch(latent_cache<X, Value>, blocks_for(q.dim(0), 1), kNormThreads,
                  sizeof(float) * norm_scratch(1), args, norm, scale, rows_of<Value>(cache));
    });
  });
}

}  // namespace moe
