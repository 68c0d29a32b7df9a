// One MoE block (norm, router, top-k, experts with SwiGLU, weighted sum) by moe-native's own ops,
// on random weights of any format.
#pragma once
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "core/op.h"
#include "core/plan.h"
#include "core/pool.h"
#include "cpu/isa/select.h"
#include "ops/combine.h"
#include "ops/grouped_gemm.h"
#include "ops/linear.h"
#include "ops/permute.h"
#include "ops/rms_norm.h"
#include "ops/top_k.h"
#include "weights/format.h"
#include "weights/random.h"

struct Shape {
  int H, I, E, K;
};

class Block {
 public:
  Block(const std::string& format, Shape s, int threads) : shape_(s), threads_(threads) {
    const auto make = [&](int64_t n, int64_t k, moe::WeightFormat format, bool gate_up,
                          float size) {
      moe::Weight weight = moe::make_weight(n, k, format, gate_up, nullptr);
      moe::fill_random(context(), weight, 0, size / std::sqrt(static_cast<float>(k)), ++seed_);
      return weight;
    };
    const moe::WeightFormat id = moe::read_format(format);
    router_ = make(s.E, s.H, moe::WeightFormat::f32, false, 1);
    for (int e = 0; e < s.E; ++e) {
      up_.push_back(make(2 * s.I, s.H, id, true, 1));
      down_.push_back(make(s.H, s.I, id, false, .2f));
    }
    norm_ = moe::make_tensor({s.H}, moe::DType::f32);
    std::fill_n(norm_.as<float>(), s.H, 1.f);
  }

  void prepare(int T) {
    ops_.emplace();
    Ops& o = *ops_;
    o.x = moe::make_tensor({T, shape_.H}, moe::DType::f32);
    o.norm.x = o.x, o.norm.weight = norm_, o.norm.eps = 1e-5f;
    place(o.norm);
    o.project.x = o.norm.out, o.project.weight = router_;
    place(o.project);
    o.choice.logits = o.project.out, o.choice.top_k = shape_.K;
    o.choice.kinds.assign(static_cast<size_t>(shape_.E), moe::ExpertKind::ffn);
    place(o.choice);
    o.permute.x = o.norm.out, o.permute.rows = o.choice.rows;
    place(o.permute);
    o.up.x = o.permute.out, o.up.offsets = o.choice.offsets, o.up.weights = up_;
    o.up.activation = moe::Activation::swiglu;
    place(o.up);
    o.down.x = o.up.out, o.down.offsets = o.choice.offsets, o.down.weights = down_;
    place(o.down);
    o.sum.expert_out = o.down.out, o.sum.rows = o.choice.rows, o.sum.ids = o.choice.ids;
    o.sum.weights = o.choice.weights, o.sum.residual = o.x, o.sum.kinds = o.choice.kinds;
    place(o.sum);
  }

  void run(const float* x, int T) {
    Ops& o = *ops_;
    std::copy_n(x, static_cast<size_t>(T) * shape_.H, o.x.as<float>());
    const moe::CpuContext cpu = context();
    o.norm.run_cpu(cpu), o.project.run_cpu(cpu), o.choice.run_cpu(cpu), o.permute.run_cpu(cpu);
    o.up.run_cpu(cpu), o.down.run_cpu(cpu), o.sum.run_cpu(cpu);
  }

  /// Weight bytes of the experts that the last run chose.
  double bytes() const {
    const auto* offsets = ops_->choice.offsets.as<int32_t>();
    double total = 0;
    for (int e = 0; e < shape_.E; ++e)
      if (offsets[e + 1] > offsets[e])
        total += static_cast<double>(up_[e].bytes() + down_[e].bytes());
    return total;
  }

  moe::CpuContext context() const { return {moe::kernels(), moe::Pool::get(), threads_}; }

 private:
  struct Ops {
    moe::Tensor x;
    moe::RmsNorm norm;
    moe::Linear project;
    moe::TopK choice;
    moe::Permute permute;
    moe::GroupedGemm up, down;
    moe::Combine sum;
  };

  template <class Op>
  void place(Op& op) {
    const moe::Make make = [](const moe::Shape& shape, moe::DType dtype) {
      return moe::make_tensor(shape, dtype);
    };
    op.check();
    op.make_outputs(make);
    if constexpr (requires { op.scratch; })
      op.scratch = make({static_cast<int64_t>(op.scratch_bytes(nullptr))}, moe::DType::u8);
  }

  Shape shape_;
  int threads_;
  uint64_t seed_ = 0;
  moe::Weight router_;
  std::vector<moe::Weight> up_, down_;
  moe::Tensor norm_;
  std::optional<Ops> ops_;
};
