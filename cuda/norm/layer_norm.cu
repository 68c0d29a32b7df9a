#include "device/rows.cuh"
#include "ops/layer_norm.h"

namespace moe {
namespace {

constexpr int kThreads = 256;

struct Parameters {
  const float *weight, *bias;  // bias: or null
  float eps;
  int D, groups;  // values that are normed together, and how many such runs a row has
  bool whole;     // see in_quads()
};

/// One block a run of D values.
template <class X, class T>
__global__ void __launch_bounds__(kThreads)
    layer_norm(Rows<const X> x, const Parameters args, Rows<T> out) {
  wait_prior_grid();
  launch_dependents();
  const int t = static_cast<int>(blockIdx.x) / args.groups, D = args.D;
  const int first = static_cast<int>(blockIdx.x) % args.groups * D;
  const auto size = static_cast<float>(D);
  const X* from = x[t] + first;
  auto* scratch = reinterpret_cast<float*>(shared_memory());
  float total = 0.f;
  for_quads(D, [&](int h) {
    const Quad quad = load_quad(from, h, D, args.whole);
    for (float v : quad.v) total += v;
  });
  const float mean = block_sum(total, scratch) / size;
  float squares = 0.f;
  for_quads(D, [&](int h) {
    const Quad quad = load_quad(from, h, D, args.whole);
    for (int j = 0; j < 4; ++j)
      if (h + j < D) squares += (quad.v[j] - mean) * (quad.v[j] - mean);
  });
  const float inverse = 1.f / sqrtf(block_sum(squares, scratch) / size + args.eps);
  for_quads(D, [&](int h) {
    Quad quad = load_quad(from, h, D, args.whole);
    const Quad weight = load_quad(args.weight, h, D, args.whole);
    const Quad bias = args.bias ? load_quad(args.bias, h, D, args.whole) : Quad{};
    for (int j = 0; j < 4; ++j) quad.v[j] = (quad.v[j] - mean) * inverse * weight.v[j] + bias.v[j];
    store_quad(out[t] + first, h, D, args.whole, quad);
  });
}

}  // namespace

void LayerNorm::run_cuda(const CudaContext& cuda) const {
  const auto D = static_cast<int>(weight.dim(0));
  const int groups = D == 0 ? 0 : static_cast<int>(x.dim(1)) / D;
  const Parameters args{
      weight.as<const float>(),      bias ? bias.as<const float>() : nullptr, eps, D, groups,
      in_quads(x, weight, bias, out)};
  dispatch_activation(x.dtype, kName, [&](auto x_tag) {
    dispatch_activation(out.dtype, kName, [&](auto tag) {
      using X = decltype(x_tag);
      using T = decltype(tag);
      cuda.launch(layer_norm<X, T>, blocks_for(x.dim(0) * groups, 1), kThreads, sizeof(float) * 32,
                  rows_of<const X>(x), args, rows_of<T>(out));
    });
  });
}

}  // namespace moe
