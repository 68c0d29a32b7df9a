#pragma once

#include <any>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/device.h"
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

  /// `tensors` are all tensors that `op` reads or writes. On a GPU an op may take the one recorded
  /// just before it into its own launch: `absorb(const Before&)` says whether it does.
  template <class Op>
  void record(Op op, std::vector<Tensor> tensors) {
    op.check();
    Device* device = arena_->device().get();
    if constexpr (requires { typename Op::Before; }) {
      const auto* before = std::any_cast<typename Op::Before>(&last_);
      if (device && before && op.absorb(*before)) drop_last(tensors);
    }
    if constexpr (requires { op.scratch_bytes(device); }) {
      op.scratch = empty({static_cast<int64_t>(op.scratch_bytes(device))}, DType::u8);
      tensors.push_back(op.scratch);
    }
    if (device) last_ = op;
    names_.push_back(Op::kName);
    const MoeKernel kernel = device ? device->kernel(Op::kName) : nullptr;
    add(std::move(tensors), [op = std::move(op), device, kernel](const CpuContext& cpu) {
      if (device)
        device->run(kernel, &op);
      else
        op.run_cpu(cpu);
    });
  }

  void finish();

  /// Throws Error{cancelled} between two ops once `cancel` is set. `seconds`, if given, gets the
  /// time of each op. A GPU gets a plan's ops as one graph from the second run on.
  void run(const CpuContext& cpu, const CancelFlag& cancel, std::vector<double>* seconds = nullptr);

  const std::vector<std::string>& names() const { return names_; }
  /// Kernels of a run on a GPU; 0 before they have been captured, and on the CPU.
  size_t launches() const { return graph_ ? device()->kernels(graph_) : 0; }
  Device* device() const { return arena_->device().get(); }

 private:
  void add(std::vector<Tensor> tensors, std::function<void(const CpuContext&)> run);
  void drop_last(std::vector<Tensor>& tensors);
  void run_ops(const CpuContext& cpu, const CancelFlag& cancel, std::vector<double>* seconds);

  std::shared_ptr<Buffer> arena_;
  std::vector<std::shared_ptr<Slot>> slots_;
  std::vector<std::vector<Tensor>> held_;  // weights and inputs stay alive as long as the plan
  std::vector<std::function<void(const CpuContext&)>> ops_;
  std::vector<std::string> names_;
  std::any last_;  // the op recorded last, on a GPU
  size_t bytes_ = 0;
  bool finished_ = false;
  Device::Graph graph_;
  const std::byte* ran_at_ =
      nullptr;  // the arena's address in the last run: a graph holds addresses
};

}  // namespace moe
