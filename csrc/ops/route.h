#pragma once

#include "ops/attention_router.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "ops/top_k.h"

namespace moe {

/// From the residual stream to the experts of each token: RMSNorm, router projection and fused
/// top-k routing. It is a chain of ops, which a GPU runs in one launch for few tokens.
///
///   normed = rms_norm(x);  projected = normed W^T
///   logits = projected [+ gate_map previous]  |  attention_router(projected)
///   ids, weights, offsets, rows = top_k(logits)
///
/// `previous` and `gate_map` make MoE++'s router (arXiv:2410.07348, section 3.3), `qkv` Yuan's
/// (arXiv:2405.17976, section 3.1), neither Mixtral's.
struct Route {
  static constexpr const char* kName = "route";

  Tensor x;            // [T, H] f32
  Tensor norm_weight;  // [H] f32
  float eps;
  Tensor normed;    // [T, H] f32 | bf16
  Weight weight;    // [E, H], or [3E, H] with qkv
  Tensor qkv;       // [T, 3E] f32; absent: the projection is the logits
  Tensor previous;  // [T, E] f32, router logits of the layer below, optional
  Weight gate_map;  // [E, E], with `previous`
  Tensor carried;   // [T, E] f32, with `previous`: gate_map previous
  TopK top_k;
  Tensor scratch;

  void check() const {
    const Check check(kName);
    check.that(!previous || (gate_map && carried), "gate_map", "given with previous", "nothing");
    check.that(!previous || !qkv, "previous", "absent with qkv", "both");
    norm().check();
    if (previous) carry().check();
    project().check();
    if (qkv) attention().check();
    top_k.check();
  }
  size_t scratch_bytes(const Device* device) const {
    return std::max(project().scratch_bytes(device), previous ? carry().scratch_bytes(device) : 0);
  }

  void run_cpu(const CpuContext& cpu) const {
    run_each([&](const auto& op) { op.run_cpu(cpu); });
  }
  void run_cuda(const CudaContext&) const;

  template <class Run>
  void run_each(const Run& run) const {
    run(norm());
    if (previous) run(carry());
    run(project());
    if (qkv) run(attention());
    run(top_k);
  }

 private:
  RmsNorm norm() const { return {x, norm_weight, normed, {}, eps}; }
  Linear carry() const { return {previous, gate_map, {}, {}, carried, Activation::none, scratch}; }
  Linear project() const {
    return {normed,           weight, {}, previous ? carried : Tensor{}, qkv ? qkv : top_k.logits,
            Activation::none, scratch};
  }
  AttentionRouter attention() const { return {qkv, top_k.logits}; }
};

}  // namespace moe
