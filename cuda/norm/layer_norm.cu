#include "device/rows.cuh"
#include "ops/layer_norm.h"

namespace moe {
namespace {

constexpr int kThreads = 256;

struct Parameters {
  const float *weight, *bias;
  float eps;
  int H;
  bool whole;  // see in_quads()
};

/// One block a token.
template <class X, class T>
__global__ void __launch_bounds__(kThreads)
    layer_norm(Rows<const X> x, const Parameters args, Rows<T> out) {
  wait_prior_grid();
  launch_dependents();
  const int t = static_cast<int>(blockIdx.x), H = args.H;
  const auto size = static_cast<float>(H);
  auto* scratch = reinterpret_cast<float*>(shared_memory());
  float total = 0.f;
  for_quads(H, [&](int h) {
    const Quad quad = load_quad(x[t], h, H, args.whole);
    for (float v : quad.v) total += v;
  });
  const float mean = block_sum(total, scratch) / size;
  float squares = 0.f;
  for_quads(H, [&](int h) {
    const Quad quad = load_quad(x[t], h, H, args.whole);
    for (int j = 0; j < 4; ++j)
      if (h + j < H) squares += (quad.v[j] - mean) * (quad.v[j] - mean);
  });
  const float inverse = 1.f / sqrtf(block_sum(squares, scratch) / size + args.eps);
  for_quads(H, [&](int h) {
    Quad quad = load_quad(x[t], h, H, args.whole);
    const Quad weight = load_quad(args.weight, h, H, args.whole);
    const Quad bias = load_quad(args.bias, h, H, args.whole);
    for (int j = 0; j < 4; ++j) quad.v[j] = (quad.v[j] - mean) * inverse * weight.v[j] + bias.v[j];
    store_quad(out[t], h, H, args.whole, quad);
  });
}

}  // namespace

void LayerNorm::run_cuda(const CudaContext& cuda) const {
  const Parameters args{weight.as<const float>(), bias.as<const float>(), eps,
                        static_cast<int>(x.dim(1)), in_quads(x, weight, bias, out)};
  dispatch_activation(x.dtype, kName, [&](auto x_tag) {
    dispatch_activation(out.dtype, kName, [&](auto tag) {
      using X = decltype(x_tag);
      using T = decltype(tag);
      cuda.launch(layer_norm<X, T>, blocks_for(x.dim(0), 1), kThreads, sizeof(float) * 32,
                  rows_of<const X>(x), args, rows_of<T>(out));
    });
  });
}

}  // namespace moe
