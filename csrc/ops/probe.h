#pragma once

#include "core/op.h"

namespace moe {

/// What is measured.
enum class ProbeKind {
  read,   // every byte of `from`, once
  copy,   // `from` to `to`
  empty,  // nothing: what an op costs
};

template <>
struct EnumNames<ProbeKind> {
  static constexpr const char* type = "ProbeKind";
  static constexpr const char* names[] = {"read", "copy", "empty"};
};

/// What a device can do, as an op, so that ceilings are measured as the kernels are.
struct Probe {
  static constexpr const char* kName = "probe";
  static constexpr int64_t kSums = 4096;

  Tensor from;  // [n] f32
  Tensor to;    // [n] f32; for `read` [4096], partial sums
  ProbeKind kind = ProbeKind::empty;

  static constexpr auto fields() {
    return std::tuple(input("from", &Probe::from), update("to", &Probe::to),
                      value("kind", &Probe::kind));
  }
  void check() const {
    const Check check(kName);
    check.rank("from", from, 1);
    check.dtype("from", from, {DType::f32});
    check.that(from.dim(0) % 4 == 0, "from", "whole groups of four", from.dim(0));
    check.shape("to", to, {kind == ProbeKind::read ? kSums : from.dim(0)});
    check.dtype("to", to, {DType::f32});
  }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
