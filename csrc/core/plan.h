#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "cpu/context.h"

namespace moe {

using CancelFlag = std::shared_ptr<std::atomic<bool>>;

/// A forward pass, recorded once and run many times.
///
/// Recording an op checks it and notes which activations it touches. `finish` gives every
/// activation an offset in the arena; those whose lifetimes do not overlap share memory. Plans of
/// one model share an arena, since only one of them runs at a time.
class Plan {
 public:
  explicit Plan(std::shared_ptr<Buffer> arena) : arena_(std::move(arena)) {}

  /// An activation that lives in the arena. Its memory is not cleared.
  Tensor empty(const Shape& shape, DType dtype);

  /// Keeps `tensor` readable after the run.
  void keep(const Tensor& tensor);

  /// `tensors` are all tensors that `op` reads or writes.
  template <class Op>
  void record(Op op, std::vector<Tensor> tensors) {
    op.check();
    if constexpr (requires { op.scratch_bytes(); }) {
      op.scratch = empty({static_cast<int64_t>(op.scratch_bytes())}, DType::u8);
      tensors.push_back(op.scratch);
    }
    names_.push_back(Op::kName);
    add(std::move(tensors), [op = std::move(op)](const CpuContext& cpu) { op.run_cpu(cpu); });
  }

  void finish();

  /// Throws Error{cancelled} between two ops once `cancel` is set. `seconds`, if given, gets the
  /// time of each op.
  void run(const CpuContext& cpu, const CancelFlag& cancel, std::vector<double>* seconds = nullptr);

  const std::vector<std::string>& names() const { return names_; }

 private:
  void add(std::vector<Tensor> tensors, std::function<void(const CpuContext&)> run);

  std::shared_ptr<Buffer> arena_;
  std::vector<std::shared_ptr<Slot>> slots_;
  std::vector<std::vector<Tensor>> held_;  // weights and inputs stay alive as long as the plan
  std::vector<std::function<void(const CpuContext&)>> ops_;
  std::vector<std::string> names_;
  size_t bytes_ = 0;
  bool finished_ = false;
};

}  // namespace moe
