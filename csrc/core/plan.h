#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/cancel.h"
#include "core/context.h"
#include "core/device.h"
#include "core/fields.h"
#include "core/op.h"

namespace moe {

/// An op as plans hold it.
class AnyOp {
 public:
  virtual ~AnyOp() = default;
  virtual const char* name() const = 0;
  virtual void run_cpu(const CpuContext& cpu) const = 0;
  /// The struct, for a backend's kernel of that name.
  virtual const void* address() const = 0;
  /// Memory for the run alone; null: it needs none.
  virtual Tensor* scratch() = 0;
  virtual size_t scratch_bytes(const Device* device) const = 0;
};

template <class Op>
class HeldOp final : public AnyOp {
 public:
  explicit HeldOp(Op op) : op(std::move(op)) {}
  const char* name() const override { return Op::kName; }
  void run_cpu(const CpuContext& cpu) const override {
    if constexpr (requires { op.run_cpu(cpu); }) op.run_cpu(cpu);
  }
  const void* address() const override { return &op; }
  Tensor* scratch() override {
    if constexpr (requires { op.scratch_tensor(); })
      return op.scratch_tensor();
    else if constexpr (requires { op.scratch; })
      return &op.scratch;
    else
      return nullptr;
  }
  size_t scratch_bytes(const Device* device) const override {
    if constexpr (requires { op.scratch_bytes(device); })
      return op.scratch_bytes(device);
    else
      return 0;
  }

  Op op;
};

/// An op of a plan with the tensors it touches.
struct Node {
  std::shared_ptr<AnyOp> op;
  std::vector<Access> accesses;

  /// Null: it is another op.
  template <class Op>
  const Op* as() const {
    const auto* held = dynamic_cast<const HeldOp<Op>*>(op.get());
    return held ? &held->op : nullptr;
  }
};

/// Replaces ops by fused ones that give the same bits: fused/rules.h.
using Fuse = void (*)(std::vector<Node>& nodes);

/// The memory that all plans of a model share, since one of them runs at a time.
struct Arena {
  explicit Arena(const std::shared_ptr<Device>& device)
      : activations(std::make_shared<Buffer>(0, device)),
        inputs(std::make_shared<Buffer>(0, device)) {}
  std::shared_ptr<Buffer> activations, inputs;
};

/// A forward pass, recorded once and run many times.
///
/// Recording an op checks it and notes which tensors it touches. `finish` fuses ops, on a GPU, and
/// gives every activation an offset in the arena; those whose lifetimes do not overlap share
/// memory.
class Plan {
 public:
  struct Options {
    Fuse fuse = nullptr;  // what a GPU's plans are fused by
    bool deterministic = false;
  };
  Plan(const Arena& arena, Options options) : arena_(arena), options_(options) {}

  /// Checks `op`, makes its outputs and appends it.
  template <class Op>
  const Op& record(Op op) {
    check_sizes(Op::kName, accesses_of(op));
    op.check();
    if constexpr (requires { op.check_gpu(); })
      if (device()) op.check_gpu();
    if (device()) device()->kernel(Op::kName);  // unknown there: an error here
    if constexpr (requires { op.deterministic; }) op.deterministic = options_.deterministic;
    if constexpr (requires(const Make& make) { op.make_outputs(make); })
      op.make_outputs([this](const Shape& shape, DType dtype) { return empty(shape, dtype); });
    auto held = std::make_shared<HeldOp<Op>>(std::move(op));
    add({held, accesses_of(held->op)});
    return held->op;
  }

  /// A tensor that each run is given, under this name. All inputs lie side by side in the order of
  /// the calls, so that they are one copy.
  Tensor input(const std::string& name, const Shape& shape, DType dtype);
  /// Each run gives a copy of `tensor` under this name.
  void output(const std::string& name, const Tensor& tensor);

  const std::map<std::string, Tensor>& inputs() const { return inputs_; }
  const std::vector<std::pair<std::string, Tensor>>& outputs() const { return outputs_; }
  /// Bytes from the start of all inputs to this one.
  static size_t input_offset(const Tensor& input) { return input.slot->offset + input.offset; }
  std::byte* input_memory() const { return arena_.inputs->data(); }

  void finish();

  /// Makes the memory of inputs and activations as large as this plan needs. Where that grows, what
  /// was in it is lost.
  void reserve();
  bool grows() const;

  /// Throws Error{cancelled} between two ops once `cancel` is set. `seconds`, if given, gets the
  /// time of each op. A GPU gets a plan's ops as one graph from the second run on.
  void run(const CpuContext& cpu, const CancelFlag& cancel, std::vector<double>* seconds = nullptr);

  std::vector<std::string> names() const;
  /// Kernels of a run on a GPU; 0 before they have been captured, and on the CPU.
  size_t launches() const { return graph_ ? device()->kernels(graph_) : 0; }
  Device* device() const { return shared_device().get(); }
  const std::shared_ptr<Device>& shared_device() const { return arena_.activations->device(); }

 private:
  Tensor empty(const Shape& shape, DType dtype);
  Tensor view(const std::shared_ptr<Buffer>& buffer, const Shape& shape, DType dtype);
  /// No tensor has rows of nothing: ops divide by sizes, and nothing else bounds how many rows.
  static void check_sizes(const char* op, const std::vector<Access>& accesses);
  void add(Node node);
  void open(const char* what) const;
  void lay_out();
  void run_ops(const CpuContext& cpu, const CancelFlag& cancel, std::vector<double>* seconds);

  Arena arena_;
  Options options_;
  std::vector<std::shared_ptr<Slot>> slots_;
  std::vector<std::shared_ptr<Slot>> borrowed_;  // in memory of others, one an owner
  std::vector<Node> nodes_;                      // they keep weights and inputs alive
  std::vector<MoeKernel> kernels_;
  std::map<std::string, Tensor> inputs_;
  std::vector<std::pair<std::string, Tensor>> outputs_;
  size_t bytes_ = 0, input_bytes_ = 0;
  bool finished_ = false;
  Device::Graph graph_;
  // Addresses of the last run: a graph holds them.
  std::pair<const std::byte*, const std::byte*> ran_at_{};
};

}  // namespace moe
